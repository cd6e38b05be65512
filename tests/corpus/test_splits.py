"""Splits: packages as wholes, sets of everyday sounds by recording."""

import pytest

from afcore.corpus.splits import BY_RECORDING, dropped, recording_of, split_of, split_of_clip


def test_a_recording_stays_on_one_side():
    same = [
        ("noise_of_life", "Cough_cough-012.ogg", "", "Cough_cough-017.ogg", ""),
        ("emogator", "000336-01-2.ogg", "", "000336-30-1.ogg", ""),
        (
            "donateacry",
            "hungry_643D64AD-B711-469A-AF69-55C0D5D3E30F-1430138524-1.0-m-72-bp.ogg",
            "",
            "burping_643d64ad-b711-469a-af69-55c0d5d3e30f-1430138999-1.0-m-72-bu.ogg",
            "",
        ),
        ("luanti_sounds", "sounds_chalk_write_01.ogg", "github", "sounds_chalk_write_03.ogg", "github"),
        (
            "ambient_freesound",
            "noixer_a_p1.ogg",
            "https://freesound.org/people/allh/sounds/133099/",
            "other_p3.ogg",
            "https://freesound.org/s/133099/",
        ),
    ]
    for collection, a, source_a, b, source_b in same:
        assert recording_of(collection, a, source_a) == recording_of(collection, b, source_b)
        assert split_of_clip(collection, a, source_a) == split_of_clip(collection, b, source_b)
    assert recording_of("noise_of_life", "Cough_cough-012.ogg") != recording_of("noise_of_life", "Cough_cough-023.ogg")
    assert recording_of("emogator", "000336-01-2.ogg") != recording_of("emogator", "000337-01-2.ogg")


def test_about_a_quarter_of_the_recordings_validates_and_a_quarter_tests():
    splits = [split_of_clip("emogator", f"{k:06d}-01-1.ogg") for k in range(2000)]
    assert 440 < splits.count("validation") < 560
    assert 440 < splits.count("test") < 560


def test_whole_sets_train_and_split_sets_are_asked_by_clip():
    assert split_of("ss14") == split_of_clip("ss14", "a.ogg") == "train"
    assert split_of_clip("scratch", "a.ogg") == split_of("scratch") == "test"
    for collection in BY_RECORDING:
        with pytest.raises(ValueError, match="by recording"):
            split_of(collection)


def test_a_given_split_counts_more_than_the_package():
    assert dropped(["ss14", "ss14"], [3, 3], ["train", "validation"]) == [True, False]
