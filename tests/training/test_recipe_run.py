"""Training runs of the recipe on a tiny model: killed and taken up again, in two processes, through all stages."""

import json
import os
import signal
import socket
import time

import pytest
import tiny_recipe
import torch
from safetensors.torch import load_file

from afcore.errors import BadRequest, MissingPart
from afcore.training.recipe import batches, config, network, parallel, stages, state
from afcore.training.recipe.sources import Sources
from afcore.training.recipe.windows import Windows

TOLERANCE = 2e-4
"""Relative, between the losses of one process and of two: the same micro-batches in both, whose gradients are summed in
another order, which AdamW's first steps magnify."""

ADAPTED = {
    "name": "one",
    "train": "lora",
    "steps": 8,
    "mix": {"labels": 1.0, "labels:random": 0.5, "dialogues": 0.2},
    "shots": [1, 2],
    "lora": {"rank": 2},
    "precision": "bf16",
}
HEARING = ADAPTED | {"train": "audio", "precision": "fp32"}
WHOLE = {
    "name": "one",
    "train": "all",
    "steps": 5,
    "mix": {"labels": 1.0},
    "pad_audios_to": 2,
    "batch": 4,
    "micro_batch": 1,
    "gradient_checkpointing": True,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipe")
    tiny_recipe.sounds(folder / "sounds")
    tiny_recipe.language_model(folder / "llama")
    tiny_recipe.language_model(folder / "opt", "opt", dropout=0.1)
    return folder


@pytest.fixture(scope="module")
def unbroken(folder):
    """A run in one process that nothing disturbs."""
    file = tiny_recipe.config(folder, folder / "llama", [ADAPTED])
    process = tiny_recipe.start(file, folder / "unbroken")
    process.join()
    assert process.exitcode == 0
    return tiny_recipe.log(folder / "unbroken", "one")


def processes(file, work, count):
    """`count` processes with the environment that torchrun and accelerate give them; returns the first one's exit
    code."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    started = [
        tiny_recipe.start(
            file,
            work,
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE=str(count),
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=port,
        )
        for rank in range(count)
    ]
    for process in started:
        process.join()
    assert len({process.exitcode for process in started}) == 1
    return started[0].exitcode


def same(one, two):
    assert [row["step"] for row in one] == [row["step"] for row in two]
    for a, b in zip(one, two, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=TOLERANCE), a["step"]
        for kind in ("attn", "ff"):
            assert a["gates"][kind] == pytest.approx(b["gates"][kind], abs=1e-3)


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_with_the_same_losses(folder, unbroken):
    file = tiny_recipe.config(folder, folder / "llama", [ADAPTED])
    work = folder / "killed"
    process = tiny_recipe.start(file, work)
    lines = work / "one" / "log.jsonl"
    while process.is_alive() and not (lines.exists() and lines.read_text().count("\n") >= 5):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    cut = lines.read_text().count("\n")
    checkpoint = state.newest(work / "one" / "state")
    step = json.loads((checkpoint / "state.json").read_text())["step"]
    assert not (work / "one" / "done.json").exists() and 0 < step < 8
    lines.write_text(lines.read_text() + '{"step": 6, "lo')  # as a kill in the middle of a line leaves it
    process = tiny_recipe.start(file, work)
    process.join()
    assert process.exitcode == 0 and cut >= 5
    assert tiny_recipe.log(work, "one") == unbroken  # to the last digit: losses, gradient norms, gates
    one, two = (load_file(folder / name / "one" / network.WEIGHTS) for name in ("unbroken", "killed"))
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.slow
def test_two_processes_shard_the_model_and_give_the_losses_of_one(folder, unbroken):
    """FSDP itself, over gloo, with frozen weights in bf16 and trained ones in float32 in one unit."""
    file = tiny_recipe.config(folder, folder / "llama", [ADAPTED])
    assert processes(file, folder / "two", 2) == 0
    same(tiny_recipe.log(folder / "two", "one"), unbroken)
    one, two = (load_file(folder / name / "one" / network.WEIGHTS) for name in ("unbroken", "two"))
    assert one.keys() == two.keys() and all(torch.allclose(one[key], two[key], atol=5e-3) for key in one)


@pytest.mark.slow
def test_a_run_of_two_processes_goes_on_in_one(folder):
    """The whole model in full, with dropout, checkpointed layers and padded audios: the published model's shape."""
    whole = [WHOLE]
    file = tiny_recipe.config(folder, folder / "opt", whole, tiny_recipe.OPT)
    tiny_recipe.start(file, folder / "opt-one").join()
    single = tiny_recipe.log(folder / "opt-one", "one")
    short = tiny_recipe.config(folder, folder / "opt", [WHOLE | {"steps": 3}], tiny_recipe.OPT)
    assert processes(short, folder / "opt-two", 2) == 0
    file = tiny_recipe.config(folder, folder / "opt", whole, tiny_recipe.OPT)
    tiny_recipe.start(file, folder / "opt-two").join()
    same(tiny_recipe.log(folder / "opt-two", "one"), single)
    assert single[-1]["loss"] < single[0]["loss"]


def test_three_stages_hand_their_weights_on(folder, capsys, monkeypatch):
    monkeypatch.setattr(stages, "cpu_has_bfloat16", lambda: False)  # so that a stage in bf16 is changed to fp32
    three = [
        {
            "name": "pretraining",
            "train": "audio",
            "mix": {"labels": 1.0},
            "steps": 3,
            "held_out_every": 3,
            "precision": "bf16",
        },
        {
            "name": "sft",
            "train": "lora",
            "mix": {"labels:knn": 1.0},
            "steps": 2,
            "shots": [2],
            "lora": {"rank": 2},
            "checkpoint_every": 2,
        },
        {
            "name": "chat",
            "train": "lora",
            "mix": {"dialogues": 1.0},
            "steps": 2,
            "schedule": "cosine",
            "precision": "bf16",
            "lora": {"rank": 2},
            "checkpoint_every": 2,
        },
    ]
    file = tiny_recipe.config(folder, folder / "llama", three, held_out={"data": "held_out", "items": 4, "options": 3})
    work = folder / "stages"
    loaded = config.load(file, work)
    world = parallel.World(0, 1, torch.device("cpu"))
    stages.run(loaded, world)
    weights = {name: load_file(work / name / network.WEIGHTS) for name in ("pretraining", "sft", "chat")}
    base = network.base_model(loaded.model)[0]
    frozen = dict(base.named_parameters())
    assert not any(".decoder_layer." in key for key in weights["pretraining"])  # the language model stayed frozen
    lora = [key for key in weights["sft"] if ".decoder_layer." in key]
    assert lora and all("_proj" in key for key in lora) and not any("lora" in key for key in weights["sft"])
    assert all(not torch.equal(weights["sft"][key], frozen[key]) for key in lora)
    assert all(
        not torch.equal(weights["chat"][key], weights["sft"][key]) for key in lora
    )  # chat begins where SFT stopped
    ends = (".to_kv.weight", "_gate", "fc.weight", "embedding_proj.weight")
    hearing = [key for key in weights["sft"] if key.endswith(ends)]
    assert {".gated_" in key for key in hearing} == {True, False}  # what hears is trained on in every stage
    assert not any(torch.equal(weights["sft"][key], weights["pretraining"][key]) for key in hearing)
    assert weights["pretraining"].keys() < weights["sft"].keys() == weights["chat"].keys()
    # what is handed out loads with transformers, and is the last stage's model
    from afcore.published.converted import load_flamingo

    model = load_flamingo(work / "chat" / "model", dtype=torch.float32)
    state_dict = model.state_dict()
    assert all(torch.equal(state_dict[key], value) for key, value in weights["chat"].items() if key in state_dict)
    ids = [model.config.audio_token_id, model.config.endofchunk_token_id, model.config.sep_token_id]
    assert torch.equal(model.get_input_embeddings().weight[ids], weights["chat"]["new_token_rows.input"])
    # progress
    row = tiny_recipe.log(work, "pretraining")[-1]
    assert 0 <= row["held_out"] <= 1 and 0 <= row["held_out_other_audio"] <= 1 and row["held_out_loss"] > 0
    assert set(row["gates"]["attn"]) == set(row["gates"]["ff"]) == {"1", "2"} and any(row["gates"]["attn"].values())
    page = (work / "pretraining" / "progress.html").read_text()
    assert "held-out accuracy" in page and "attn 1" in page and (work / "pretraining" / "plotly.min.js").exists()
    # nothing is pickled, and nothing is done twice
    assert not [f for f in work.rglob("*") if f.suffix in (".pt", ".pth", ".bin", ".pkl")]
    capsys.readouterr()
    stages.run(loaded, world)
    assert capsys.readouterr().out.count("done already") == 3
    other = tiny_recipe.config(folder, folder / "llama", [three[0] | {"lr": 1.0, "held_out_every": 0}])
    with pytest.raises(BadRequest, match="other settings or data"):
        stages.run(config.load(other, work), world)
    damaged = state.newest(work / "chat" / "state")
    (damaged / "model.safetensors").write_bytes(b"half")
    with pytest.raises(MissingPart, match="damaged"):
        state.load_parameters(damaged, network.build(loaded, loaded.stages[2], work / "sft" / network.WEIGHTS).net)


def test_many_processes_want_the_windows_made_before(folder, tmp_path):
    loaded = config.load(
        tiny_recipe.config(folder, folder / "llama", [HEARING], cache=str(tmp_path / "empty")), tmp_path / "w"
    )
    two = parallel.World(0, 2, torch.device("cpu"))
    with pytest.raises(MissingPart, match="--prepare"):
        stages.run(loaded, two)
    three = parallel.World(0, 3, torch.device("cpu"))
    sources = Sources(loaded, Windows(loaded.cache, loaded.model))
    samples = batches.SampleSequence(loaded, loaded.stages[0], sources)
    with pytest.raises(BadRequest, match="cannot share evenly"):
        stages.StageRun(loaded, loaded.stages[0], samples, None, None, three, sources)


def test_the_rate_warms_up_and_then_stays_or_falls(folder):
    stage = config.Stage("s", "audio", 1e-3, 1, {}, warmup=10)
    assert (
        stages.rate(stage, 0, 100) == pytest.approx(1e-4)
        and stages.rate(stage, 9, 100) == stages.rate(stage, 99, 100) == 1e-3
    )
    falling = config.Stage("s", "audio", 1e-3, 1, {}, warmup=10, schedule="cosine")
    assert stages.rate(falling, 10, 100) == 1e-3 and stages.rate(falling, 100, 100) == pytest.approx(2e-5)


def test_the_loss_is_on_answers_alone_and_new_rows_stand_in_for_the_table(folder):
    loaded = config.load(tiny_recipe.config(folder, folder / "llama", [HEARING]), folder / "loss")
    windows = Windows(loaded.cache, loaded.model)
    samples = batches.SampleSequence(loaded, loaded.stages[0], Sources(loaded, windows))
    stages.gather(samples, None, windows, parallel.World(0, 1, torch.device("cpu")))
    built = network.build(loaded, loaded.stages[0], None)
    drawn = [samples[k] for k in range(3)]
    heard = [samples.features(k, sample) for k, sample in enumerate(drawn)]
    batch = batches.collate(drawn, heard, built.tokenizer, 16, samples.silence)
    sums, counts = built.net(batch)
    with torch.no_grad():  # the same through the model's own forward pass, whose loss is the mean over tokens
        out = built.model(
            batch["input_ids"],
            batch["attention_mask"],
            batch["audio_embeds"],
            batch["audio_mask"],
            labels=batch["labels"],
        )
    assert (sums.sum() / counts.sum()).item() == pytest.approx(out.loss.item(), rel=1e-5)
    changed = batch | {"labels": torch.where(batch["labels"] == -100, -100, batch["labels"])}
    changed["input_ids"] = batch["input_ids"].clone()
    changed["input_ids"][batch["attention_mask"] == 0] = 5  # padding says nothing
    assert torch.allclose(built.net(changed)[0], sums)
    sums.sum().backward()
    gradients = {name: p.grad for name, p in built.net.named_parameters() if p.requires_grad}
    assert gradients["rows.input"].abs().sum() > 0 and all("decoder_layer" not in name for name in gradients)
    assert built.model.get_input_embeddings().weight.grad is None
    built.net.rows.input.data += 1.0
    moved = built.net(batch)[0]
    built.net.rows.write_back(built.model)
    assert torch.allclose(built.net(batch)[0], moved, rtol=1e-4) and not torch.allclose(moved, sums)


def test_weights_of_fewer_tags_go_on_with_more():
    types = torch.randn(7, 6)
    more = network.more_tags(types, 10)
    assert torch.equal(more[:7], types) and all(torch.equal(row, types[-1]) for row in more[7:])
    assert torch.equal(network.more_tags(types, 7), types)
