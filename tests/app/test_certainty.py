"""Doubt in words: by measured limits, never sure where judges or tags contradict, silent where nothing was measured."""

import json

import pytest

from afcore import paths
from afcore.app.certainty import LIKELY, NOT_SURE, SURE, Certainty, Limits, of_labels, of_sentence
from afcore.engine.results import LabelScores, Opinion
from afcore.errors import MissingPart
from afcore.training.mini.certainty import LEAST, NEVER, limit, row

LIMITS = Limits(0.8, 0.5)


def _scores(first: float, *bests: str) -> LabelScores:
    probabilities = {"dog": first, "airplane": (1 - first) * 0.7, "rain": (1 - first) * 0.3}
    opinions = [
        Opinion(f"judge {n}", {label: float(label == best) for label in probabilities}) for n, best in enumerate(bests)
    ]
    return LabelScores(probabilities, tuple(opinions))


@pytest.mark.parametrize(
    "p, bests, word",
    [
        (0.9, ("dog", "dog"), SURE),
        (0.9, ("dog", "airplane"), LIKELY),
        (0.6, ("dog", "dog"), LIKELY),
        (0.45, ("dog", "dog"), NOT_SURE),
    ],
)
def test_a_label_is_as_sure_as_its_probability_and_its_judges(p, bests, word):
    assert of_labels(_scores(p, *bests), LIMITS).word == word


def test_what_is_not_sure_says_what_it_may_be():
    assert of_labels(_scores(0.45, "dog"), LIMITS).sentence() == "Not sure: it may also be airplane or rain."
    assert of_labels(_scores(0.9, "dog"), LIMITS).sentence() == "Sure."


@pytest.mark.parametrize(
    "text, tags, word",
    [
        ("a dog barks", [("Bark", 0.9), ("Dog", 0.9)], SURE),
        ("an animal", [("Dog", 0.9)], SURE),
        ("a dog barking together with an elephant trumpeting", [("Dog", 0.9), ("Bark", 0.8)], NOT_SURE),
        ("an airplane", [("Chainsaw", 0.76), ("Aircraft", 0.1)], NOT_SURE),
    ],
)
def test_a_sentence_is_as_sure_as_the_least_supported_thing_it_names(text, tags, word):
    assert of_sentence(text, tags, LIMITS).word == word


def test_a_doubtful_sentence_names_what_the_tags_say():
    assert "chainsaw" in of_sentence("an airplane", [("Chainsaw", 0.76)], LIMITS).sentence()
    assert of_sentence("xyzzy", [("Dog", 0.9)], LIMITS) is None and of_sentence("a dog", [], LIMITS) is None


def test_limits_are_mini_s_own_and_a_damaged_file_is_said(tmp_path):
    assert Certainty.of("mini", tmp_path) is None and Certainty.of("audio-flamingo-chat") is None
    (tmp_path / "certainty.json").write_text("{}")
    with pytest.raises(MissingPart, match="damaged"):
        Certainty.of("mini", tmp_path)


@pytest.mark.skipif(not (paths.MINI / "certainty.json").exists(), reason="not measured for these weights")
def test_what_ships_was_measured():
    shipped = Certainty.of("mini")
    assert 0 < shipped.labels.likely <= shipped.labels.sure and 0 < shipped.tags.likely <= shipped.tags.sure
    assert json.loads((paths.MINI / "certainty.json").read_text())["labels"]["measured"]["sure"]["answers"] > 0


def test_a_limit_is_the_lowest_from_which_enough_is_right():
    p = [0.9] * LEAST + [0.5] * LEAST
    assert limit(p, [True] * LEAST + [False] * LEAST, 0.9) == 0.9
    assert limit(p, [True] * 2 * LEAST, 0.9) == 0.5
    assert limit(p, [False] * 2 * LEAST, 0.7) == NEVER
    late = [False] * 9 + [True] * (2 * LEAST - 9)
    assert limit(p, late, 0.7) == NEVER and limit(p, late, 0.7, steady=False) == 0.5
    found = row(p, [True] * LEAST + [False] * LEAST)
    assert found["sure"] == 0.9 and found["likely"] <= 0.9 and found["measured"]["sure"]["right"] == 1.0
