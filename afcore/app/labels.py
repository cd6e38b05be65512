"""Labels as people write them into a field of a page."""

from collections.abc import Iterable

from afcore.teach.schema import Label


def split_labels(text: str) -> list[str]:
    """Labels from a line with commas, semicolons or new lines; blanks and repeats are left out."""
    parts = (part.strip() for part in text.replace(";", ",").replace("\n", ",").split(","))
    return list(dict.fromkeys(part for part in parts if part))


def described_labels(text: str) -> list[Label]:
    """Labels from ``name: description``, one a line; the description may be missing."""
    pairs = (line.partition(":") for line in text.splitlines() if line.strip())
    return [Label(name.strip(), description.strip()) for name, _, description in pairs]


def label_lines(labels: Iterable[Label]) -> str:
    """What `described_labels` reads, one label a line."""
    return "\n".join(f"{label.name}: {label.description}" if label.description else label.name for label in labels)
