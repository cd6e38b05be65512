"""Failure cases: what counts as right, how sounds are mixed, the shipped list, and the command."""

import json

import numpy as np
import pytest
from tiny import tiny_engine

from afcore import paths
from afcore.cli import main
from afcore.errors import MissingPart
from afcore.evaluation import failures
from afcore.evaluation.failures import ALIKE, COUNT, KINDS, NEW, ORDER, QUIET, WORDS, Case, CaseSounds, Part
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
        (WORDS, "that it cannot", ["I cannot write down speech.", "i don't know"], ["hello world", "a man speaking"]),
    ],
)
def test_what_is_right(kind, right, good, bad):
    case = Case(kind, (Part("0"),), "?", right, ("dog barking", "rain"))
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
    rows, cases = [json.loads(line) for line in out.splitlines()], failures.read()
    assert [row["question"] for row in rows] == [case.question for case in cases]
    assert [row["right"] for row in rows] == [case.is_right(row["said"]) for row, case in zip(rows, cases, strict=True)]
    assert f"{sum(not row['right'] for row in rows)} of {len(rows)} are wrong." in err
    assert {row["model"] for row in rows} == {"tiny"} and all(row["labels"] and row["expected"] for row in rows)


def test_the_command_looks_for_cases_anew(tiny, capsys, tmp_path, sounds):
    assert main.main(["failures", "--look", "2", "--out", str(tmp_path / "failures.json")], tiny) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * len(KINDS) and {line[11:25].strip() for line in lines} == set(KINDS)
    wrong = failures.read(tmp_path)
    assert len(wrong) == sum(line.startswith("wrong") for line in lines) > 0
    for case in wrong:
        assert sounds.clip(case).duration > 0
