"""Which of AudioSet's classes a text names, exactly and without a model.

A text is cut into claims at commas and words such as "and"; a claim is the set of its words' stems without fillers. It
names a class when it holds all words of one of the class's names: its display name and parts of it, its noun, its
phrases, and the words of `also_called.txt`. Of names that are part of a longer one in the same claim only the longer
counts ("a train horn" is no train and no horn). What makes a sound ("a person") names all classes that it makes, as a
`Mention` by source. It counts only where its claim names no class. A claim with "no", "not" or "without" denies what it
names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from afcore.knowledge.names import class_names
from afcore.knowledge.table import PLACES, by_name, table
from afcore.knowledge.words import FILLERS as SAY_NOTHING
from afcore.knowledge.words import WORD, stem

LABEL = "label:"
"""Before a clip's own label among the targets of a mention, where it is asked for."""

IRREGULAR = {
    "people": "person",
    "persons": "person",
    "human": "person",
    "humans": "person",
    "men": "man",
    "male": "man",
    "women": "woman",
    "female": "woman",
    "children": "child",
    "kid": "child",
    "kids": "child",
    "infant": "baby",
    "babies": "baby",
    "geese": "goose",
    "mice": "mouse",
    "wolves": "wolf",
    "hooves": "hoof",
    "leaves": "leaf",
    "knives": "knife",
    "calves": "calf",
    "laughter": "laugh",
    "spoken": "speak",
    "sung": "sing",
    "song": "sing",
    "songs": "sing",
    "rung": "ring",
    "rang": "ring",
    "struck": "strike",
    "blown": "blow",
    "shot": "shoot",
    "broken": "break",
    "talk": "speak",
    "talks": "speak",
    "talking": "speak",
    "says": "speak",
    "aeroplane": "airplane",
    "aeroplanes": "airplane",
    "plane": "airplane",
    "planes": "airplane",
    "automobile": "car",
    "lorry": "truck",
    "phone": "telephone",
    "phones": "telephone",
    "tv": "television",
    "bike": "bicycle",
    "puppy": "dog",
    "kitten": "cat",
    "hen": "chicken",
    "hens": "chicken",
    "rooster": "rooster",
    "cockerel": "rooster",
    "cow": "cow",
}
"""Words whose stems words.py does not bring together, and a few words for the same thing."""

FILLERS = SAY_NOTHING | frozenset(
    """can could may might must would will do does did has have had hear hears hearing i we you one also still just only
    really quite very rather maybe perhaps probably likely possibly here now most some any other another else kind sort
    type recording clip audio sound sounds like loud loudly quiet quietly soft softly faint faintly distant
    distance foreground nearby near close far while then seems appears well too so what which who these those
    they he she his her their my your say says said tell called listen over with while then before after along together
followed plus but when""".split()
)
NEVER = frozenset(
    """insid outsid outdoor field hard heavy small larg wet spin split stick hit fall watch show film gam drop sho
    switch surround devic hall key window umbrella finger nail hing claw strik country noth machin button mast spr
    stair""".split()
)
"""Single stems that are part of some name but alone say something else."""
WEAK = frozenset("fly run bit fil hand saw nois effect tap break roll wood".split())
"""Single stems that name a class only where nothing else in their claim does: "a bird flies" is no housefly."""

CUT = re.compile(
    r"[,;:.!?\n]|\s[-–—]\s|\b(?:and|with|while|then|over|plus|followed by|together|as well as|but|or|before|after|"
    r"as|when|along)\b"
)
DENIED = re.compile(
    r"\b(?:no|not|nothing|without|never|neither|nor|none|instead of|rather than|isn't|aren't|don't|doesn't|didn't|"
    r"can't|cannot|won't|wasn't|couldn't)\b"
)
NOT_DENIED = re.compile(r"\b(?:nothing but|not only|not just|no doubt)\b")
JOINED = re.compile(r"\b(rock|rhythm|drum) and (roll|blues|bass)\b")
_BEFORE_DENIAL = re.compile(rf"(?={DENIED.pattern})")
_ABOARD = r"\b(?:in|inside|aboard|on board)(?: of)? (?:a|an|the) (?:\w+ )?(?:car|vehicle|train|bus|plane|boat|ship)\b"
_PLACE = re.compile("|".join((*(re.escape(said) for said, _ in PLACES.values()), _ABOARD)))


@dataclass(frozen=True)
class Mention:
    """One thing that a text names."""

    words: frozenset[str]
    """Stems of the name that was found."""
    targets: frozenset[str]
    """The classes that go by it; of a source, all that it makes."""
    by_source: bool = False
    denied: bool = False


@dataclass(frozen=True)
class Claim:
    """A part of a text: its stems without fillers, and whether it is denied."""

    stems: frozenset[str]
    denied: bool = False


def stem_of(word: str) -> str:
    """A word's stem, irregular plurals and forms brought together."""
    return stem(IRREGULAR.get(word, word))


@cache
def stems_of(text: str) -> frozenset[str]:
    """Stems of a text's words without fillers; may be empty."""
    words = WORD.findall(re.sub(r"['’]s\b", "", text.lower()))
    return frozenset(stem_of(word) for word in words if word not in FILLERS)


@cache
def claims(text: str) -> tuple[Claim, ...]:
    """What a text says, part by part, places left out."""
    plain = NOT_DENIED.sub(" ", JOINED.sub(r"\1 \2", _PLACE.sub(" ", text.lower().replace("’", "'"))))
    parts = (piece for part in CUT.split(plain) if part for piece in _BEFORE_DENIAL.split(part))
    found = (Claim(stems_of(DENIED.sub(" ", part)), DENIED.search(part) is not None) for part in parts)
    return tuple(claim for claim in found if claim.stems)


@cache
def also_called() -> dict[str, tuple[str, ...]]:
    """class → further names, from also_called.txt. Raises KeyError for a class that there is not."""
    found: dict[str, tuple[str, ...]] = {}
    for line in (Path(__file__).parent / "also_called.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, words = (part.strip() for part in line.split("|"))
            found[by_name()[name].name] = tuple(word.strip() for word in words.split(","))
    return found


@cache
def lexicon() -> dict[frozenset[str], tuple[frozenset[str], bool]]:
    """Stems of every name → (the classes that go by it, whether it only says what makes the sound)."""
    called: dict[frozenset[str], set[str]] = {}
    made: dict[frozenset[str], set[str]] = {}
    for sound in table():
        for text in (*class_names(sound), sound.noun, *sound.phrases, *also_called().get(sound.name, ())):
            called.setdefault(stems_of(text), set()).add(sound.name)
        for text in re.split(r", | or ", sound.source):
            made.setdefault(stems_of(text), set()).add(sound.name)
    found = {words: (frozenset(names), True) for words, names in made.items()}
    found |= {words: (frozenset(names), False) for words, names in called.items()}
    return {words: value for words, value in found.items() if words and not (len(words) == 1 and words <= NEVER)}


@cache
def _by_word() -> dict[str, tuple[frozenset[str], ...]]:
    """Each stem → the names that hold it and no stem that fewer names hold, so that each name stands once."""
    count: dict[str, int] = {}
    for name in lexicon():
        for word in name:
            count[word] = count.get(word, 0) + 1
    found: dict[str, list[frozenset[str]]] = {}
    for name in lexicon():
        found.setdefault(min(name, key=lambda word: (count[word], word)), []).append(name)
    return {word: tuple(names) for word, names in found.items()}


def mentions(text: str, label: str = "", called: Iterable[str] = ()) -> list[Mention]:
    """What a text names, in its order, each once. `label`: a clip's own label, which may be no class, and what else it
    is `called`: a claim that holds all its words, or has no other words than the label's, names `LABEL` + label too."""
    return list(dict.fromkeys(one for claim in claims(text) for one in _in_claim(claim, label, tuple(called))))


def classes_named(text: str) -> frozenset[str]:
    """All classes that a text names without denying them."""
    return frozenset(name for one in mentions(text) if not one.denied for name in one.targets)


def repeats(text: str, label: str = "", called: Iterable[str] = ()) -> bool:
    """Whether a text names the same thing in two of its claims."""
    found = [one for claim in claims(text) for one in _in_claim(claim, label, tuple(called)) if not one.denied]
    return len(found) > len(set(found))


def _in_claim(claim: Claim, label: str, called: tuple[str, ...]) -> list[Mention]:
    own = tuple(words for words in map(stems_of, (label, *called)) if words) if label else ()
    some = {name for word in claim.stems for name in _by_word().get(word, ()) if name <= claim.stems}
    mine = {words for words in own if words <= claim.stems}
    if own and claim.stems <= own[0]:
        mine.add(claim.stems)
    longest = [name for name in some | mine if not any(name < other for other in some | mine)]
    here = [_mention(name, name in some, LABEL + label if name in mine else "", claim.denied) for name in longest]
    strong = [one for one in here if not one.by_source and (LABEL + label in one.targets or not _weak(one))]
    chosen = strong or [one for one in here if not one.by_source] or here
    return sorted(chosen, key=lambda one: sorted(one.words))


def _weak(mention: Mention) -> bool:
    return len(mention.words) == 1 and mention.words <= WEAK


def _mention(name: frozenset[str], known: bool, label: str, denied: bool) -> Mention:
    targets, by_source = lexicon()[name] if known else (frozenset(), False)
    return Mention(name, targets | {label} if label else targets, by_source and not label, denied)
