"""The recipe's data: configs and manifests that are checked, blended epochs, texts with the loss on answers, windows on
disk."""

import functools
import json
from dataclasses import replace

import numpy as np
import pytest
import tiny_recipe
from tiny import tiny_tokenizer

from afcore import paths, prompts
from afcore.errors import AudioError, BadRequest, MissingPart
from afcore.training.recipe import batches, config, manifests, texts
from afcore.training.recipe.blending import Blend
from afcore.training.recipe.config import Data
from afcore.training.recipe.manifests import ManifestRow, Sound
from afcore.training.recipe.sources import Sources
from afcore.training.recipe.windows import Windows

PUBLISHED = sorted((paths.ASSETS.parent / "afcore/training/configs").glob("*.json"))


@pytest.fixture
def folder(tmp_path):
    tiny_recipe.sounds(tmp_path / "sounds")
    return tmp_path


def load(folder, stages=None, **more):
    model = folder / "no-language-model"
    return config.load(
        tiny_recipe.config(
            folder, model, stages or [{"name": "one", "train": "audio", "mix": {"labels": 1}, "steps": 2}], **more
        ),
        folder / "work",
    )


# blending


def test_each_epoch_walks_on_through_the_same_shuffle():
    blend = Blend({"a": 10, "b": 4}, {"a": 0.25, "b": 1.5}, seed=3)
    drawn = {"a": [], "b": []}
    for number in range(blend.start(8)):
        draw = blend.draw(number)
        assert draw.epoch == blend.epoch_of(number)
        drawn[draw.dataset].append((draw.epoch, draw.place, draw.row))
    for name, size, weight in (("a", 10, 0.25), ("b", 4, 1.5)):
        by_epoch = [[d for d in drawn[name] if d[0] == epoch] for epoch in range(8)]
        assert [len(e) for e in by_epoch] == [int((e + 1) * size * weight) - int(e * size * weight) for e in range(8)]
        places = sorted(place for _, place, _ in drawn[name])
        assert places == list(range(len(places)))  # nothing left out, nothing twice
        order = {place: row for _, place, row in drawn[name]}
        assert sorted(order[k] for k in range(size)) == list(range(size))  # a whole pass is every row once
        assert all(order[k] == order[k % size] for k in order)  # and the next pass has the same order


def test_an_epoch_shuffles_its_datasets_together_and_follows_from_the_seed():
    draws = [
        [(d.dataset, d.row) for d in map(Blend({"a": 40, "b": 40}, {"a": 1, "b": 1}, seed=seed).draw, range(80))]
        for seed in (0, 0, 1)
    ]
    assert draws[0] == draws[1] != draws[2]
    assert len({name for name, _ in draws[0][:12]}) == 2
    blend = Blend({"a": 40, "b": 40}, {"a": 1, "b": 1}, seed=0)
    assert (blend.draw(57).dataset, blend.draw(57).row) == draws[0][57]  # any sample alone is the same


# texts


def data(**more):
    return Data("d", None, None, **more)


def make(row, seed=0, kind="foundation", shots=(), similar=True, labels=("dog", "cat", "Rain drops"), **more):
    return texts.sample(row, data(**more), list(labels), np.random.default_rng(seed), kind, list(shots), similar)


def counted(sample):
    return sample.answers


QUERY = ManifestRow(Sound("q.wav"), "Classify this sound.", "Dog", "event classification")


def test_one_sound_and_its_answer():
    sample = make(QUERY)
    assert sample.text == (
        "</s>the task is event classification.<audio>classify this sound.\nanswer:<SEP>dog<|endofchunk|></s>"
    )
    assert counted(sample) == ["dog<|endofchunk|></s>"]
    assert sample.sounds == (Sound("q.wav"),)


def test_shots_stand_before_the_query_and_only_it_lists_options():
    shots = [
        ManifestRow(Sound(f"{k}.wav"), "Classify this sound.", answer, "event classification")
        for k, answer in enumerate(("Cat", "Rain drops"))
    ]
    sample = make(QUERY, shots=shots, augmentations={"options": 1.0})
    assert sample.text == (
        "</s>Here are similar examples. The task is event classification. "
        "<audio>classify this sound.\nanswer:<SEP>cat<|endofchunk|>"
        "<audio>classify this sound.\nanswer:<SEP>rain drops<|endofchunk|>"
        "<audio>classify this sound.\nOPTIONS:\n - cat.\n - dog.\n - rain drops.\nanswer:<SEP>dog<|endofchunk|></s>"
    )
    assert counted(sample) == ["cat<|endofchunk|>", "rain drops<|endofchunk|>", "dog<|endofchunk|></s>"]
    assert [s.file for s in sample.sounds] == ["0.wav", "1.wav", "q.wav"]
    assert "Here are random examples." in make(QUERY, shots=shots, similar=False).text


def test_a_dialogue_counts_every_answer():
    sample = make(
        ManifestRow(Sound("q.wav"), task="dialog", turns=(("What is it?", "A Dog."), ("Is it near?", "Yes."))),
        kind="chat",
    )
    assert sample.text == (
        "</s>the task is dialog.<audio>user: What is it? \nassistant: <SEP>A Dog.<|endofchunk|></s>\n"
        "user: Is it near? \nassistant: <SEP>Yes.<|endofchunk|></s>"
    )
    assert counted(sample) == ["A Dog.<|endofchunk|></s>", "Yes.<|endofchunk|></s>"]


def test_the_task_is_named_as_often_as_the_config_says():
    shot = ManifestRow(Sound("1.wav"), "Classify this sound.", "Cat", "event classification")
    named = sum("task is" in make(QUERY, seed, prefix=0.25).text for seed in range(400))
    assert 60 < named < 140
    assert make(QUERY, prefix=0.0).text.startswith("</s><audio>classify")
    assert make(QUERY, prefix=0.0, shots=[shot]).text.startswith("</s>Here are similar examples. <audio>classify")


@pytest.mark.parametrize(
    "name, row, prompt, answer",
    [
        ("as_is", QUERY, "classify this sound.", "dog"),
        ("options", QUERY, "classify this sound.\nOPTIONS:\n - cat.\n - dog.\n - rain drops.", "dog"),
        (
            "yes_no",
            ManifestRow(Sound("q"), "question: Is it a dog?", "Yes"),
            "please answer this question: is it a dog?\nOPTIONS:\nyes.\nno.",
            "yes",
        ),
        (
            "yes_no",
            ManifestRow(Sound("q"), "question: How many?", "Two"),
            "please answer this question: how many?",
            "two",
        ),
        (
            "alphabetic",
            ManifestRow(Sound("q"), "x", "Rain, dog, cat."),
            "describe this sound in the alphabetic order.",
            "cat, dog, rain",
        ),
        ("sentence", ManifestRow(Sound("q"), "x", "A dog."), "describe the sound in a sentence.", "a dog."),
        ("length", ManifestRow(Sound("q"), "x", "A dog."), "describe the sound at length.", "a dog."),
        (
            "paragraph",
            ManifestRow(Sound("q"), "x", "A dog. It barks."),
            "describe the sound in a paragraph.",
            "a dog; it barks.",
        ),
    ],
)
def test_augmentations(name, row, prompt, answer):
    row = row if row.task else ManifestRow(row.sound, row.prompt, row.answer, "t")
    assert make(row, augmentations={name: 1.0}).text == (
        f"</s>the task is {row.task}.<audio>{prompt}\nanswer:<SEP>{answer}<|endofchunk|></s>"
    )


@pytest.mark.parametrize(("name", "thing"), [("lp-musiccaps-mtt", "music"), ("clotho-v2", "sound")])
def test_captions_of_musiccaps_are_asked_of_the_music(name, thing):
    """As the published code does by the dataset's key; of its shots too."""
    of = replace(data(augmentations={"length": 1.0}), name=name)
    row = ManifestRow(Sound("q"), "x", "A flute.", "music captioning")
    text = texts.sample(row, of, [], np.random.default_rng(0), "foundation", [row]).text
    assert text.count(f"describe the {thing} at length.") == 2


def test_labels_are_counted_and_options_drawn_in_any_order():
    row = ManifestRow(Sound("q"), "x", "dog, cat, rain", "t")
    answers = {counted(make(row, seed, augmentations={"count_labels": 1.0}))[0].split("<")[0] for seed in range(20)}
    assert len(answers) > 3 and all(sorted(a.split(", ")) == ["cat", "dog", "rain"] for a in answers)
    assert "describe the sound in 3 labels." in make(row, augmentations={"count_labels": 1.0}).text
    places = set()
    for seed in range(30):
        listed = (
            make(QUERY, seed, augmentations={"some_options": 1.0}).text.split("OPTIONS:\n - ")[1].split(".\nanswer:")[0]
        )
        options = listed.split(".\n - ")
        assert "dog" in options and 2 <= len(set(options)) == len(options) <= 3
        places.add(options.index("dog"))
    assert len(places) == 3


def test_pieces_become_the_tokens_of_the_whole_text(folder):
    tokenizer = tiny_tokenizer()
    sample = make(
        QUERY, kind="mini", shots=[ManifestRow(Sound("1.wav"), "Classify this sound.", "Cat", "event classification")]
    )
    pieces = [i for text, _ in sample.pieces for i in tokenizer(text, add_special_tokens=False).input_ids]
    assert pieces == tokenizer(sample.text, add_special_tokens=False).input_ids


# manifests and configs: one sentence for what is wrong


@pytest.mark.parametrize(
    "line, part",
    [
        ('{"audio": "a.wav"', "Line 2 of bad.jsonl is not JSON"),
        ('{"prompt": "x", "answer": "y"}', "'audio' is a required property"),
        ('{"audio": "a.wav"}', "Line 2"),
        ('{"audio": "a.wav", "prompt": "x", "answer": "y", "turns": [["a", "b"]]}', "Line 2"),
        ('{"audio": "a.wav", "turns": [["a"]]}', "turns.0"),
        ('{"audio": "a.wav", "prompt": "x<audio>", "answer": "y"}', "at prompt"),
    ],
)
def test_a_manifest_that_is_not_right_is_refused_by_line(tmp_path, line, part):
    file = tmp_path / "bad.jsonl"
    file.write_text('{"audio": "a.wav", "prompt": "x", "answer": "y"}\n' + line + "\n")
    with pytest.raises(BadRequest) as error:
        manifests.read(Data("bad", file, tmp_path))
    assert part in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change, part",
    [
        ({"mix": {"nothing": 1}}, "nothing"),
        ({"mix": {"labels:near": 1}}, "labels:near"),
        ({"batch": 5}, "micro-batches of 2"),
        ({"checkpoint_every": 5, "log_every": 2}, "multiple of its log_every"),
        ({"train": "some"}, "'some' is not one of"),
        ({"lr": -1}, "lr"),
        ({"epochs": 1}, "either how many epochs or how many steps"),
        ({"mix": {"labels:knn": 1}, "shots": [4], "pad_audios_to": 4}, "more than the 4 audios"),
        ({"typo": 1}, "typo"),
    ],
)
def test_a_config_that_is_not_right_is_refused(folder, change, part):
    with pytest.raises(BadRequest) as error:
        load(folder, [{"name": "one", "train": "audio", "mix": {"labels": 1}, "steps": 2} | change])
    assert part in str(error.value) and "\n" not in str(error.value)


def test_what_is_held_out_is_not_trained_on(folder):
    stage = {"name": "one", "train": "audio", "mix": {"held_out:knn": 1}, "steps": 2}
    with pytest.raises(BadRequest, match="trains on held_out"):
        load(folder, [stage], held_out={"data": "held_out"})
    with pytest.raises(BadRequest, match="does not say what is held out"):
        load(folder, [stage | {"held_out_every": 10}])


def test_a_config_names_what_it_lacks(folder):
    with pytest.raises(BadRequest, match="cannot be opened"):
        config.load(folder / "none.json")
    (folder / "c.json").write_text("{")
    with pytest.raises(BadRequest, match="is not JSON"):
        config.load(folder / "c.json")
    with pytest.raises(BadRequest, match=r"sum to 0\.5"):
        load(folder, data={"labels": {"manifest": "sounds/labels.jsonl", "augmentations": {"as_is": 0.5}}})
    with pytest.raises(BadRequest, match="HOME"):
        load(folder, cache="${HOME}/x")


@pytest.mark.parametrize("file", PUBLISHED, ids=lambda file: file.name)
def test_the_configs_that_ship_are_right(file, tmp_path):
    loaded = config.load(file, tmp_path)
    assert loaded.stages and all(stage.batch % stage.micro_batch == 0 for stage in loaded.stages)


def test_the_published_config_holds_the_papers_values(tmp_path):
    stages = {
        s.name: s
        for s in config.load(paths.ASSETS.parent / "afcore/training/configs/audio-flamingo.json", tmp_path).stages
    }
    pretraining, tuning, chat = stages["pretraining"], stages["sft-4-shot"], stages["chat"]
    assert (pretraining.train, pretraining.lr, pretraining.batch, pretraining.precision, pretraining.pad_audios_to) == (
        "audio",
        1e-4,
        384,
        "bf16",
        8,
    )
    assert (tuning.train, tuning.lr, tuning.batch, tuning.precision, tuning.pad_audios_to, tuning.shots) == (
        "all",
        2e-5,
        128,
        "fp32",
        4,
        (3,),
    )
    assert (chat.train, chat.mix) == ("all", {"af-dialogue-audiosetsl": 1.0, "af-dialogue-musiccaps": 5.0})
    for stage in stages.values():
        assert (stage.warmup, stage.clip, stage.weight_decay, stage.schedule) == (1875, 1.0, 0.1, "constant")


# windows, shots, batches


def test_windows_are_encoded_once_and_only_read_after(folder):
    loaded = load(folder)
    windows = Windows(loaded.cache, loaded.model)
    sounds = [row.sound for row in manifests.read(loaded.data["labels"])][:3]
    with pytest.raises(MissingPart, match="--prepare"):
        windows.get(sounds[0])
    assert windows.fill(sounds + sounds) == 3
    again = Windows(loaded.cache, loaded.model)
    assert again.fill(sounds) == 0 and "encoder" not in again.__dict__
    first = again.get(sounds[0])
    assert first.shape == (1, 911) and first.dtype == np.float32 and again.silence.shape == (911,)
    assert np.allclose(first, windows.encoder.embed(_samples(sounds[0])).numpy(), atol=0.02)  # float16 on disk
    assert not np.allclose(first, again.get(sounds[2]), atol=0.1)
    from dataclasses import replace

    with pytest.raises(AudioError, match="cannot be opened"):
        again.get(replace(sounds[0], file=folder / "gone.wav"))
    broken = folder / "broken.wav"
    broken.write_bytes(b"RIFF no sound")
    with pytest.raises(AudioError, match=r"broken\.wav"):
        again.fill([Sound(broken), *sounds])


def _samples(sound):
    from afcore.audio.recording import normalise, open_recording

    return normalise(open_recording(sound.file).clip().resampled(32_000).samples)


def test_shots_are_neighbours_or_random_and_never_the_query_itself(folder):
    loaded = load(
        folder,
        [{"name": "one", "train": "audio", "mix": {"labels:knn": 1, "labels:random": 1}, "steps": 2, "shots": [2]}],
    )
    windows = Windows(loaded.cache, loaded.model)
    samples = batches.SampleSequence(loaded, loaded.stages[0], Sources(loaded, windows))
    windows.fill(samples.sounds())
    with pytest.raises(MissingPart, match="neighbours"):
        samples.prepare(make=False)
    samples.prepare(make=True)
    rows = samples.sources["labels"].rows
    near = windows.neighbours(rows)
    vectors = np.stack([windows.vector(row.sound) for row in rows])
    distance = np.linalg.norm(vectors[:, None] - vectors[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    assert (near[:, 0] == distance.argmin(1)).all()
    kinds = set()
    for number in range(24):
        sample = samples[number]
        assert len(set(sample.sounds)) == 3
        similar = "similar examples" in sample.text
        kinds.add(similar)
        if similar:
            query = [row.sound for row in rows].index(sample.sounds[-1])
            files = {rows[i].sound for i in near[query][:2]}
            assert set(sample.sounds[:-1]) == files
    assert kinds == {True, False}
    again = batches.SampleSequence(loaded, loaded.stages[0], Sources(loaded, windows))
    again.prepare(make=False)
    assert [again[k] for k in (23, 5)] == [samples[k] for k in (23, 5)]  # whoever asks, and in whatever order


def test_a_batch_has_its_loss_on_answers_and_silence_where_there_is_no_window(folder):
    loaded = load(folder)
    windows, tokenizer = Windows(loaded.cache, loaded.model), tiny_tokenizer()
    rows = manifests.read(loaded.data["labels"])
    windows.fill(row.sound for row in rows)
    made = [make(rows[0], kind="mini"), make(rows[1], kind="mini", shots=rows[2:3])]
    heard = [[windows.get(sound) for sound in sample.sounds] for sample in made]
    collate = functools.partial(batches.collate, made, heard, tokenizer, 16, windows.silence)
    batch = collate(pad_audios_to=3)
    assert batch["audio_embeds"].shape == (2, 48, 911) and batch["audio_mask"].sum(1).tolist() == [1, 2]
    assert batch["audio_mask"][1, [0, 16]].all()
    assert (batch["audio_embeds"][0, 1:].numpy() == windows.silence).all()
    for r, sample in enumerate(made):
        assert tokenizer.decode(batch["labels"][r][batch["labels"][r] >= 0]) == "".join(counted(sample))
        assert tokenizer.decode(batch["input_ids"][r][batch["attention_mask"][r] == 1]) == sample.text
    assert collate(max_tokens=20)["input_ids"].shape == (2, 20)
    assert collate()["audio_embeds"].shape == (2, 32, 911)


def test_a_bank_becomes_manifests_and_no_source_is_in_two_of_them(tmp_path):
    from afcore.retrieval.bank import Bank

    bank = Bank(paths.BANK)
    counts = manifests.from_bank(bank, tmp_path, per_label=2)
    group = {bank.audio_path(e.id).resolve(): e.group_key or e.sha256 for e in bank.examples()}

    def read(name):
        return [row.sound.file for row in manifests.read(Data(name, tmp_path / f"{name}.jsonl", tmp_path))]

    held_out, labels = ({group[file.resolve()] for file in read(name)} for name in ("held_out", "labels"))
    assert counts["labels"] == counts["captions"] == counts["facts"] > counts["held_out"] > 0
    assert not held_out & labels
    assert json.loads((tmp_path / "labels.jsonl").read_text().splitlines()[0])["prompt"] == prompts.CLASSIFY
