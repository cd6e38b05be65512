"""The matching rule of mini's card, its simulated phone and room, and CIDEr."""

import numpy as np
import pytest

from afcore.corpus.labels import read_names
from afcore.evaluation import sounds
from afcore.evaluation.naming import everyday, names, refuses, true_claims

RATE = 32_000


@pytest.mark.parametrize(
    ("text", "label", "expected"),
    [
        ("a dog barking", "dog barking", True),
        ("dogs", "dog barking", True),
        ("A cat, and a dog.", "dog barking", True),
        ("water", "water splashing", True),
        ("music playing", "music", True),
        ("a snare drum", "bass drum", False),
        ("a car horn honking", "ship horn", False),
        ("a person speaking", "speech", True),
        ("", "music", False),
        ("wolf howling", "wolf howling", True),
        ("howling", "wolf howling", True),
        ("a dog", "wolf howling", False),
    ],
)
def test_names(text, label, expected):
    assert names(text, label) is expected


def test_a_class_is_named_by_its_own_caption():
    phrases = read_names()
    assert len(everyday()) >= 50
    assert [label for label in everyday() if not names(phrases[label].phrase, label)] == []
    assert all(label in everyday()[other].apart for label in everyday() for other in everyday()[label].apart)


def test_true_claims():
    assert true_claims("a dog barking and rain falling", ["dog barking"], ["dog barking"], []) == [True, False]
    assert true_claims("a dog barking and rain falling", ["dog barking"], [], ["thunder"]) == [True, False]
    assert true_claims("a dog and rain falling", ["dog barking"], [], ["rain"]) == [True]  # faintly heard: neither
    assert true_claims("the sound of something", ["dog barking"], [], []) == []


def test_refusals():
    assert refuses("I can’t tell that from the sound.") and refuses("i do not hear a vehicle")
    assert not refuses("a can rattling") and not refuses("nothing but rain")


def power(x, low, high):
    spectrum, hz = np.abs(np.fft.rfft(x)) ** 2, np.fft.rfftfreq(len(x), 1 / RATE)
    return spectrum[(hz >= low) & (hz < high)].sum()


def test_phone_passes_its_band_only():
    x = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    y = sounds.phone(x)
    assert len(y) == len(x) and power(y, 300, 3400) > 50 * power(y, 4200, 16_000)
    assert power(y, 300, 3400) > 10 * power(y, 0, 200)
    assert np.isfinite(sounds.phone(np.zeros(RATE, np.float32))).all()


def test_room_smears_and_adds_noise():
    click = np.zeros(RATE, np.float32)
    click[100] = 1
    y = sounds.room(click, np.random.default_rng(0))
    early, late = (np.sqrt((y[a:b] ** 2).mean()) for a, b in ((200, 4000), (12_000, 16_000)))
    assert early > 3 * late > 0
    assert np.isfinite(sounds.room(np.zeros(RATE, np.float32), np.random.default_rng(0))).all()


@pytest.mark.parametrize("kind", sounds.NOISES)
def test_noise_has_its_level(kind):
    x = sounds.noise(kind, -40.0, np.random.default_rng(0))
    peak = np.abs(x).max()
    assert peak == (0 if kind == "silence" else pytest.approx(0.01, abs=1 / 32767)) and RATE <= len(x) <= 8 * RATE
    assert (x * 32767 == np.round(x * 32767)).all()


def test_colours_differ():
    slopes = []
    for slope in (0, 1, 2):
        x = sounds.coloured(4 * RATE, slope, np.random.default_rng(0))
        slopes.append(np.log2(power(x, 1000, 2000) / power(x, 4000, 8000)) / 2)  # two octaves up, twice as wide each
    assert np.allclose(slopes, [-1, 0, 1], atol=0.15)
