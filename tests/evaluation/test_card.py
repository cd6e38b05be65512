"""Mini's card: every row is computed, from sounds and questions that are the same in every run. What mini reaches is
not tested here."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from tiny import TinyEncoder, tiny_engine

from afcore.corpus.clips import ClipInfo, ClipSet, write_clips
from afcore.corpus.describe import embed
from afcore.corpus.held_out import EARLIER_HELD_OUT, HELD_OUT
from afcore.engine.calibration import Calibration
from afcore.errors import BadRequest, MissingPart
from afcore.evaluation import card, dialogue_rows, label_rows, present_rows, unknown_rows
from afcore.evaluation.card_context import Context, ten_options
from afcore.evaluation.card_rows import CardRow, Scores, hidden_tags, other_audio, table
from afcore.evaluation.naming import everyday
from afcore.evaluation.ontology import branches, shared
from afcore.evaluation.sounds import Subject
from afcore.evaluation.split_scores import teacher_rows

RATE = 32_000
KNOWN = (
    "dog barking",
    "cat meowing",
    "cow mooing",
    "duck quacking",
    "frog croaking",
    "owl hooting",
    "rain",
    "thunder",
    "siren",
    "truck",
    "bus",
    "gong",
    "trumpet",
    "crash",
)
ALL = (*KNOWN, *HELD_OUT[:12])


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder as training leaves it: two test clips and one training clip of each label, each a tone of its own."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "corpus").mkdir()
    rng, infos, features, index, audio = np.random.default_rng(0), [], [], [], []
    for n, label in enumerate(ALL):
        for take, split in enumerate(("test", "test", "train")):
            package = f"{split}-{take}"
            tone = np.sin(2 * np.pi * (200 + 90 * n) * np.arange(RATE // 4) / RATE) * 20_000 + rng.normal(
                0, 200, RATE // 4
            )
            index.append({"id": f"{package}:{label}", "offset": sum(map(len, audio)), "length": len(tone)})
            audio.append(tone.astype(np.int16))
            infos.append(
                ClipInfo(
                    label,
                    f"{label} can be heard",
                    "something else",
                    [label],
                    [],
                    package,
                    f"{package}/{label}",
                    split,
                    len(index) - 1,
                    {"id": f"{package}:{label}", "fine": "animals"},
                )
            )
            features.append(embed(TinyEncoder(), audio[-1] / 20_000))
    np.concatenate(audio).tofile(folder / "corpus" / "audio.i16")
    (folder / "corpus" / "index.jsonl").write_text("".join(json.dumps(row) + "\n" for row in index))
    np.save(folder / "corpus" / "teacher.npy", rng.normal(size=(len(index), 911)).astype(np.float32))
    write_clips(folder / "clips", infos, features)
    return folder


@pytest.fixture
def context(work, tmp_path):
    return Context(work, tiny_engine(tmp_path))


def test_the_teachers_outputs_stand_at_their_clips_whatever_stands_between(tmp_path):
    infos = [
        ClipInfo("rain", "", None, [], [], "p", "p/a", "test", source, {"id": name} if source >= 0 else {})
        for source, name in ((1, "b"), (-1, ""), (0, "a"), (2, "new"))
    ]
    write_clips(tmp_path / "clips", infos, [np.zeros((1, 911))] * 4)
    (tmp_path / "index.jsonl").write_text('{"id": "a"}\n{"id": "b"}\n')
    np.save(tmp_path / "teacher.npy", np.array([[1.0, 10.0], [2.0, 20.0]], np.float32))
    found = teacher_rows(tmp_path, ClipSet(tmp_path / "clips"))
    assert found[[0, 2]].tolist() == [[2.0, 20.0], [1.0, 10.0]] and np.isnan(found[[1, 3]]).all()


def test_every_row_and_its_controls_are_computed(context):
    said = []
    scores, costs = card.evaluate(context, card.chosen(None), limit=3, controls=2, progress=said.append)
    assert said and costs.keys() == card.ABILITIES.keys()
    for row in scores.rows:
        assert row.n and row.interval[0] <= row.measured + 1e-9 and row.measured <= row.interval[1] + 1e-9, row.ability
        assert row.plain or row.bar == "95 %" or -1 <= row.measured <= 1  # the first is a ratio
    bars = [row for row in scores.rows if row.met is not None]
    assert {row.bar for row in bars} >= {
        "70%",
        "85 %",
        "80 %",
        "60 %",
        "75 %",
        "95 %",
        "at most 1 %",
        "at most 5 %",
        "at most 10 %",
        "above 0",
        "shots better",
    }
    assert {control.control for control in scores.controls} >= {
        "another clip's audio",
        "tag words removed",
        "phone",
        "room",
        "shot labels permuted",
    }
    by_label = [row for row in scores.rows if row.alone is not None]
    assert {row.ability for row in by_label} >= {"held-out labels, 8 shots", "the same with 4 retrieved shots"}
    assert {c.ability for c in scores.controls} >= {"held out, 8 shots", "held out, 8 shots, language side alone"}
    shown = table(scores)
    assert all(row.ability in shown for row in scores.rows) and shown.count("\n| ") >= len(scores.rows)


def test_a_run_goes_on_where_another_stopped(context, tmp_path, monkeypatch):
    some, asked = card.chosen("present,search"), []
    one = card.answer_one
    monkeypatch.setattr(card, "answer_one", lambda c, *task: (asked.append(task), one(c, *task))[1])

    def evaluate(limit, controls):
        return card.evaluate(context, some, limit, controls, folder=tmp_path / "kept")

    evaluate(2, 0)
    assert sorted(asked) == [("present", 0, False), ("present", 1, False), ("search", 0, False), ("search", 1, False)]
    asked.clear()
    first, _ = evaluate(3, 0)
    assert asked == [("present", 2, False)]
    asked.clear()
    card.evaluate(context, some, 3, 0, folder=tmp_path / "timed", minutes=1e-9)
    assert len(asked) == 1  # time was over after the first
    asked.clear()
    again, _ = evaluate(3, 1)
    assert sorted(asked) == [("present", 0, True), ("search", 0, True)]  # which had been asked without controls
    assert [row.measured for row in again.rows] == [row.measured for row in first.rows] and again.controls
    asked.clear()
    lines = (tmp_path / "kept" / "present.jsonl").read_text()
    (tmp_path / "kept" / "present.jsonl").write_text(
        lines.replace("can you hear", "do you hear").replace("is there", "was there")
    )
    evaluate(3, 1)
    assert sorted(asked) == [
        ("present", 0, True),
        ("present", 1, False),
        ("present", 2, False),
    ]  # other questions than before


def test_sounds_are_made_once_and_alike(work, tmp_path):
    first = Context(work, tiny_engine(tmp_path / "a"))
    subject = Subject((0, 3))
    made = first.sounds.features(subject, "room")
    first.sounds.save()
    again = Context(work, tiny_engine(tmp_path / "b"))
    again.sounds._corpus = work / "gone"  # so that nothing can be made anew
    assert (again.sounds.features(subject, "room") == made).all()
    with pytest.raises(MissingPart):
        again.sounds.features(Subject((0, 6)), "phone")


def test_other_sounds_under_the_clips_are_refused(work, tmp_path):
    context = Context(work, tiny_engine(tmp_path))
    context.clips[0].extra["id"] = "another:file"
    with pytest.raises(MissingPart, match="are not those"):
        context.sounds.samples(Subject((0,)))


def test_items_are_the_same_in_every_run_and_cover_all_labels_first(work, tmp_path):
    one, two = (Context(work, tiny_engine(tmp_path / name)) for name in "ab")
    for ability in card.ABILITIES.values():
        assert ability.items(one) == ability.items(two)
    clips = one.test_clips(set(ALL))
    assert len(clips) == 2 * len(ALL)
    assert {one.clips[i].label for i in clips[: len(ALL)]} == set(ALL)
    assert all(one.clips[i].split == "test" for i in clips)


def test_ten_options_are_half_near_and_never_true_twice(context):
    rng = np.random.default_rng(1)
    labels = sorted(context.everyday)
    for label in labels:
        options = ten_options(rng, label, labels, context)
        assert len(set(options)) == 10 and label in options
        assert not set(options) & context.everyday[label].apart
        branch = {o: shared(label, o) for o in labels if o != label and o not in context.everyday[label].apart}
        chosen = [branch[o] for o in options if o != label and branch[o]]
        assert len(chosen) == min(5, sum(map(bool, branch.values()))), "the other far ones are of other branches"
        assert sorted(chosen, reverse=True) == sorted(branch.values(), reverse=True)[: len(chosen)], (
            "no nearer class was passed over"
        )


def test_the_ontology_holds_every_class_of_the_card():
    assert branches().keys() == everyday().keys() | set(EARLIER_HELD_OUT)
    assert shared("machine gun", "gunshot") == 3 and shared("rain", "waterfall") == 2 and shared("rain", "wind") == 1
    assert shared("rain", "music") == 0 == shared("rain", "no such class")


def test_shots_come_from_other_packages(context):
    packages = {example.package for example in context.training_bank.examples()}
    assert packages == {"train-2"}
    item = label_rows.items(context, set(HELD_OUT), True, 13)[0]
    shots = label_rows._new_shots(context, item)(context.hear(item.subject))
    assert shots and {shot.example.label for shot in shots} <= set(item.called)
    assert item.called[item.options.index(item.label)] == item.name and not set(item.called) & set(item.options)


@pytest.mark.parametrize("calibration", [Calibration(alpha=0.5, shots=0.6), Calibration("sum", options=False)])
def test_chosen_label_is_what_the_engine_gives(context, calibration):
    engine, options = context.engine.with_calibration(calibration), ["hum", "buzz", "whistle", "a thing"]
    sound = context.hear(Subject((0,)))
    shots, choose = engine.neighbours(sound, 3), label_rows.chooser(engine, sound, options)
    for given in ((), shots, shots[:1]):
        found = engine.classify(sound, options, given)
        assert choose(given) == max(found, key=found.get)


def test_the_whole_is_all_judges_and_the_language_side_stands_beside_it(context, monkeypatch):
    item = label_rows.items(context, set(HELD_OUT), False, 12)[0]
    monkeypatch.setattr(
        type(context.engine), "score", lambda self, heard, labels, shots=(): SimpleNamespace(best=item.name)
    )
    record = label_rows.answer(context, item, label_rows._new_shots(context, item), controls=False)
    wrong = {**record, "zero": "another", "shots": "another"}
    assert (record["whole zero"], record["whole shots"]) == (item.name, item.name)
    row = label_rows.scored("a", [item], [wrong], "shots", 0.85)
    assert (row.measured, row.alone[0], row.met, row.bar) == (1.0, 0.0, True, "85 %")
    for teacher, bar in ((0.95, "85 %"), (0.6, "85 %, or the teacher's 60.0 % less 5 points")):
        row = label_rows.scored("a", [item], [{**record, "whole shots": "another"}], "shots", 0.85, teacher=teacher)
        assert (row.met, row.bar) == (False, bar)
    row = label_rows.scored("a", [item], [wrong], "shots", 0.85)
    assert "| 100.0% | 100.0% to 100.0% | 0.0% (0.0% to 0.0%) |" in table(Scores([row]))


def test_permutation_moves_every_label(context):
    shots = context.engine.neighbours(context.hear(Subject((0,))), 4, bank=context.training_bank)
    swap = label_rows.permutation(shots, ["other", shots[0].example.label])
    assert all(old != new for old, new in swap.items()) and set(swap.values()) <= set(swap)
    assert label_rows.permutation(shots[:1], [shots[0].example.label, "other"]) == {shots[0].example.label: "other"}


def test_yes_and_no_are_equally_often_right_and_true(context):
    items = present_rows._items(context)
    assert sum(item.truth == "yes" for item in items) * 2 == len(items)
    for item in items:
        true = context.labels_of(item.subject)
        assert (item.event in true) == (item.truth == "yes")
        assert item.event not in context.labels_of(item.other)
    assert [present_rows.yes_or_no(said) for said in ("Yes.", "no, none", "a dog", "")] == ["yes", "no", "", ""]


def test_dialogue_rule(context):
    which = dialogue_rows.DialogueItem(
        Subject((0,)),
        "?",
        (dialogue_rows.MAKES, "which"),
        ((), ("dog barking", "rain", "siren", "gong")),
        Subject((3,)),
        "g",
    )

    def right(*said):
        return dialogue_rows.turns_right(["dog barking"], which, ["", *said])

    assert right("a dog", "a dog barking.") == (True, True)
    assert right("rain falling", "a dog barking or rain") == (False, False)
    more = dialogue_rows.DialogueItem(
        Subject((0, 3)), "?", (dialogue_rows.ELSE, dialogue_rows.ELSE), ((), ()), Subject((6,)), "g"
    )
    true = ["dog barking", "rain"]
    assert dialogue_rows.turns_right(true, more, ["a dog barking", "rain falling", "nothing that i can name"]) == (
        True,
        True,
    )
    assert dialogue_rows.turns_right(true, more, ["a dog barking", "a dog", "thunder"]) == (False, False)


@pytest.mark.parametrize(
    ("kind", "said", "fault"),
    [
        ("noise", "i cannot make out any particular sound.", False),
        ("noise", "rain falling", True),
        ("noise", "white noise", False),
        ("noise", "", False),
        ("unanswerable", "i cannot tell that from the sound.", False),
        ("unanswerable", "A sound does not tell that; I hear a trumpet.", False),
        ("unanswerable", "red", True),
        ("answerable", "a dog barking", False),
        ("answerable", "I am not sure: perhaps a dog.", False),
        ("answerable", "A person.", False),
        ("answerable", "I hear a sound, but I cannot name it.", True),
        ("answerable", "I don't know.", True),
        ("answerable", "", True),
    ],
)
def test_refusal_rule(kind, said, fault):
    assert unknown_rows.at_fault(unknown_rows.UnknownItem(kind, Subject(()), "?", "g"), said) is fault


def test_bars_of_controls():
    assert (
        other_audio("a", (0.3, (0.05, 0.5)), 9, 0.8, 0.1).met
        and not other_audio("a", (0.3, (0.2, 0.5)), 9, 0.8, 0.1).met
    )
    assert hidden_tags("a", (0.46, (0, 1)), 9, 0.8, 0.1).met and not hidden_tags("a", (0.44, (0, 1)), 9, 0.8, 0.1).met
    assert "**no**" in table(Scores([CardRow("a", 0.5, (0.4, 0.6), 9, 0.1, "70 %", False)]))


def test_unknown_ability_is_refused():
    with pytest.raises(BadRequest, match="no ability “flying”"):
        card.chosen("everyday,flying")
    assert [ability.name for ability in card.chosen("search, present")] == ["search", "present"]
