"""Music with exact truth: notes, chords, melodies and drum patterns out of General MIDI sound fonts, by fluidsynth.

One font trains, one validates, one tests; MuseScore's fonts descend from Fluid's and are left out. All clips of a font
are one MIDI file, rendered once and cut by time.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from afcore.corpus.labels import read_names
from afcore.corpus.rendered import Rendered, program, read_mono, run, trimmed
from afcore.encoders.mini import RATE
from afcore.errors import MissingPart

FONTS = {  # package: (file in /usr/share/sounds/sf2, split, clips)
    "fluid-soundfont-gm": ("FluidR3_GM.sf2", "train", 1250),
    "timgm6mb-soundfont": ("TimGM6mb.sf2", "validation", 350),
    "csound-soundfont": ("sf_GMbank.sf2", "test", 350),
}
FOLDER = Path("/usr/share/sounds/sf2")
TICKS = 960  # per second: 480 per quarter note at MIDI's own tempo of 120
GAP = 1.5  # s of silence after each clip, for what rings on
SLOW, FAST = (50, 75), (150, 210)  # beats per minute
BEATS = 4.1  # at least so many, or there is no tempo
DRUMS = 9  # MIDI channel
FAMILIES = ("keyboards", "plucked strings", "bowed strings", "brass", "woodwinds", "percussion", "synthesizers")

# name | programs of General MIDI | family | acoustic or electronic, "-" where people would quarrel | lowest-highest
# note
_MELODIC = """
piano | 0 1 3 | keyboards | acoustic | 36-88
electric piano | 4 5 | keyboards | - | 40-84
harpsichord | 6 | keyboards | acoustic | 40-80
organ | 16 17 18 19 | keyboards | - | 40-84
accordion | 21 23 | - | acoustic | 50-84
harmonica | 22 | - | acoustic | 60-84
acoustic guitar | 24 25 | plucked strings | acoustic | 40-76
electric guitar | 26 27 29 30 | plucked strings | - | 40-80
bass guitar | 33 34 35 | plucked strings | - | 28-48
banjo | 105 | plucked strings | acoustic | 50-80
harp | 46 | plucked strings | acoustic | 40-90
sitar | 104 | plucked strings | acoustic | 48-72
violin | 40 | bowed strings | acoustic | 56-92
cello | 42 | bowed strings | acoustic | 36-64
double bass | 43 | bowed strings | acoustic | 28-50
string section | 48 49 | bowed strings | acoustic | 40-84
trumpet | 56 | brass | acoustic | 55-84
trombone | 57 | brass | acoustic | 40-68
tuba | 58 | brass | acoustic | 28-54
french horn | 60 | brass | acoustic | 41-72
saxophone | 64 65 66 67 | woodwinds | acoustic | 44-76
oboe | 68 | woodwinds | acoustic | 58-84
bassoon | 70 | woodwinds | acoustic | 36-64
clarinet | 71 | woodwinds | acoustic | 52-84
flute | 72 73 | woodwinds | acoustic | 62-92
recorder | 74 | woodwinds | acoustic | 64-88
bagpipes | 109 | woodwinds | acoustic | 55-76
choir | 52 | - | acoustic | 48-76
music box | 10 | percussion | acoustic | 64-92
glockenspiel | 9 | percussion | acoustic | 72-96
vibraphone | 11 | percussion | - | 53-84
marimba | 12 | percussion | acoustic | 45-84
xylophone | 13 | percussion | acoustic | 60-92
timpani | 47 | percussion | acoustic | 38-56
steel drum | 114 | percussion | acoustic | 55-84
synthesizer | 38 50 62 80 81 87 89 90 | synthesizers | electronic | 40-80
"""
# name | keys of General MIDI's drum channel | acoustic or not
_HITS = """
bass drum | 35 36
snare drum | 38 40
hi-hat | 42 44 46
cymbal | 49 51 57
cowbell | 56
tambourine | 54
bongo drums | 60 61
conga drum | 62 63 64
claves | 75
wood block | 76 77
triangle | 80 81
shaker | 69 70
"""
KITS = {0: "acoustic", 8: "acoustic", 40: "acoustic", 24: "electronic", 25: "electronic"}
OFTEN = {"drum beat": 5, "synthesizer": 5}  # else next to nothing would be electronic
ONE_NOTE = {
    "timpani",
    "bass guitar",
    "saxophone",
    "oboe",
    "bassoon",
    "clarinet",
    "flute",
    "recorder",
    "trumpet",
    "trombone",
    "tuba",
    "french horn",
    "harmonica",
    "bagpipes",
}  # no chords

ALSO = {  # what else may truthfully be said of it, and so is never asked about as absent
    "drum beat": ("bass drum", "snare drum", "hi-hat", "cymbal"),
    "string section": ("violin", "cello", "double bass"),
    "choir": ("singing",),
    "hi-hat": ("cymbal",),
    "conga drum": ("bongo drums",),
    "bongo drums": ("conga drum",),
    "bass guitar": ("electric guitar",),
}


@dataclass(frozen=True)
class Instrument:
    name: str
    family: str | None
    source: str | None  # acoustic or electronic
    programs: tuple[int, ...]  # or keys of the drum channel
    notes: tuple[int, int] | None  # None: on the drum channel

    @property
    def phrase(self) -> str:
        known = read_names().get(self.name)
        return known.phrase if known else f"a {self.name}"


def instruments() -> list[Instrument]:
    """The names that are rendered; "drum beat" is the one whose kit decides what it is."""
    out = []
    for line in _MELODIC.strip().splitlines():
        name, programs, family, source, notes = (part.strip() for part in line.split("|"))
        low, high = map(int, notes.split("-"))
        of_family, of_source = (None if fact == "-" else fact for fact in (family, source))
        out.append(Instrument(name, of_family, of_source, tuple(map(int, programs.split())), (low, high)))
    for line in _HITS.strip().splitlines():
        name, keys = (part.strip() for part in line.split("|"))
        out.append(Instrument(name, "percussion", "acoustic", tuple(map(int, keys.split())), None))
    return [*out, Instrument("drum beat", "percussion", None, tuple(KITS), None)]


@dataclass
class MusicScore:
    """What is played in one clip: notes (start s, length s, key, velocity), on a program or kit."""

    instrument: Instrument
    program: int
    notes: list[tuple[float, float, int, int]]
    seconds: float
    facts: dict

    @property
    def channel(self) -> int:
        return 0 if self.instrument.notes else DRUMS


def compose(instrument: Instrument, rng: np.random.Generator) -> MusicScore:
    """A clip of `instrument`: hits, a note, chords, a melody or a pattern; the last two are steady, slow or fast."""
    seconds, velocity = float(rng.uniform(2, 7)), int(rng.integers(70, 120))
    facts = {"instrument": instrument.name, "family": instrument.family, "source": instrument.source}
    roll, beat = rng.random(), None
    if instrument.name == "drum beat":
        kit, beat = int(rng.choice(instrument.programs)), _beat(facts, rng)
        facts["source"], seconds = KITS[kit], max(seconds, BEATS * beat)
        backbeat, ride, notes = rng.random() < 0.8, int(rng.choice((42, 51))), []
        for k in range(int(seconds / beat)):
            notes.append((k * beat, 0.1, 38 if k % 2 and backbeat else 36, velocity))
            notes += [(k * beat + half * beat / 2, 0.1, ride, velocity - 20) for half in range(2)]
        return MusicScore(instrument, kit, notes, seconds, facts)
    if instrument.notes is None:
        key = int(rng.choice(instrument.programs))
        step = float(rng.uniform(0.35, 1.2))
        count = int(min(float(rng.integers(1, 6)), max(1.0, seconds // step)))
        return MusicScore(
            instrument, 0, [(k * step, 0.3, key, velocity) for k in range(count)], max(count * step, 1.0), facts
        )
    low, high = instrument.notes
    root = int(rng.integers(low, max(low + 1, high - 11)))
    used = int(rng.choice(instrument.programs))
    if roll < 0.2:
        seconds = min(seconds, 4.0)
        notes = [(0.0, seconds * 0.8, root, velocity)]
    elif roll < 0.4 and instrument.name not in ONE_NOTE:
        step = float(rng.uniform(0.8, 2.0))
        chord = (0, 3, 7) if rng.random() < 0.5 else (0, 4, 7)
        shifts = rng.choice((0, 2, 5, -2, 0), 9)
        notes = [
            (k * step, step * 0.9, root + int(shifts[k]) + c, velocity)
            for k in range(int(seconds / step))
            for c in chord
        ]
    else:
        beat = _beat(facts, rng)
        seconds = max(seconds, BEATS * beat)
        scale, at, notes = (0, 2, 4, 5, 7, 9, 11, 12), int(rng.integers(8)), []
        for k in range(int(seconds / beat)):
            at = int(np.clip(at + rng.integers(-2, 3), 0, 7))
            notes.append((k * beat, beat * 0.85, root + scale[at], velocity))
    return MusicScore(instrument, used, notes, seconds, facts)


def _beat(facts: dict, rng: np.random.Generator) -> float:
    """Seconds of a beat; `facts` says slow, fast or, between the two, nothing."""
    name, (low, high) = [("slow", SLOW), ("fast", FAST), (None, (85, 135))][int(rng.choice(3, p=(0.4, 0.4, 0.2)))]
    facts["tempo"] = name
    return 60 / float(rng.uniform(low, high))


def midi(scores: list[MusicScore]) -> bytes:
    """A MIDI file (format 0) that plays the scores one after the other, each followed by `GAP`."""
    events, start = [], 0.0  # (tick, order at one tick, bytes)
    for score in scores:
        tick = round(start * TICKS)
        for control, value in ((120, 0), (121, 0), (10, 64)):
            events += [(tick, 0, bytes((0xB0 | score.channel, control, value)))]
        events.append((tick, 1, bytes((0xC0 | score.channel, score.program))))
        for at, length, key, velocity in score.notes:
            events.append((round((start + at) * TICKS) + 5, 3, bytes((0x90 | score.channel, key, velocity))))
            events.append((round((start + at + length) * TICKS) + 5, 2, bytes((0x80 | score.channel, key, 0))))
        start += score.seconds + GAP
    events.append((round(start * TICKS), 4, b"\xff\x2f\x00"))
    track, now = bytearray(), 0
    for tick, _, data in sorted(events, key=lambda event: event[:2]):
        track += _number(tick - now) + data
        now = tick
    return b"MThd" + struct.pack(">IHHH", 6, 0, 1, TICKS // 2) + b"MTrk" + struct.pack(">I", len(track)) + bytes(track)


def _number(value: int) -> bytes:
    """A number as MIDI writes it: seven bits a byte, the highest bit set on all but the last."""
    out = [value & 0x7F]
    while value := value >> 7:
        out.append(0x80 | value & 0x7F)
    return bytes(out[::-1])


def check() -> None:
    """Raises MissingPart where fluidsynth or a font is not installed."""
    program("fluidsynth", "fluidsynth")
    for package, (file, _, _) in FONTS.items():
        if not (FOLDER / file).exists():
            raise MissingPart(f"Rendering instruments needs the sound font {file}: apt-get install {package}.")


def play(scores: list[MusicScore], font: Path) -> list[np.ndarray]:
    """The clips that the scores make on a font, each (T,) float32 at 32 kHz without the silence around it."""
    with tempfile.TemporaryDirectory() as folder:
        score, wave = Path(folder) / "score.mid", Path(folder) / "out.wav"
        score.write_bytes(midi(scores))
        run(
            [
                program("fluidsynth", "fluidsynth"),
                "-niq",
                "-g",
                "0.5",
                "-R",
                "0",
                "-C",
                "0",
                "-r",
                str(RATE),
                "-F",
                str(wave),
                str(font),
                str(score),
            ]
        )
        audio = read_mono(wave)
    starts = np.cumsum([0.0, *(s.seconds + GAP for s in scores)])
    return [
        trimmed(audio[int(start * RATE) : int((start + s.seconds + GAP / 2) * RATE)])
        for start, s in zip(starts[:-1], scores, strict=True)
    ]


def sounds(seed: int = 0) -> Iterator[tuple[Rendered, np.ndarray]]:
    """The clips of all fonts with their samples; every name equally often but for `OFTEN`."""
    names = [i for i in instruments() for _ in range(OFTEN.get(i.name, 1))]
    for number, (package, (file, split, count)) in enumerate(FONTS.items()):
        rng = np.random.default_rng((seed, number))
        scores = [compose(names[k % len(names)], rng) for k in range(count)]
        for k, (s, samples) in enumerate(zip(scores, play(scores, FOLDER / file), strict=True)):
            name, facts = s.instrument.name, {kind: fact for kind, fact in s.facts.items() if fact}
            yield (
                Rendered(
                    f"{package}:{k}",
                    name,
                    s.instrument.phrase,
                    "music",
                    package,
                    f"{package}/{name}/{s.program}",
                    split,
                    facts,
                ),
                samples[: 7 * RATE],
            )
