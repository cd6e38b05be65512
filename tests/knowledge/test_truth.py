"""What is true of a clip, from its tags and its label."""

from __future__ import annotations

import numpy as np
import pytest

from afcore.knowledge.table import by_name, table
from afcore.knowledge.truth import (
    NOTHING,
    above,
    distinct,
    named_among,
    named_by,
    named_class,
    tags_of,
    together,
    truth_of,
)


def tags(**probability: float) -> dict[int, float]:
    return {by_name()[name.replace("_", " ")].index: p for name, p in probability.items()}


def names(truth) -> list[str]:
    return [event.name for event in truth.events]


def test_the_more_specific_of_two_true_classes_is_named():
    assert names(truth_of(tags(Animal=0.95, Dog=0.9, Bark=0.6))) == ["Bark"]
    assert names(truth_of(tags(Animal=0.95, Dog=0.9, Bark=0.1))) == ["Dog"]


def test_what_sounds_alike_is_named_once():
    assert names(truth_of(tags(Bark=0.8, **{"Bow-wow": 0.7}, Rain=0.5))) == ["Bark", "Rain"]


def test_rooms_are_named_only_where_nothing_else_is():
    room = {by_name()["Inside, small room"].index: 0.9}
    assert names(truth_of(room | tags(Rain=0.4))) == ["Rain"]
    assert names(truth_of(room)) == ["Inside, small room"]


def test_without_a_sure_tag_the_likeliest_is_a_guess():
    truth = truth_of(tags(Rain=0.2, Speech=0.02))
    assert names(truth) == ["Rain"] and not truth.sure
    assert truth_of(tags(Rain=0.05)).events == ()
    assert truth_of({}) == NOTHING


def test_a_label_counts_where_the_teacher_does_not_contradict():
    rain = by_name()["Rain"].index
    assert names(truth_of(tags(Rain=0.1, Speech=0.4), [rain])) == ["Rain", "Speech"]
    assert names(truth_of(tags(Rain=0.001, Speech=0.4), [rain])) == ["Speech"]


@pytest.mark.parametrize(
    ("asked", "answer"),
    [("Bark", True), ("Dog", True), ("Animal", True), ("Rain", None), ("Piano", False), ("Bow-wow", None)],
)
def test_only_what_is_surely_not_there_is_absent(asked, answer):
    assert truth_of(tags(Bark=0.8, Rain=0.05)).has(by_name()[asked]) is answer


def test_events_of_a_kind_the_special_first():
    truth = truth_of(tags(Animal=0.6, Meow=0.2, Rain=0.5, Siren=0.4))
    assert [e.name for e in truth.of_kind("animal")] == ["Animal"]
    assert truth.of_kind("vehicle") == tuple(e for e in truth.events if "vehicle" in e.kinds)


def test_tags_of_logits_come_strongest_first_without_the_faint():
    logits = np.full(527, -12.0, np.float16)
    logits[3], logits[70] = 0.0, 2.0
    assert list(tags_of(logits).items()) == [(70, 0.881), (3, 0.5)]


def test_two_clips_together_have_the_tags_of_both():
    assert together({1: 0.5, 2: 0.1}, {2: 0.4, 3: 0.2}) == {1: 0.5, 2: 0.4, 3: 0.2}


@pytest.mark.parametrize(
    ("label", "name"), [("dog barking", "Bark"), ("rain", "Rain"), ("piano", "Piano"), ("sneeze", "Sneeze")]
)
def test_a_label_names_the_class_that_has_its_words(label, name):
    assert by_name()[name].index in named_by(label)


def test_a_label_of_its_own_names_no_class():
    assert named_by("guardian death") == ()


@pytest.mark.parametrize(
    ("label", "names"),
    [
        ("train", ("Train",)),  # not its horn, whose source a train is
        ("animals duck quack happy", ("Quack",)),
        ("footsteps wood heavy", ("Walk, footsteps",)),
        ("weather night rain", ("Rain",)),
        ("guardian death", ()),
    ],
)
def test_a_label_names_what_its_words_say_and_no_more(label, names):
    assert tuple(table()[i].name for i in named_by(label) or named_among(label)) == names


def test_distinct_keeps_the_order_of_what_it_keeps():
    score = tags(Rain=0.9, Piano=0.5)
    assert distinct(list(score), score) == list(score)


def test_what_is_true_with_a_class_brings_nothing_more_along():
    """So that one step up the table is the whole way."""
    for sound in table():
        assert sound.name not in above(sound)
        assert all(above(by_name()[name]) <= {sound.name, *above(sound)} for name in above(sound)), sound.name


def test_a_label_names_the_likeliest_of_its_classes_unless_the_teacher_contradicts():
    cat, meow, rain = (by_name()[name].index for name in ("Cat", "Meow", "Rain"))
    heard = {cat: 0.05, meow: 0.2, rain: 0.9}
    assert named_class(heard, (cat, meow)) == named_class(heard, (meow, cat)) == meow
    assert named_class({cat: 0.01}, (cat, meow)) is None and named_class(heard, ()) is None
