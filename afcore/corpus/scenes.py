"""Scenes: two or three sounds of the corpus put together so that the putting together says what is true of them.

Which of two is louder, which comes first, how often one is heard: written into `ClipInfo.extra`, whatever the encoder
can carry of it. `CARRIED` is what it can (measured by `afcore.training.mini.probe`, table in docs/training.md): only
that is asked about (`afcore.training.mini.samples`) and said in captions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from afcore.corpus.clips import ClipInfo
from afcore.encoders.mini import RATE
from afcore.errors import BadRequest

LONGEST = 7.0  # s: one window
LOUDER_BY = (4.0, 15.0)  # dB between the louder and the fainter of two
BACKGROUND = 7.0  # dB from which on the fainter one is called background
SHORT = 1.2  # s: a sound that is repeated is at most so long
FRAME = RATE // 50  # samples
DRAWS = 30  # tries to find what a scene needs
CARRIED = frozenset(("instrument", "family", "tempo", "voice"))  # kinds of facts

TOGETHER = ("{} and {}", "{} together with {}", "{} while there is also {}")
BEHIND = ("{} with {} in the background", "{} over {}")
THEN = ("{}, then {}", "{} followed by {}")
TIMES = {1: "once", 2: "twice", 3: "three times", 4: "four times"}


@dataclass(frozen=True)
class Source:
    """A labelled sound that scenes are made of."""

    info: ClipInfo
    phrase: str  # "a dog barking"
    samples: np.ndarray  # (T,) float32 at 32 kHz


def levels(x: np.ndarray) -> np.ndarray:
    """RMS of each 20 ms frame, (frames,); of a shorter sound one."""
    frames = x[: len(x) // FRAME * FRAME].reshape(-1, FRAME) if len(x) >= FRAME else x[None]
    return np.sqrt((frames.astype(np.float64) ** 2).mean(1))


def loudness(x: np.ndarray) -> float:
    """RMS of the frames that are not quiet (above a tenth of the loudest)."""
    rms = levels(x)
    return float(np.sqrt((rms[rms >= 0.1 * rms.max()] ** 2).mean()))


def prepared(x: np.ndarray, seconds: float) -> np.ndarray:
    """The sound from where it begins, at most `seconds` of it (faded out where cut), at loudness 0.1."""
    rms = levels(x)
    loud = np.flatnonzero(rms > 0.03 * rms.max())
    x = x[loud[0] * FRAME : (loud[-1] + 1) * FRAME].copy()
    n = int(seconds * RATE)
    if len(x) > n:
        x = x[:n]
        fade = min(RATE // 50, n)
        x[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    return (x * (0.1 / loudness(x))).astype(np.float32)


def onto(length: int, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`x` within `length` samples: cut, repeated after a pause, or placed anywhere."""
    if len(x) >= length:
        return x[:length]
    if rng.random() < 0.6:
        pause = int(rng.uniform(0.2, 0.5) * RATE)
        return np.tile(np.pad(x, (0, pause)), -(-length // (len(x) + pause)))[:length]
    start = int(rng.integers(0, length - len(x) + 1))
    return np.pad(x, (start, length - len(x) - start))


def normalised(x: np.ndarray) -> np.ndarray:
    return (x / max(float(np.abs(x).max(initial=0)), 1e-6)).astype(np.float32)


def overlay(sources: Sequence[Source], rng: np.random.Generator) -> tuple[np.ndarray, dict, str]:
    """Two sounds at once, one louder by `LOUDER_BY`, and maybe a third between them: (samples, facts, caption)."""
    n = int(rng.uniform(3, LONGEST) * RATE)
    order = [sources[i] for i in rng.permutation(len(sources))]
    apart = float(rng.uniform(*LOUDER_BY))
    y = np.zeros(n, np.float32)
    for k, source in enumerate(order):
        y += onto(n, prepared(source.samples, n / RATE), rng) * 10 ** (-apart * k / (len(order) - 1) / 20)
    said = [source.phrase for source in order]
    if len(order) > 2:
        return normalised(y), {}, f"{said[0]}, {said[1]} and {said[2]}"
    behind = "louder" in CARRIED and apart >= BACKGROUND
    facts = {"louder": order[0].info.label, "fainter": order[1].info.label, "apart": round(apart, 1)}
    if not behind:
        said = [said[i] for i in rng.permutation(2)]
    return normalised(y), facts, str(rng.choice(BEHIND if behind else TOGETHER)).format(*said)


def sequence(sources: Sequence[Source], rng: np.random.Generator) -> tuple[np.ndarray, dict, str]:
    """One sound after another with a short pause, about equally loud."""
    first, then = (sources[i] for i in rng.permutation(2))
    parts = [prepared(s.samples, float(rng.uniform(1.0, 3.2))) * 10 ** (rng.uniform(-2, 2) / 20) for s in (first, then)]
    y = np.concatenate([parts[0], np.zeros(int(rng.uniform(0.05, 0.5) * RATE), np.float32), parts[1]])
    said = [first.phrase, then.phrase]
    forms: tuple[str, ...] = THEN
    if "first" not in CARRIED:
        said, forms = [said[i] for i in rng.permutation(2)], TOGETHER[:1]
    return normalised(y), {"first": first.info.label, "then": then.info.label}, str(rng.choice(forms)).format(*said)


def repeated(source: Source, rng: np.random.Generator) -> tuple[np.ndarray, dict, str]:
    """A short sound one to four times, at even distances."""
    count = int(rng.integers(1, 5))
    x = prepared(source.samples, SHORT)
    pause = np.zeros(int(rng.uniform(0.25, 0.55) * RATE), np.float32)
    y = np.concatenate([part for _ in range(count) for part in (x, pause)])
    said = f"{source.phrase} {TIMES[count]}" if "count" in CARRIED else source.phrase
    return normalised(y[: int(LONGEST * RATE)]), {"count": count}, said


def is_short(x: np.ndarray) -> bool:
    """Whether a sound can be counted: it begins and ends within `SHORT`."""
    rms = levels(x)
    loud = np.flatnonzero(rms > 0.03 * rms.max())
    return bool(0.06 <= (loud[-1] - loud[0] + 1) * FRAME / RATE <= SHORT)


def scene(draw: Callable[[], Source], rng: np.random.Generator) -> tuple[np.ndarray, ClipInfo]:
    """A scene of one kind or another. `draw()` gives a `Source`; those of one scene have different labels.

    Raises BadRequest where `DRAWS` sounds have but one label."""
    roll = rng.random()
    sources: list[Source] = []
    if roll < 0.2:
        for _ in range(DRAWS):
            if is_short((source := draw()).samples):
                samples, facts, caption = repeated(source, rng)
                return samples, described([source], facts, caption)
    wanted = 3 if roll > 0.9 else 2
    for _ in range(DRAWS):
        if (other := draw()).info.label not in [s.info.label for s in sources]:
            sources.append(other)
        if len(sources) == wanted:
            break
    if len(sources) < 2:
        raise BadRequest("Scenes need sounds of at least two labels.")
    samples, facts, caption = sequence(sources, rng) if roll < 0.45 else overlay(sources, rng)
    return samples, described(sources, facts, caption)


def described(sources: Sequence[Source], facts: dict, caption: str) -> ClipInfo:
    """What is known of a scene: the labels of its parts, and as "maybe" all that the teacher hears in them."""
    infos = [s.info for s in sources]
    first = facts.get("louder") or facts.get("first") or infos[0].label
    labels = [label for label in (first, *(i.label for i in infos if i.label != first)) if label]
    maybe = {word for i in infos for word in (*i.events, *i.maybe)} - set(labels)
    category = "something else" if not {i.category for i in infos} & {"speech", "music"} else None
    return ClipInfo(
        None,
        caption,
        category,
        labels,
        sorted(maybe),
        infos[0].package,
        infos[0].group,
        infos[0].split,
        -1,
        {"scene": True, "groups": [i.group for i in infos], **facts},
    )
