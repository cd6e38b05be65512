"""The table of AudioSet's 527 classes: how people say it, what makes it, where one hears it, why it matters.

The entries stand in `classes/*.json`, one file a part of the ontology, written by hand to be read and edited by hand.
Each class has these fields (those left out are empty, `general` and `common` are false):

- `phrases`: two to four clauses. The first has a subject and a verb ("a dog barks"), so that it can stand in a caption;
  the second can follow "the sound of" ("dogs barking"); the others are free. All start small and have no full stop.
- `noun`: a short name with its article for lists and sentences ("a barking dog"); without it for tags and titles.
- `source`: what or who makes the sound ("a dog").
- `kinds`: the main kind first, then others that are true too; see `KINDS`.
- `general`: the class names a whole group ("Animal") and would be a poor answer to "which …?".
- `common`: nearly everyone knows the sound by this name, so it can stand among options.
- `made_by`, `where`, `attention`: one of `MADE_BY`, `WHERE`, `ATTENTION`.
- `places`: how likely → places; see `LIKELY` and `PLACES`.
- `matters`: a clause that says how it may matter to people, and `advice`, if any, what one had better do. Each can be
  a sentence.
- `sight`: what one would see; it can follow "One would see".
- `mistaken_for`, `excludes`: class names. Each pair is written once, with either class; in the table both have it.
- `implies`: classes that are surely heard too. All of them, not only the nearest: they are never more than a few.

`parents.json` lists the classes in the order of the encoder's outputs, each with those directly above it in AudioSet's
ontology (what stands between them and is not among the 527 is passed over).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
COUNT = 527

KINDS = {  # kind → its plural, as in "which animals are heard?"
    "person": "people",
    "animal": "animals",
    "vehicle": "vehicles",
    "machine": "machines",
    "tool": "tools",
    "household": "household things",
    "signal": "alarms and signals",
    "instrument": "musical instruments",
    "music": "music",
    "nature": "sounds of nature",
    "liquid": "liquids",
    "weapon": "weapons and explosions",
    "impact": "knocks and bangs",
    "material": "sounds of materials",
    "tone": "tones and noise",
    "room": "rooms and surroundings",
    "recording": "recordings and broadcasts",
}
MADE_BY = ("living", "mechanical", "natural", "musical", "electronic", "mixed")
WHERE = ("indoors", "outdoors", "either")
ATTENTION = ("none", "worth a look", "urgent")
LIKELY = {"often": 1.0, "sometimes": 0.4, "rarely": 0.1}  # how likely a place is → weight

PLACES = {  # place → (as it stands in a sentence, indoors or outdoors)
    "home": ("at home", "indoors"),
    "kitchen": ("in a kitchen", "indoors"),
    "bathroom": ("in a bathroom", "indoors"),
    "bedroom": ("in a bedroom", "indoors"),
    "yard or garden": ("in a yard or a garden", "outdoors"),
    "street": ("in the street", "outdoors"),
    "main road": ("on a main road", "outdoors"),
    "park": ("in a park", "outdoors"),
    "playground": ("on a playground", "outdoors"),
    "farm": ("on a farm", "outdoors"),
    "open field": ("in an open field", "outdoors"),
    "forest": ("in a forest", "outdoors"),
    "mountains": ("in the mountains", "outdoors"),
    "river or lake": ("by a river or a lake", "outdoors"),
    "pond or marsh": ("by a pond or a marsh", "outdoors"),
    "sea or shore": ("by the sea", "outdoors"),
    "zoo": ("in a zoo", "outdoors"),
    "office": ("in an office", "indoors"),
    "school": ("in a school", "indoors"),
    "hospital or clinic": ("in a hospital or a clinic", "indoors"),
    "church or temple": ("in a church or a temple", "indoors"),
    "shop or market": ("in a shop or a market", "either"),
    "restaurant or bar": ("in a restaurant or a bar", "indoors"),
    "concert or stage": ("at a concert or on a stage", "either"),
    "studio": ("in a studio", "indoors"),
    "festival or party": ("at a festival or a party", "either"),
    "stadium or sports field": ("in a stadium or on a sports field", "outdoors"),
    "sports hall": ("in a sports hall", "indoors"),
    "workshop": ("in a workshop", "indoors"),
    "factory": ("in a factory", "indoors"),
    "building site": ("on a building site", "outdoors"),
    "station": ("in a station", "either"),
    "railway line": ("by a railway line", "outdoors"),
    "airport": ("at an airport", "either"),
    "harbour": ("in a harbour", "outdoors"),
    "inside a vehicle": ("inside a vehicle", "indoors"),
    "battlefield": ("on a battlefield", "outdoors"),
    "shooting range": ("on a shooting range", "either"),
    "film, game or show": ("in a film, a game or a show", "either"),
}


@dataclass(frozen=True)
class SoundClass:
    """What is known of one AudioSet class; the fields are explained at the top of this file."""

    index: int
    """Its place among the encoder's 527 outputs."""
    name: str
    """AudioSet's display name."""
    phrases: tuple[str, ...]
    noun: str
    source: str
    kinds: tuple[str, ...]
    general: bool
    common: bool
    made_by: str
    where: str
    places: tuple[tuple[str, str], ...]
    """(place, how likely), the likeliest first."""
    matters: str
    advice: str
    """Empty where there is nothing to do."""
    attention: str
    sight: str
    mistaken_for: tuple[str, ...]
    implies: tuple[str, ...]
    excludes: tuple[str, ...]
    parents: tuple[str, ...]
    """Classes directly above it in AudioSet's ontology."""

    @property
    def kind(self) -> str:
        """The main kind."""
        return self.kinds[0]

    @property
    def tag(self) -> str:
        """The noun without its article: "barking dog"."""
        return without_article(self.noun)

    @property
    def title(self) -> str:
        """The tag with a capital: "Barking dog"."""
        return self.tag[:1].upper() + self.tag[1:]


def without_article(noun: str) -> str:
    """A noun without a leading "a", "an" or "the"."""
    first, _, rest = noun.partition(" ")
    return rest if rest and first in ("a", "an", "the") else noun


@cache
def table() -> tuple[SoundClass, ...]:
    """All 527 classes in the order of the encoder's outputs. Raises KeyError where one or a field of it is missing."""
    above = json.loads((FOLDER / "parents.json").read_text(encoding="utf-8"))
    entries: dict[str, dict] = {}
    for file in sorted((FOLDER / "classes").glob("*.json")):
        entries |= json.loads(file.read_text(encoding="utf-8"))
    both = {key: _both_ways(entries, key) for key in ("mistaken_for", "excludes")}
    return tuple(_sound(i, name, entries[name], parents, both) for i, (name, parents) in enumerate(above.items()))


def _both_ways(entries: dict[str, dict], key: str) -> dict[str, tuple[str, ...]]:
    """class → the classes that it names under `key`, then those that name it."""
    found: dict[str, list[str]] = {name: list(entry.get(key, ())) for name, entry in entries.items()}
    for name, entry in entries.items():
        for other in entry.get(key, ()):
            if name not in found[other]:
                found[other].append(name)
    return {name: tuple(others) for name, others in found.items()}


def _sound(
    index: int, name: str, entry: dict, parents: list[str], both: dict[str, dict[str, tuple[str, ...]]]
) -> SoundClass:
    return SoundClass(
        index=index,
        name=name,
        phrases=tuple(entry["phrases"]),
        noun=entry["noun"],
        source=entry["source"],
        kinds=tuple(entry["kinds"]),
        general=entry.get("general", False),
        common=entry.get("common", False),
        made_by=entry["made_by"],
        where=entry["where"],
        places=tuple((place, likely) for likely in LIKELY for place in entry["places"].get(likely, ())),
        matters=entry["matters"],
        advice=entry.get("advice", ""),
        attention=entry["attention"],
        sight=entry["sight"],
        mistaken_for=both["mistaken_for"][name],
        implies=tuple(entry.get("implies", ())),
        excludes=both["excludes"][name],
        parents=tuple(parents),
    )


@cache
def by_name() -> dict[str, SoundClass]:
    """AudioSet's display name → its class."""
    return {sound.name: sound for sound in table()}


def of_kind(kind: str, general: bool = True, main_only: bool = False) -> tuple[SoundClass, ...]:
    """The classes of a kind, in the table's order. `general`: with those that name a whole group; `main_only`: only
    where it is the main kind. Raises KeyError for an unknown kind."""
    KINDS[kind]
    return tuple(
        sound
        for sound in table()
        if kind in (sound.kinds[:1] if main_only else sound.kinds) and (general or not sound.general)
    )


def by_source(kind: str) -> dict[str, tuple[SoundClass, ...]]:
    """For "which animal (vehicle, instrument) is this?": source → the classes of that kind which it makes. General
    classes are left out, and those with several sources of which some are of another kind."""
    found: dict[str, list[SoundClass]] = {}
    for sound in of_kind(kind, general=False):
        if kind == sound.kind or len(_makers(sound)) == 1:
            found.setdefault(sound.source, []).append(sound)
    return {source: tuple(sounds) for source, sounds in found.items()}


@cache
def ancestors(name: str) -> tuple[str, ...]:
    """The classes above `name` in AudioSet's ontology, the nearest first."""
    found: dict[str, None] = {}
    row = by_name()[name].parents
    while row:
        found |= dict.fromkeys(row)
        row = tuple(above for parent in row for above in by_name()[parent].parents if above not in found)
    return tuple(found)


def children(name: str) -> tuple[str, ...]:
    """The classes directly below `name` in AudioSet's ontology."""
    return tuple(sound.name for sound in table() if name in sound.parents)


def implied_by(name: str) -> tuple[str, ...]:
    """The classes of which each surely brings `name` along."""
    return tuple(sound.name for sound in table() if name in sound.implies)


def place_weights(sound: SoundClass) -> dict[str, float]:
    """place → weight, 1 for where the sound is often heard."""
    return {place: LIKELY[likely] for place, likely in sound.places}


ONE_MAKER = ("animal", "vehicle", "instrument")  # kinds that are told apart by what makes the sound, not by the sound


def related(a: SoundClass, b: SoundClass) -> bool:
    """Whether both may be true of one sound: the same class, one above the other, one easily taken for the other, or,
    among animals, vehicles and instruments, a source in common."""
    return (
        a.name == b.name
        or b.name in ancestors(a.name)
        or a.name in ancestors(b.name)
        or b.name in a.mistaken_for
        or (
            a.kind == b.kind
            and a.kind in ONE_MAKER
            and bool(_makers(a) & _makers_and_above(b) or _makers_and_above(a) & _makers(b))
        )
    )


@cache
def _makers(sound: SoundClass) -> frozenset[str]:
    """ "a dog or a wolf" → {"dog", "wolf"}."""
    return frozenset(without_article(part) for part in sound.source.replace(", ", " or ").split(" or "))


@cache
def _makers_and_above(sound: SoundClass) -> frozenset[str]:
    """A crow's call → {"crow", "bird", …}: what makes it, and what makes the classes above it."""
    return frozenset().union(_makers(sound), *(_makers(by_name()[name]) for name in ancestors(sound.name)))


def options_near(name: str, count: int = 3) -> tuple[SoundClass, ...]:
    """Wrong options that are near the class: common ones of which none is true of it or of another (`related`).

    Those of its main kind come first, among them those that share most with it: ancestors, places, who makes it, where.
    """
    own = by_name()[name]
    others = (other for other in table() if other.common and not related(own, other))
    kept: list[SoundClass] = []
    for other in sorted(others, key=lambda other: (other.kind != own.kind, -_likeness(own, other), other.index)):
        if len(kept) < count and not any(related(option, other) for option in kept):
            kept.append(other)
    return tuple(kept)


def option_name(sound: SoundClass) -> str:
    """What a class is called among options: what makes it where that tells animals, vehicles and instruments apart
    ("dog"), and else its tag ("snoring")."""
    return without_article(sound.source) if sound.kind in ONE_MAKER and len(_makers(sound)) == 1 else sound.tag


def _likeness(a: SoundClass, b: SoundClass) -> float:
    above = set(ancestors(a.name)) & set(ancestors(b.name))
    places, others = place_weights(a), place_weights(b)
    shared = sum(min(weight, others.get(place, 0.0)) for place, weight in places.items())
    return (
        len(above)
        + (a.made_by == b.made_by)
        + (a.where == b.where)
        + 2 * shared / max(sum(places.values()), sum(others.values()))
    )
