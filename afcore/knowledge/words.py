"""Words without their endings, so that "barking dogs" and "dog barks" say the same."""

from __future__ import annotations

import re
from functools import cache

WORD = re.compile(r"[a-z]+")
SAY_NOTHING = (
    "a an the of in on at by from to with as for and or is are be being been it its this that there some someone "
    "something one two several sound sounds heard etc"
)
FILLERS = frozenset(SAY_NOTHING.split())


def stem(word: str) -> str:
    """A word without its plural, -ing, -ed and final e: "barking" → "bark", "horses" → "hors", "running" → "run"."""
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-3] + "y" if word.endswith("ies") else word[:-2] if word.endswith("es") else word[:-1]
    for ending in ("ing", "ed"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            if word[-1] == word[-2] and word[-1] not in "lsz":
                word = word[:-1]
    return word[:-1] if word.endswith("e") and len(word) > 3 else word


@cache
def stems(text: str) -> frozenset[str]:
    """The stems of a text's words without fillers; without any word that says something, of all its words."""
    words = WORD.findall(text.lower())
    return frozenset(stem(word) for word in words if word not in FILLERS) or frozenset(map(stem, words))
