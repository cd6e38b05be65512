"""How near two classes are in AudioSet's ontology (ontology.txt)."""

from __future__ import annotations

from functools import cache
from pathlib import Path


@cache
def branches() -> dict[str, tuple[str, ...]]:
    """class → the names of the branches that lead to it, the outermost first."""
    found: dict[str, tuple[str, ...]] = {}
    for line in (Path(__file__).parent / "ontology.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            path, classes = line.split("|")
            found |= {name.strip(): tuple(part.strip() for part in path.split(">")) for name in classes.split(",")}
    return found


def shared(a: str, b: str) -> int:
    """How many branches lead to both classes: 0 for strangers, and for what the ontology lacks."""
    known, count = branches(), 0
    for one, other in zip(known.get(a, ()), known.get(b, ()), strict=False):
        if one != other:
            break
        count += 1
    return count
