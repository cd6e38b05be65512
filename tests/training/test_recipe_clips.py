"""Mini's clips as a dataset of the recipe: sampled and disturbed by number, held out by split; matching as a loss
beside the answers'; low-rank updates that are kept; killed and taken up again."""

import json
import os
import signal
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_recipe
import torch
from safetensors.torch import load_file

from afcore import paths
from afcore.corpus.clips import NO_TAG, ClipInfo, ClipSet, write_clips
from afcore.encoders.mini import EMBEDDING, TAGS
from afcore.errors import BadRequest, MissingPart
from afcore.training.mini.parts import PARTS
from afcore.training.mini.source import ClipSource, trained_clips
from afcore.training.recipe import batches, config, network, parallel, stages, state
from afcore.training.recipe.config import Data, Disturbance
from afcore.training.recipe.disturbance import disturbed, for_training
from afcore.training.recipe.sources import Parts, Sources
from afcore.training.recipe.windows import Windows

LABELS = ("dog barking", "car horn", "rain", "church bell")
WORLD = parallel.World(0, 1, torch.device("cpu"))
MIXED = {"sounds": 0.4, "sounds:shots": 0.4, "sounds:dialogues": 0.2}
TUNING = {
    "name": "one",
    "train": "lora",
    "steps": 6,
    "mix": MIXED,
    "precision": "bf16",
    "max_tokens": 300,
    "sort_by_length": True,
    "audio_share": 0.3,
    "betas": [0.9, 0.98],
    "lora": {"rank": 2, "targets": ["q_proj", "v_proj"], "from_layer": 1, "keep": True},
    "auxiliary": {"loss": "matching", "data": "sounds", "weight": 0.25, "settings": {"events": 3}},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twenty-four clips of four labels that sound like their label, four more for validation, one that is held out of
    training, and noise."""
    folder = tmp_path_factory.mktemp("clips")
    rng, infos, features = np.random.default_rng(0), [], []
    voice = {label: rng.normal(size=EMBEDDING + TAGS) for label in (*LABELS, "sword clash")}

    def add(info, windows):
        infos.append(info)
        sound = voice[info.label] if info.label else np.zeros(EMBEDDING + TAGS)
        features.append((sound + 0.1 * rng.normal(size=(windows, EMBEDDING + TAGS))).astype(np.float32))

    def clip(label, n, split="train", **extra):
        said = f"a {label}" if label else ""
        return ClipInfo(
            label,
            said,
            "something else" if label else None,
            [label] if label else [],
            [],
            f"p{n}",
            f"{label}{n}",
            split,
            extra={"fine": "nature"} if label else extra,
        )

    for n in range(6):
        for label in LABELS:
            add(clip(label, n), 1 + n)
    for n, label in enumerate(LABELS):
        add(clip(label, 10 + n, "validation"), 2)
    add(clip("sword clash", 0), 1)
    add(clip(None, 20, noise="noise"), 1)
    write_clips(folder / "clips", infos, features)
    tiny_recipe.language_model(folder / "llama")
    return folder


def write(folder, all_stages, **more):
    """A config over the clips."""
    data = {"sounds": {"clips": "clips", "most_windows": 2, "disturb": {"dropout": 0.1, "without_tags": 0.2}}}
    return tiny_recipe.config(folder, folder / "llama", all_stages, data=more.pop("data", data), **more)


def load(folder, *all_stages, work="work", **more):
    return config.load(write(folder, list(all_stages or [TUNING]), **more), folder / work)


def sequence(loaded):
    return batches.SampleSequence(loaded, loaded.stages[0], Sources(loaded, Windows(loaded.cache, loaded.model), PARTS))


# samples and features


def test_a_sample_follows_from_its_number_whoever_asks(folder):
    loaded = load(folder)
    one, two = sequence(loaded), sequence(loaded)
    with pytest.raises(MissingPart, match="--prepare"):
        one.prepare(make=False)
    one.prepare(make=True)
    two.prepare(make=False)
    there = {k: one[k] for k in range(40)}
    assert all(two[k] == there[k] for k in (39, 7, 22)), "in whatever order"
    for k in (5, 17):
        for a, b in zip(one.features(k, there[k]), two.features(k, there[k]), strict=True):
            assert np.array_equal(a, b) and a.dtype == np.float32 and a.shape[1] == EMBEDDING + TAGS
    assert not any("sword" in sample.text for sample in there.values()), "a held-out label is never said"
    shots = [sample for sample in there.values() if len(sample.sounds) > 1]
    dialogues = [sample for sample in there.values() if "user: " in sample.text]
    assert (
        len(shots) >= 8
        and len(dialogues) >= 3
        and all(sample.text.count("<audio>") == len(sample.sounds) for sample in shots)
    )
    assert all(sample.answers and sample.answers[-1].endswith("<|endofchunk|><|im_end|>") for sample in there.values())


def test_shots_of_renamed_labels_count_their_last_answer_alone(folder):
    source = sequence(load(folder)).sources["sounds"]
    source.prepare({"shots"}, make=True)
    drawn = [source.maker.draw("shots", np.random.default_rng(n)) for n in range(60)]
    asked = {sample.text.count("<SEP>") - len(sample.answers) for sample in drawn if len(sample.sounds) > 2}
    assert 0 in asked and max(asked) >= 2, "of some every answer counts, of some the last"


def test_training_disturbs_features_as_the_number_says_and_leaves_the_clips(folder):
    loaded = load(folder)
    drawn = sequence(loaded)
    drawn.prepare(make=True)
    source = drawn.sources["sounds"]
    sample = next(s for s in map(drawn.__getitem__, range(40)) if source.clips.slices[s.sounds[-1]][1] > 2)
    before = source.clips.of(sample.sounds[-1]).copy()
    heard = [drawn.features(k, sample)[-1] for k in range(60)]
    assert {len(windows) for windows in heard} == {2}, "at most two windows"
    assert any((windows[:, EMBEDDING:] == NO_TAG).all() for windows in heard), "sometimes without tags"
    assert any((windows[:, EMBEDDING:] != NO_TAG).all() for windows in heard)
    dropped = np.mean([(windows[:, :EMBEDDING] == 0).mean() for windows in heard])
    assert dropped == pytest.approx(0.1, abs=0.02)
    assert np.array_equal(source.clips.of(sample.sounds[-1]), before)
    plain = source.features(sample, None)[-1]
    assert np.array_equal(plain, before[:2].astype(np.float32)), "what is watched is not disturbed"


def test_disturbing_keeps_the_mean_and_needs_no_tags():
    rng, features = np.random.default_rng(0), np.ones((4, 900), np.float32)
    changed = disturbed(features, Disturbance(dropout=0.25), 900, rng)
    assert np.unique(changed).tolist() == pytest.approx([0.0, 4 / 3]) and changed.mean() == pytest.approx(1, abs=0.05)
    assert (features == 1).all() and (disturbed(features, Disturbance(), 900, rng) == features).all()
    data = Data("d", None, None, most_windows=3)
    starts = {int(for_training(np.arange(8, dtype=np.float32)[:, None], data, 1, rng)[0, 0]) for _ in range(60)}
    assert starts == set(range(6)), "any windows in a row"


def test_held_out_are_validation_clips_the_right_answer_first(folder):
    loaded = load(folder, held_out={"data": "sounds", "items": 4, "options": 3})
    source = ClipSource(loaded, loaded.data["sounds"])
    choices = source.held_out(loaded.held_out, 0)
    assert len(choices.naming) == len(choices.yes_no) == 4
    for naming, yes_no in zip(choices.naming, choices.yes_no, strict=True):
        clip = source.clips[naming[0].sounds[0]]
        assert clip.split == "validation" and len(naming) == 3 and len({s.answers[0] for s in naming}) == 3
        assert naming[0].answers == [f"{clip.label}<|endofchunk|><|im_end|>"]
        assert [s.answers[0].split("<")[0] for s in yes_no] == ["yes", "no", "yes", "no"]
        assert f"hear {clip.label}?" in yes_no[0].text and f"hear {clip.label}?" not in yes_no[2].text
    with pytest.raises(BadRequest, match="too few for 9 options"):
        source.held_out(replace(loaded.held_out, options=9), 0)


def test_few_of_the_clips_in_which_nothing_is_found_are_trained_on(tmp_path):
    nothing = [ClipInfo(None, "", None, [], [], "p", f"g{n}", "train") for n in range(400)]
    others = [ClipInfo(None, "", None, [], [], "noise", "n", "train", extra={"noise": "hum"})]
    write_clips(tmp_path, nothing + others, [np.zeros((1, 4), np.float32)] * 401)
    ids = trained_clips(ClipSet(tmp_path))
    assert 400 in ids and 20 < len(ids) < 70 and np.array_equal(ids, trained_clips(ClipSet(tmp_path)))


# configs


@pytest.mark.parametrize(
    "change, part",
    [
        ({"mix": {"sounds:knn": 1}}, "“:shots” and “:dialogues”"),
        ({"train": "auxiliary"}, "mix nothing"),
        ({"train": "auxiliary", "mix": {}, "auxiliary": None}, "None is not of type 'object'"),
        ({"mix": {}}, "mixes no dataset"),
        ({"auxiliary": {"loss": "matching", "data": "nothing"}}, "uses the dataset nothing"),
        ({"lora": {"targets": ["fc1"], "keep": True}}, "keeps its low-rank updates"),
        ({"betas": [0.9]}, "betas"),
    ],
)
def test_a_config_of_clips_that_is_not_right_is_refused(folder, change, part):
    with pytest.raises(BadRequest) as error:
        load(folder, TUNING | change)
    assert part in str(error.value) and "\n" not in str(error.value)


def test_clips_take_no_settings_of_manifests_and_are_read_by_who_can(folder):
    with pytest.raises(BadRequest, match="take no prefix"):
        load(folder, data={"sounds": {"clips": "clips", "prefix": 0.5}})
    with pytest.raises(BadRequest, match=r"at data\.sounds"):
        load(folder, data={"sounds": {"clips": "clips", "manifest": "both.jsonl"}})
    loaded = load(folder)
    with pytest.raises(BadRequest, match="cannot read"):
        Sources(loaded, Windows(loaded.cache, loaded.model), Parts())["sounds"]
    with pytest.raises(BadRequest, match="matching, which is not known"):
        network.build(loaded, loaded.stages[0], None, Parts())
    with pytest.raises(MissingPart, match="no clips with features"):
        sequence(load(folder, data={"sounds": {"clips": "nowhere"}}))
    with pytest.raises(BadRequest, match="single process"):
        samples = sequence(loaded)
        two = parallel.World(0, 2, torch.device("cpu"))
        stages.StageRun(loaded, loaded.stages[0], samples, None, None, two, Sources(loaded, None, PARTS))


# runs


def test_mini_s_stages_hand_on_updates_reading_and_rows(folder, capsys):
    """As `mini-packages.json` has them: hearing, low-rank updates, matching alone, everything; then what ships."""
    first = TUNING | {"name": "pretrain", "train": "audio", "mix": {"sounds": 1.0}, "steps": 2, "held_out_every": 2}
    first |= {"log_every": 1, "checkpoint_every": 2}
    del first["auxiliary"], first["lora"]
    sft = {key: value for key, value in TUNING.items() if key != "auxiliary"} | {"name": "sft", "steps": 3}
    match = {
        "name": "match",
        "train": "auxiliary",
        "mix": {},
        "batch": 1,
        "micro_batch": 1,
        "steps": 3,
        "held_out_every": 3,
        "auxiliary": {"loss": "matching", "data": "sounds", "settings": {"events": 3}},
    }
    refine = TUNING | {"name": "refine", "steps": 2}
    held_out = {"data": "sounds", "items": 4, "options": 3}
    loaded = load(folder, first, sft, match, refine, work="stages", held_out=held_out)
    loaded = replace(loaded, model=replace(loaded.model, open_gates=True, new_tokens_like=("s", "e", ":")))
    torch.set_num_threads(1)
    stages.run(loaded, WORLD, parts=PARTS)
    work = folder / "stages"
    weights = {s.name: load_file(work / s.name / network.WEIGHTS) for s in loaded.stages}
    rows = {s.name: tiny_recipe.log(work, s.name) for s in loaded.stages}
    assert all(0 < row["loss"] < 12 for name in ("pretrain", "sft", "refine") for row in rows[name])
    assert all(0 < row["auxiliary"] < 3 for name in ("match", "refine") for row in rows[name])
    assert not any("loss" in row for row in rows["match"]) and "auxiliary" not in rows["sft"][0]
    watched = rows["pretrain"][-1]
    assert 0 <= watched["held_out"] <= 1 and 0 <= watched["yes_no"] <= 1 and watched["audio_spread"] > 0
    assert 0 <= rows["match"][-1]["match"] <= 1 and 0 <= rows["match"][-1]["match_other_audio"] <= 1
    low_rank = [key for key in weights["sft"] if key.startswith("lora.")]
    assert len(low_rank) == 2 * 2 * 2 and {key.split(".")[1] for key in low_rank} == {"1", "2"}, "from layer 1 on"

    def changed(a, b, key):
        return not torch.equal(weights[a][key], weights[b][key])

    assert not any(changed("sft", "match", key) for key in low_rank), "matching leaves the language model's updates"
    assert any(changed("match", "refine", key) for key in low_rank)
    hearing = [key for key in weights["sft"] if not key.startswith(("lora.", "new_token_rows"))]
    moved = {key for key in hearing if changed("sft", "match", key)}
    assert moved and all(".1.gated_cross" in k or k.startswith(("audio_transformer", "front_end")) for k in moved)
    assert not changed("sft", "match", "new_token_rows.input") and changed("pretrain", "sft", "new_token_rows.input")
    assert "auxiliary.read.weight" not in weights["sft"] and changed("match", "refine", "auxiliary.read.weight")
    assert not any(".decoder_layer." in key for key in weights["refine"]), "updates stay apart"
    capsys.readouterr()
    stages.run(loaded, WORLD, parts=PARTS)
    assert capsys.readouterr().out.count("done already") == 4
    merged = replace(loaded.stages[3], name="last", lora=replace(loaded.stages[3].lora, keep=False))
    with pytest.raises(BadRequest, match="it must keep its own too"):
        network.build(loaded, merged, work / "refine" / network.WEIGHTS, PARTS)
    wider = replace(merged, lora=replace(loaded.stages[3].lora, rank=4))
    with pytest.raises(BadRequest, match="another rank"):
        network.build(loaded, wider, work / "refine" / network.WEIGHTS, PARTS)
    again = network.build(loaded, replace(loaded.stages[3], precision="fp32"), work / "refine" / network.WEIGHTS, PARTS)
    stored = network.weights_of(again.net, again.inherited)
    assert stored.keys() == weights["refine"].keys()
    assert all(torch.allclose(stored[key], value, atol=1e-6) for key, value in weights["refine"].items())


def test_new_tokens_begin_as_what_they_are_like(folder):
    loaded = load(folder, {key: value for key, value in TUNING.items() if key != "auxiliary"})
    loaded = replace(loaded, model=replace(loaded.model, open_gates=True, new_tokens_like=("s", "<|im_end|>", ":")))
    built = network.build(loaded, loaded.stages[0], None, PARTS)
    table, ids = built.model.get_input_embeddings().weight.float(), built.net.rows.ids
    like = [built.tokenizer(text, add_special_tokens=False).input_ids[0] for text in ("s", "<|im_end|>", ":")]
    assert torch.allclose(built.net.rows.input, table[like], atol=1e-2) and torch.equal(table[ids], table[like])
    gates = [p for name, p in built.model.named_parameters() if name.endswith("_gate")]
    silent = [
        p for name, p in built.model.named_parameters() if name.endswith(("attn.to_out.weight", "pos_ffn.w_2.weight"))
    ]
    assert gates and all((gate == 1).all() for gate in gates) and silent and not any(p.any() for p in silent)
    groups = stages.groups(built.net, loaded.stages[0])
    assert {(group["share"], group["weight_decay"]) for group in groups} == {
        (0.3, 0.1),
        (0.3, 0.0),
        (1.0, 0.1),
        (1.0, 0.0),
    }
    plain = next(group for group in groups if group["share"] == 1.0 and not group["weight_decay"])
    assert any(p is built.net.rows.input for p in plain["params"]), "the new tokens' embeddings do not decay"


def test_micro_batches_are_sorted_by_length_and_hold_the_step_s_samples(folder):
    loaded = load(folder, TUNING | {"batch": 8, "micro_batch": 2})
    sources = Sources(loaded, Windows(loaded.cache, loaded.model), PARTS)
    samples = batches.SampleSequence(loaded, loaded.stages[0], sources)
    samples.prepare(make=True)
    tokenizer = network.base_model(loaded.model)[1]
    run = stages.StageRun(loaded, loaded.stages[0], samples, None, None, WORLD, sources)
    made = run._micro_batches(tokenizer, 16, 3)
    lengths = [int(batch["attention_mask"].sum(1).max()) for _, batch in made]
    assert [k for k, _ in made] == [0, 1, 2, 3] and lengths == sorted(lengths) and lengths[0] < lengths[-1]
    texts = {
        tokenizer.decode(ids[mask == 1])
        for _, b in made
        for ids, mask in zip(b["input_ids"], b["attention_mask"], strict=True)
    }
    assert all(any(samples[k].text.startswith(text) for text in texts) for k in range(24, 32))
    parts = [replace(run.world, rank=rank, size=2) for rank in (0, 1)]
    shared = [
        stages.StageRun(loaded, replace(loaded.stages[0], auxiliary=None), samples, None, None, w, sources)
        for w in parts
    ]
    apart = {k: batch for part in shared for k, batch in part._micro_batches(tokenizer, 16, 3)}
    assert all(torch.equal(apart[k]["input_ids"], batch["input_ids"]) for k, batch in made), "however many processes"


@pytest.mark.slow
def test_a_killed_run_of_clips_goes_on_with_the_same_losses(folder):
    """With shots, dialogues, low-rank updates and matching beside."""
    file = write(folder, [TUNING | {"checkpoint_every": 2}])
    process = tiny_recipe.start(file, folder / "unbroken")
    process.join()
    assert process.exitcode == 0
    work = folder / "killed"
    process = tiny_recipe.start(file, work)
    lines = work / "one" / "log.jsonl"
    while process.is_alive() and not (lines.exists() and lines.read_text().count("\n") >= 3):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL and not (work / "one" / "done.json").exists()
    step = json.loads((state.newest(work / "one" / "state") / "state.json").read_text())["step"]
    assert 0 < step < 6
    process = tiny_recipe.start(file, work)
    process.join()
    assert process.exitcode == 0
    logs = [tiny_recipe.log(folder / name, "one") for name in ("unbroken", "killed")]
    assert logs[0] == logs[1] and [row["step"] for row in logs[0]] == [1, 2, 3, 4, 5, 6]  # to the last digit
    assert {"loss", "auxiliary", "gradient", "gates"} <= logs[0][0].keys()
    one, two = (load_file(folder / name / "one" / network.WEIGHTS) for name in ("unbroken", "killed"))
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)
    changed = ClipSet(folder / "clips").info
    features = [ClipSet(folder / "clips").of(i) for i in range(len(changed))]
    changed[0].caption = "something else altogether"
    write_clips(folder / "other", changed, features)
    other = load(folder, TUNING, data={"sounds": {"clips": "other", "most_windows": 2}}, work="killed")
    with pytest.raises(BadRequest, match="other settings or data"):
        stages.run(other, WORLD, parts=PARTS)


def test_the_shipped_stages_are_those_of_the_steps():
    """`python -m afcore.training STEP` finds its stage, and the last one writes mini's files."""
    from afcore.training import __main__ as steps

    loaded = config.load(steps.CONFIG, "work", paths.MINI)
    names = [stage.name for stage in loaded.stages]
    assert names == ["pretrain", "sft", "chat", "practice", "match", "refine", "speak", "reward"]
    assert set(names) < steps.STEPS.keys()
    assert all(stage.lora.keep for stage in loaded.stages if stage.train == "lora")
    ran = []
    options = SimpleNamespace(work=paths.DATA / "w", out=paths.MINI, steps=7)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "run", lambda loaded, world, only, parts: ran.append((loaded, only)) or loaded.work)
        for name in names[:-1]:
            steps.STEPS[name](options)
    assert [only for _, only in ran] == names[:-1]
    assert all({s.name: s.steps for s in c.stages}[only] == 7 for c, only in ran), "--steps is that step's alone"
    assert all(sum(s.steps == 7 for s in c.stages) == 1 for c, _ in ran)


def test_checkpoints_serve_any_network(tmp_path):
    """One with batch norm, whose statistics training counts: fitted in two runs as in one."""

    def fit(net, optimiser, start, stop):
        for step in range(start, stop):
            torch.manual_seed(step)
            optimiser.zero_grad()
            net(torch.randn(8, 3)).square().mean().backward()
            optimiser.step()

    def fresh():
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1))
        return net, torch.optim.AdamW(net.parameters(), lr=0.01)

    whole, optimiser = fresh()
    fit(whole, optimiser, 0, 6)
    first, optimiser = fresh()
    fit(first, optimiser, 0, 3)
    state.save(tmp_path, first, optimiser, {"step": 3, "fingerprint": "f"}, WORLD, buffers=True)
    second, optimiser = fresh()
    checkpoint = state.newest(tmp_path)
    assert state.facts_of(checkpoint, "f")["step"] == 3
    with pytest.raises(MissingPart, match="another model"):
        state.load_parameters(checkpoint, second)
    state.load_parameters(checkpoint, second, buffers=True)
    state.load_optimiser(checkpoint, second, optimiser)
    fit(second, optimiser, 3, 6)
    for (name, a), b in zip(whole.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
