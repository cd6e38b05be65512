"""Labels as people write them."""

import pytest

from afcore.app.labels import described_labels, joined_labels, label_lines, split_labels
from afcore.teach.schema import Label


def test_labels_are_split_at_commas_semicolons_and_lines():
    assert split_labels(" dog, cat;rain\n dog,, ") == ["dog", "cat", "rain"]


def test_descriptions_stand_after_the_first_colon():
    labels = described_labels("dog: barks, 2:1 with cats\n\n  cat \n: nothing")
    assert [(label.name, label.description) for label in labels] == [
        ("dog", "barks, 2:1 with cats"),
        ("cat", ""),
        ("", "nothing"),
    ]


@pytest.mark.parametrize(
    "labels", [["dog", "bell, small"], ['say "hi"', "a; b"], ["a:b", "زنگ\u200cدر"], ["x"], ['"q"']]
)
def test_labels_survive_being_written_down(labels):
    assert split_labels(joined_labels(labels)) == labels
    described = [Label(label, "with: colon, and “more”") for label in labels] + [Label(labels[0] + "!")]
    assert described_labels(label_lines(described)) == described
