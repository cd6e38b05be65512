"""Thumbs: kept with the exact prompt, the last word counts, CSV that no spreadsheet computes, and gone when told."""

import csv
import io

from afcore.app.feedback import Feedback, Thumb


def _thumb(thumb: str, answer: str = "a dog", sound: str = "=x.wav") -> Thumb:
    return Thumb(thumb, sound, "ab" * 32, 0.0, "mini", "What is it?", answer, "<audio>What is it?", at=1e9)


def test_the_last_thumb_on_an_answer_counts_and_a_torn_line_costs_only_itself(tmp_path):
    kept = Feedback(tmp_path / "data" / "feedback.jsonl")
    assert kept.all() == []
    for thumb in (_thumb("up"), _thumb("up", "rain"), _thumb("down")):
        kept.add(thumb)
    with kept.file.open("a") as out:
        out.write('{"thumb": "u')
    assert [(one.answer, one.thumb) for one in kept.all()] == [("rain", "up"), ("a dog", "down")]
    rows = list(csv.DictReader(io.StringIO(kept.to_csv())))
    assert rows[1]["prompt"] == "<audio>What is it?" and rows[0]["sound"] == "'=x.wav" and rows[0]["at"][:4] == "2001"
    kept.clear()
    assert kept.all() == []
