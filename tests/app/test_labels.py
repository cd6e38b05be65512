"""Labels as people write them."""

from afcore.app.labels import described_labels, split_labels


def test_labels_are_split_at_commas_semicolons_and_lines():
    assert split_labels(" dog, cat;rain\n dog,, ") == ["dog", "cat", "rain"]


def test_descriptions_stand_after_the_first_colon():
    labels = described_labels("dog: barks, 2:1 with cats\n\n  cat \n: nothing")
    assert [(label.name, label.description) for label in labels] == [
        ("dog", "barks, 2:1 with cats"),
        ("cat", ""),
        ("", "nothing"),
    ]
