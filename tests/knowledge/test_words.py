"""Words without their endings."""

import pytest

from afcore.knowledge.words import stem, stems


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("barking", "bark"),
        ("horses", "hors"),
        ("running", "run"),
        ("hissing", "hiss"),
        ("sing", "sing"),
        ("bus", "bus"),
        ("glass", "glass"),
        ("cries", "cry"),
        ("engines", "engin"),
        ("engine", "engin"),
    ],
)
def test_stem(word, expected):
    assert stem(word) == expected


def test_noise_is_a_word():
    assert stems("white noise") == {"whit", "nois"}


def test_stems_leave_out_words_that_say_nothing():
    assert stems("A dog is barking.") == stems("dogs barking") == stems("the sound of a barking dog") == {"dog", "bark"}
    assert stems("Bee, wasp, etc.") == {"bee", "wasp"}


def test_a_text_of_fillers_alone_keeps_its_words():
    assert stems("the sound") == {"the", "sound"} and stems("?!") == frozenset()
