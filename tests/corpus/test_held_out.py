"""The labels that the language side does not meet: those of the weights that ship, and those of the next."""

from __future__ import annotations

import pytest

from afcore.corpus.clips import ClipInfo
from afcore.corpus.held_out import (
    LAST_HELD_OUT,
    left_out,
    left_out_classes,
    says_left_out,
)
from afcore.corpus.labels import read_names
from afcore.knowledge.table import by_name

GIVEN_BACK = (
    "helicopter",
    "gunshot",
    "machine gun",
    "screaming",
    "hand clap",
    "sheep bleating",
    "crickets chirping",
    "jet engine",
    "beeping",
    "waterfall",
    "coins",
)


def clip(label: str | None, caption: str = "", *events: str) -> ClipInfo:
    return ClipInfo(label, caption, None, list(events), [], "package", "group", "train")


def test_twenty_labels_of_the_corpus_are_held_out_next():
    assert len(set(LAST_HELD_OUT)) == 20
    assert set(LAST_HELD_OUT) <= set(read_names())


@pytest.mark.parametrize("label", LAST_HELD_OUT)
def test_a_held_out_label_is_found_by_its_own_words(label):
    """A caption with the label's phrase is left out too, also where the clip's label is another."""
    assert says_left_out(label)
    assert says_left_out(read_names()[label].phrase)
    assert left_out(clip("music", f"music, then {label}"))
    assert left_out(clip(None, "", "rain", label))


@pytest.mark.parametrize("label", GIVEN_BACK)
def test_what_people_ask_for_is_given_back(label):
    assert not left_out(clip(label, read_names()[label].phrase, label))


def test_no_other_label_has_one_of_the_words():
    assert {name for name, n in read_names().items() if says_left_out(f"{name}, {n.phrase}")} == set(LAST_HELD_OUT)


def test_audioset_classes_that_are_one_of_them_are_held_out_too():
    classes = left_out_classes()
    assert {"Arrow", "Artillery fire", "Whip", "Boing", "Maraca", "Whoosh, swoosh, swish"} <= classes <= set(by_name())
    assert not classes & {"Gunshot, gunfire", "Helicopter", "Screaming", "Clapping", "Sheep", "Cricket", "Wood block"}
    assert len(classes) < 12
