"""How questions are worded in mini's training: many ways to ask the same, from `wordings.txt`, with the small things
that people do to a question: a polite start, no question mark, a capital or none."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np

FILE = Path(__file__).parent / "wordings.txt"
BEFORE = (
    ("please tell me: ", 1),
    ("hey, ", 1),
    ("can you tell me: ", 1),
    ("tell me, ", 1),
    ("so, ", 1),
    ("ok, ", 1),
    ("hm, ", 1),
    ("", 33),
)
AFTER = ((" in this clip", 1), (" in this recording", 1), (" here", 1), (", please", 1), ("", 40))
NO_MARK = 0.12  # share of questions without a question mark
VERBS = (
    "name|identify|tell|say|describe|give|sum|summarise|summarize|write|put|caption|list|guess|count|picture|"
    "imagine|suggest|title|tag|label|find|explain|subtitle|choose|pick|listen|add|answer|arrange|assess|"
    "assign|attach|back|check|circle|classify|come up|compose|confirm|decide|defend|detect|determine|draft|"
    "draw|enter|entitle|enumerate|estimate|fill|generate|go through|help|index|invent|justify|let|make|mark|"
    "match|measure|narrate|note|output|paint|pinpoint|please|point|print|produce|propose|provide|rate|"
    "recognise|rename|report|retell|return|run me|select|settle|show|sketch|sort|specify|state|supply|talk me|"
    "tally|think|tick|transcribe|verify|visualise|visualize|walk|work out|characterise"
)
ASKED_LAST = (
    r"(?:so |and |but |then )?(?:what|which|who|whom|whose|where|how|why|when|is|are|am|do|does|did|can|could|should|"
    r"would|will|shall|was|were|have|has|on|in|up)\b"
)
REQUEST = re.compile(  # requests, also after a reason for them, needs that are told, and keywords
    rf"^(?!.*[,:;] {ASKED_LAST})(?:"
    rf"(?:.*[:;,] )?(?:please |now |just |only )?(?:{VERBS})\b"
    r"|(?:tags|alt|number|speech)\b"
    r"|(?:i|i'd|i'm|we|my|our|a friend)\b[^,:;]*$"
    r"|the [^,:;]*\b(?:wants?|needs?|asks?|lacks|has no|are missing)\b[^,:;]*$"
    r")"
)


@cache
def wordings() -> dict[str, tuple[str, ...]]:
    """kind of question → its wordings, without a question mark and in lower case."""
    found: dict[str, list[str]] = {}
    for line in FILE.read_text(encoding="utf-8").splitlines():
        line = line.strip()
        if line.startswith("["):
            current = found.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            current.append(line)
    return {kind: tuple(lines) for kind, lines in found.items()}


def question(kind: str, rng: np.random.Generator, *about: str) -> str:
    """A question of a kind as somebody may type it, about ``about``. Raises KeyError for an unknown kind."""
    lines = wordings()[kind]
    line = lines[int(rng.integers(len(lines)))]
    request = bool(REQUEST.match(line))
    text = line.format(*about)
    if not about:
        text = _some(BEFORE, rng) + text + ("" if "," in text or request else _some(AFTER, rng))
    roll = rng.random()
    ending = "" if roll < NO_MARK else "." if request else "?"
    return finished(text + ending, rng)


def finished(text: str, rng: np.random.Generator) -> str:
    """A question with or without a capital."""
    return text if rng.random() < 0.25 else text[:1].upper() + text[1:]


def _some(choices: tuple[tuple[str, int], ...], rng: np.random.Generator) -> str:
    weights = np.cumsum([weight for _, weight in choices])
    return choices[int(np.searchsorted(weights, rng.random() * weights[-1], side="right"))][0]
