"""Failure cases: what counts as right, how sounds are mixed, the shipped list, and the command."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tiny import tiny_engine

from afcore import paths
from afcore.cli import main
from afcore.corpus.clips import ClipInfo, write_clips
from afcore.corpus.held_out import LAST_HELD_OUT
from afcore.errors import MissingPart
from afcore.evaluation import failures, failures_search
from afcore.evaluation.failures import (
    ALIKE,
    COUNT,
    KINDS,
    MADE_UP,
    NEW,
    ORDER,
    QUIET,
    RARE,
    WORDS,
    Case,
    CaseSounds,
    Part,
    Verdict,
)
from afcore.knowledge.table import by_name
from afcore.retrieval.bank import Bank


@pytest.fixture(scope="module")
def sounds():
    return CaseSounds(Bank(paths.SHIPPED_BANK))


@pytest.mark.parametrize(
    ("kind", "right", "good", "bad"),
    [
        (ALIKE, "rain", ["rain"], ["wind"]),
        (QUIET, "yes", ["yes", "Yes, a dog barks."], ["no", "no, yes is wrong", "a dog", ""]),
        (NEW, "sheep bleating", ["sheep", "a sheep bleating in a field"], ["a goat", "animal"]),
        (ORDER, "dog barking", ["a dog barks", "the dog barking"], ["rain", "rain, then a dog", "a bell", ""]),
        (COUNT, "three", ["three times", "3", "it sounds three times."], ["two", "two or three", "many times", "13"]),
        (RARE, "motorcycle", ["a motorcycle", "I hear a motorcycle."], ["a car", "a vehicle"]),
        (WORDS, "that it cannot", ["I cannot write down speech.", "i don't know"], ["hello world", "a man speaking"]),
    ],
)
def test_what_is_right(kind, right, good, bad):
    case = Case(kind, (Part("0"),), "?", right, ("dog barking", "rain"))
    assert [case.is_right(said) for said in (*good, *bad)] == [True] * len(good) + [False] * len(bad)


@pytest.mark.parametrize(
    "right, options, good, bad",
    [
        (
            "that there is no dog barking, but rain",
            ("dog barking", "rain"),
            [
                "There is no dog.",
                "It is rain.",
                "That is no animal: I hear rain.",
                "I do not hear a dog barking, only rain.",
            ],
            [
                "That is a dog.",
                "Because a dog barks in the rain.",
                "A thunderstorm.",
                "I am not sure: perhaps a dog.",
                "I cannot tell.",
                "",
            ],
        ),
        ("yes", (), ["Yes.", "yes, I hear rain"], ["No, I hear rain: nothing to worry about.", "It is safe.", ""]),
        (
            "that no sound tells the room",
            (),
            ["A sound does not tell that.", "I cannot tell."],
            ["Perhaps in a bathroom.", "It could be at home, since I hear a cat.", ""],
        ),
    ],
)
def test_what_is_right_of_made_up_dialogues(right, options, good, bad):
    case = Case(MADE_UP, (Part("0"),), "?", right, options)
    assert [case.is_right(said) for said in (*good, *bad)] == [True] * len(good) + [False] * len(bad)


def test_sounds_are_mixed_at_their_level_and_time(sounds):
    first, second = sorted(sounds.examples)[:2]
    clip = sounds.clip(Case(QUIET, (Part(first), Part(second, -20.0, 1.5)), "?", "yes"))
    alone = [sounds.clip(Case(NEW, (Part(sha),), "?", "x")) for sha in (first, second)]
    late = round(1.5 * clip.rate)
    expected = np.zeros(max(len(alone[0].samples), late + len(alone[1].samples)))
    expected[: len(alone[0].samples)] += alone[0].samples
    expected[late : late + len(alone[1].samples)] += 0.1 * alone[1].samples
    assert clip.rate == alone[0].rate == alone[1].rate == failures.RATE
    assert clip.samples == pytest.approx(expected * 0.9 / np.abs(expected).max(), abs=1e-5)
    with pytest.raises(MissingPart, match="lacks the sound 012"):
        sounds.clip(Case(NEW, (Part("012"),), "?", "x"))


def test_the_shipped_list_has_every_kind_and_its_sounds_are_in_the_bank(sounds):
    cases = failures.read()
    assert {case.kind for case in cases} == set(KINDS) == set(failures.WHY) and len(set(cases)) == len(cases) >= 10
    for case in cases:
        labels = sounds.labels(case)
        truth = {ALIKE: labels[0], NEW: labels[0], ORDER: labels[0], QUIET: "yes", COUNT: failures.NUMBERS[len(labels)]}
        assert case.right == truth.get(case.kind, case.right)
        assert case.right in case.options or case.kind not in (ALIKE, ORDER)
    counts = failures_search.counts()
    for case in cases:
        assert (case.beside is not None) == (case.clips is not None) == (case.kind == RARE)
        if case.beside is not None:
            assert case.beside.question == case.question and sounds.labels(case.beside) == [case.beside.right]
            assert case.clips == counts[case.right] <= failures_search.FEW
            assert case.beside.clips == counts[case.beside.right] >= failures_search.MANY


def test_what_is_said_is_written_down_and_read_again(tmp_path):
    beside = Case(RARE, (Part("1"),), "?", "car engine", clips=90)
    rare, other = (
        Case(RARE, (Part("0", -3.0),), "?", "motorcycle", clips=1, beside=beside),
        Case(NEW, (Part("2"),), "?", "x"),
    )
    assert failures.asked([rare, other]) == [rare, beside, other]
    found = {case: Verdict(f"a {case.right}", True) for case in (rare, beside, other)}
    failures.write(failures.recorded([rare, other], found), tmp_path / failures.LIST)
    first, second = failures.read(tmp_path)
    assert (first.said, first.beside.said, second.said) == ("a motorcycle", "a car engine", "a x")
    assert first.sounds == rare.sounds and first.beside.sounds == beside.sounds and second.beside is None


def test_rare_labels_and_made_up_dialogues_are_looked_for_among_what_training_met(sounds):
    counts = failures_search.counts()
    rare = list(failures_search.candidates(sounds.bank, RARE, 12))
    assert [case.clips for case in rare] == sorted(counts[case.right] for case in rare)
    for case in rare:
        assert case.right not in LAST_HELD_OUT and counts[case.beside.right] >= failures_search.MANY
        assert not set(case.right.split()) & set(case.beside.right.split())
    made_up = list(failures_search.candidates(sounds.bank, MADE_UP, 12))
    assert len(made_up) == len({(case.question, case.sounds) for case in made_up}) == 12
    for case in made_up:
        assert case.question in (failures_search.SAFE, failures_search.ROOM) or case.question.startswith("Why is the ")
        [label] = sounds.labels(case)
        if case.options:
            assert case.options[1] == label != case.options[0] and case.options[0].split()[0] not in label


def test_training_clips_are_counted_by_label_and_by_what_is_heard(sounds):
    def clip(label, tags=(), split="train", **extra):
        numbers = [(by_name()[name].index, p) for name, p in tags]
        return ClipInfo(label, "", None, [], [], "p", "g", split, extra={"tags": numbers, "classes": []} | extra)

    clips = [
        clip("zipper"),
        clip(None, [("Zipper (clothing)", 0.9)]),
        clip(None, [("Zipper (clothing)", 0.1)]),  # not sure
        clip(None, [("Zipper (clothing)", 0.9)], parts=[]),  # two sounds at once
        clip("zipper", split="validation"),
        clip("sword clash"),  # left out
        clip("rain"),
    ]
    found = failures_search.count(sounds.bank, clips)
    assert {label: n for label, n in found.items() if n} == {"zipper": 2, "rain": 1}
    assert found.keys() == failures_search.counts().keys()


@pytest.mark.parametrize(
    "text", ["", "[", "{}", '[{"kind": "?", "sounds": [], "question": "?", "right": "x"}]', '[{"sounds": [1]}]', "[1]"]
)
def test_a_damaged_list_is_one_sentence(text, tmp_path):
    (tmp_path / "failures.json").write_text(text)
    with pytest.raises(MissingPart, match=r"failures.json is missing or damaged"):
        failures.read(tmp_path)
    with pytest.raises(MissingPart):
        failures.read(tmp_path / "nowhere")


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Loads the tiny engine, whatever is asked for."""
    engine = tiny_engine(tmp_path, bank=False)
    monkeypatch.setattr(failures, "LENGTH", 3)
    return lambda *_: engine


def test_the_command_asks_the_shipped_list(tiny, capsys):
    assert main.main(["failures", "--json"], tiny) == 0
    out, err = capsys.readouterr()
    rows, cases = [json.loads(line) for line in out.splitlines()], failures.asked(failures.read())
    assert [row["question"] for row in rows] == [case.question for case in cases]
    assert [row["right"] for row in rows] == [case.is_right(row["said"]) for row, case in zip(rows, cases, strict=True)]
    beside = {case.beside for case in cases}
    wrong = sum(not row["right"] for row, case in zip(rows, cases, strict=True) if case not in beside)
    assert f"{wrong} of {len(failures.read())} are wrong." in err
    assert {row["model"] for row in rows} == {"tiny"} and all(row["labels"] and row["expected"] for row in rows)


def test_the_command_writes_down_what_is_said_now(tiny, tmp_path):
    assert main.main(["failures", "--out", str(tmp_path / failures.LIST)], tiny) == 0
    for before, now in zip(failures.asked(failures.read()), failures.asked(failures.read(tmp_path)), strict=True):
        assert replace(now, said=before.said, beside=before.beside) == before
        assert now.said and (now.kind == ALIKE or now.said != before.said), "the tiny model babbles"


def test_the_command_looks_for_cases_anew(tiny, capsys, tmp_path, sounds):
    assert main.main(["failures", "--look", "2", "--out", str(tmp_path / "failures.json")], tiny) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * len(KINDS) + 2 and {line[11:28].strip() for line in lines} == set(KINDS)
    wrong = failures.read(tmp_path)
    listed = [case for case in wrong if case.kind != RARE]
    assert len(listed) == sum(line.startswith("wrong") and RARE not in line for line in lines) > 0
    for case in wrong:
        assert case.said and sounds.clip(case).duration > 0


def test_the_command_stops_at_so_many_of_each_kind(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(Case, "is_right", lambda case, said: case.kind == NEW)
    assert main.main(["failures", "--look", "4", "--most", "1", "--out", str(tmp_path / failures.LIST)], tiny) == 0
    assert [case.kind for case in failures.read(tmp_path)] == [kind for kind in KINDS if kind not in (NEW, RARE)]


def test_the_command_counts_training_clips(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(failures_search, "COUNTS", tmp_path / "counts.json")
    assert main.main(["failures", "--count", str(tmp_path)]) == 1
    assert "holds no described clips" in capsys.readouterr().err
    info = ClipInfo("rain", "", None, [], [], "p", "g", "train", extra={"tags": [], "classes": []})
    write_clips(tmp_path, [info], [np.zeros((1, 911), np.float16)])
    assert main.main(["failures", "--count", str(tmp_path)]) == 0
    failures_search.counts.cache_clear()
    assert failures_search.counts()["rain"] == 1
    failures_search.counts.cache_clear()
