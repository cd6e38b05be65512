"""A whole recording, window by window: what is heard when, where something is, and a summary in words.

A recording of hours is never held in memory: each window is decoded, heard and let go, and what stays of it is its
tags and one CLAP vector. Each window is heard by itself, as loud as the model hears any clip, so that something quiet
in one place counts as much there as something loud in another.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from afcore.audio.clock import minutes_text
from afcore.errors import BadRequest, Cancelled
from afcore.knowledge.table import ancestors, by_name

if TYPE_CHECKING:
    from afcore.audio.recording import Recording
    from afcore.engine.engine import Engine
    from afcore.engine.results import Heard

SECONDS = 7.0
"""Length of a window, the encoder's own."""
CLOSE, APART = 3.5, 7.0
"""Seconds between the starts of windows: half a window, so that nothing is cut in two everywhere; in a recording longer
than `LONG` end to end, which takes half the time."""
LONG = 600.0
QUIET = 10 ** (-50 / 20)
"""A window whose peak is less than this share of the recording's, 50 dB below it, is called quiet and gets no label."""
SPECIFIC = 0.25
"""A class below a general one, a dog below an animal, is the better label where it has at least this share of its
probability."""
SAYS = 0.05
"""Less probable labels are not named in the summary."""
FITS = {"mini": 0.155}
"""By model: from which score on a window is said to hold what was looked for. ``python scripts/measure_find.py`` prints
it: the score that windows of a recording without the sound stay below nine times in ten."""
FOUND = 5
NOTHING = "quiet"


@dataclass(frozen=True, eq=False)
class Window:
    """One window of a recording, heard by itself."""

    start: float
    """Seconds in the recording."""
    end: float
    label: str
    """What it is most likely, by AudioSet's name or, for an encoder without classes, the nearest example's label; ''
    where it is quiet."""
    probability: float
    """Of the label; for a nearest example its similarity."""
    tags: tuple[tuple[str, float], ...]
    """The most probable classes, (name, probability), best first."""
    vector: np.ndarray = field(repr=False)
    """(d,) float32 unit CLAP embedding; zeros where it is quiet."""
    of_classes: dict[str, float] = field(default_factory=dict, repr=False)
    """Every class to its probability."""

    @property
    def quiet(self) -> bool:
        """Whether there is next to nothing to hear in it."""
        return not self.label

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "start": round(self.start, 3),
            "end": round(self.end, 3),
            "label": self.label or None,
            "probability": round(self.probability, 4),
            "tags": [{"tag": name, "probability": round(p, 4)} for name, p in self.tags],
        }


@dataclass(frozen=True)
class Stretch:
    """Neighbouring windows of one label, joined."""

    start: float
    end: float
    label: str
    """'' where it is quiet."""
    probability: float
    """The greatest of its windows'."""


@dataclass(frozen=True)
class Place:
    """Where something that was looked for may be."""

    window: Window
    score: float
    """CLAP similarity of the words to the window, and where they name a class its probability added."""
    fits: bool | None
    """Whether it is enough to say that it is there; None for a model of which that was not measured."""


def starts(duration: float) -> list[float]:
    """Where the windows of a recording of ``duration`` seconds begin; the last ends with it."""
    hop = CLOSE if duration <= LONG else APART
    count = max(1, int(np.ceil((duration - SECONDS) / hop - 1e-6)) + 1)
    last = max(0.0, duration - SECONDS)
    found = [min(number * hop, last) for number in range(count)]
    return list(dict.fromkeys(found))


def listen(
    engine: Engine, recording: Recording, stop: threading.Event | None = None, first: int = 0
) -> Iterator[Window]:
    """Yields each window from number ``first`` on as it is heard, one turn in the engine's queue for each, so that
    people pass. Raises Cancelled once ``stop`` is set, AudioError."""
    peak = float(np.abs(recording.envelope).max(initial=0.0))
    for start in starts(recording.duration)[first:]:
        if stop is not None and stop.is_set():
            raise Cancelled()
        clip = recording.clip(start, min(SECONDS, recording.duration - start))
        end = start + clip.duration
        if clip.silent or float(np.abs(clip.samples).max(initial=0.0)) < QUIET * peak:
            yield Window(start, end, "", 0.0, (), np.zeros(1, np.float32))
            continue
        with engine.turns.wait(stop=stop, background=True):
            heard = engine.hear(clip, remember=False)
            label, probability = best_label(engine, heard)
            classes = _classes(engine, heard)
        yield Window(start, end, label, probability, tuple(heard.tags), heard.vector, classes)


def best_label(engine: Engine, heard: Heard) -> tuple[str, float]:
    """What a window is most likely: its best tag, or the likeliest class below it where that one names a whole group;
    for an encoder that names no tags the label of the nearest example."""
    if not heard.tags:
        nearest = engine.neighbours(heard, 1)
        return (nearest[0].example.label, nearest[0].similarity) if nearest else ("", 0.0)
    label, probability = heard.tags[0]
    for name, p in heard.tags[1:]:
        if label in by_name() and by_name()[label].general and p >= SPECIFIC * probability and label in _above(name):
            label, probability = name, p
    return label, probability


def stretches(windows: Sequence[Window]) -> list[Stretch]:
    """The recording from its start to its end, each moment under the label of the window in whose middle it is
    nearest."""
    found: list[Stretch] = []
    for number, window in enumerate(windows):
        start = found[-1].end if found else window.start
        following = windows[number + 1] if number + 1 < len(windows) else None
        end = window.end if following is None else (window.start + window.end + following.start + following.end) / 4
        if found and found[-1].label == window.label:
            found[-1] = replace(found[-1], end=end, probability=max(found[-1].probability, window.probability))
        else:
            found.append(Stretch(start, end, window.label, window.probability))
    return found


def find(
    engine: Engine, windows: Sequence[Window], words: str, classes: Collection[str] = (), most: int = FOUND
) -> list[Place]:
    """Where ``words`` are most likely to be heard, the best place first, places that overlap once. ``classes``: those
    that the words name. Raises BadRequest for no words."""
    if not words.strip():
        raise BadRequest("Say what to look for.")
    wanted = engine.clap.text([words.strip()])[0]
    limit = FITS.get(engine.name)
    places = []
    for window in windows:
        if not window.quiet:
            named = max((window.of_classes.get(name, 0.0) for name in classes), default=0.0)
            score = float(window.vector @ wanted) + named
            places.append(Place(window, score, None if limit is None else score >= limit))
    kept: list[Place] = []
    for place in sorted(places, key=lambda place: -place.score):
        if len(kept) < most and all(_apart(place.window, other.window) for other in kept):
            kept.append(place)
    return kept


def summary(windows: Sequence[Window]) -> str:
    """At most three sentences: what is heard most, in which order, and what is heard once or where it is quiet."""
    if not windows:
        return ""
    parts = [part for part in stretches(windows) if part.label and part.probability >= SAYS]
    whole = windows[-1].end
    if not parts:
        return f"In these {minutes_text(whole)} nothing is heard clearly."
    seconds: Counter[str] = Counter()
    for part in parts:
        seconds[part.label] += round(1000 * (part.end - part.start))
    ranked = [label for label, _ in seconds.most_common()]
    if len(ranked) == 1 and len(parts) == len(stretches(windows)):
        return f"{_capital(noun(ranked[0]))}: heard all through these {minutes_text(whole)}."
    share = 100 * seconds[ranked[0]] / 1000 / whole
    sentences = [f"Heard most is {noun(ranked[0])}, for about {share:.0f} % of {minutes_text(whole)}"]
    if ranked[1:]:
        sentences[0] += f", then {_listed([noun(label) for label in ranked[1:3]])}"
    order = list({part.label: part for part in reversed(parts)}.values())[::-1]
    if len(order) > 1:
        first, *rest = (f"{noun(part.label)} ({minutes_text(part.start)})" for part in order[:4])
        sentences.append(f"First comes {first}, then {_listed(rest)}")
    rare = [part for part in parts if part.label not in ranked[:3] and part not in order[:4]]
    quiet = [part for part in stretches(windows) if not part.label]
    if rare:
        surest = sorted(sorted(rare, key=lambda part: -part.probability)[:3], key=lambda part: part.start)
        briefly = _listed([f"{noun(part.label)} at {minutes_text(part.start)}" for part in surest])
        sentences.append(f"Heard briefly: {briefly}")
    elif quiet:
        longest = max(quiet, key=lambda part: part.end - part.start)
        sentences.append(f"It is quiet from {minutes_text(longest.start)} to {minutes_text(longest.end)}")
    else:
        clearest = max(parts, key=lambda part: part.probability)
        sentences.append(f"Clearest is {noun(clearest.label)} at {minutes_text(clearest.start)}")
    return ". ".join(_capital(sentence) for sentence in sentences) + "."


def noun(label: str) -> str:
    """A label inside a sentence."""
    known = by_name().get(label)
    return known.noun if known is not None and known.noun else label.lower()


def title(label: str) -> str:
    """A label by itself, as in a list."""
    known = by_name().get(label)
    return NOTHING.capitalize() if not label else known.title if known is not None else _capital(label)


def _classes(engine: Engine, heard: Heard) -> dict[str, float]:
    if not engine.encoder.names_tags():
        return {}
    return dict(zip(engine.encoder.labels, engine.encoder.tags(heard.features).tolist(), strict=True))


def _above(name: str) -> tuple[str, ...]:
    return ancestors(name) if name in by_name() else ()


def _apart(one: Window, other: Window) -> bool:
    return one.end <= other.start + 1e-6 or other.end <= one.start + 1e-6


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
