"""Labels as people write them into a field of a page.

A label may hold what separates labels, as in CSV: in quotes, with a quote in it written twice.
"""

import csv
import io
import re
from collections.abc import Iterable

from afcore.teach.schema import Label

_SEPARATORS = set(',;:"\n')


def split_labels(text: str) -> list[str]:
    """Labels from a line with commas, semicolons or new lines; blanks and repeats are left out. ``"bell, small"`` is
    one label."""
    # A quoted label, or anything up to what separates; in quotes all else is text.
    parts = re.findall(r'\s*"((?:[^"]|"")*)"\s*(?=[,;\n]|$)|([^,;\n]+)', text)
    labels = (inside.replace('""', '"').strip() if inside else outside.strip() for inside, outside in parts)
    return list(dict.fromkeys(label for label in labels if label))


def joined_labels(labels: Iterable[str]) -> str:
    """What `split_labels` reads, on one line."""
    return ", ".join(quoted(label) for label in labels)


def described_labels(text: str) -> list[Label]:
    """Labels from ``name: description``, one a line; the description may be missing. A name with a colon stands in
    quotes."""
    found = []
    for line in text.splitlines():
        line = line.strip()
        if not line:
            continue
        if line.startswith('"'):
            ((name, *rest),) = csv.reader([line], delimiter=":")
            found.append(Label(name.strip(), ":".join(rest).strip()))
        else:
            name, _, description = line.partition(":")
            found.append(Label(name.strip(), description.strip()))
    return found


def label_lines(labels: Iterable[Label]) -> str:
    """What `described_labels` reads, one label a line."""
    names = ((quoted(label.name) if set(label.name) & set(':"') else label.name, label.description) for label in labels)
    return "\n".join(f"{name}: {description}" if description else name for name, description in names)


def quoted(label: str) -> str:
    """In quotes where it holds what separates labels."""
    if not set(label) & _SEPARATORS:
        return label
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="").writerow([label])
    return out.getvalue()
