"""Step `rendered`: sounds rendered here, whose truth is exact because the rendering gives it: instruments and voices.

DIR/rendered holds `audio.i16` (int16 at 32 kHz) and `index.jsonl`, one `Rendered` a line, in the form that
`afcore.corpus.decoded.Sounds` reads. Needs Debian's fluidsynth, fluid-soundfont-gm, timgm6mb-soundfont,
csound-soundfont, espeak-ng, flite, festival and the festvox packages that `voices.VOICES` names.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import soundfile
import soxr

from afcore.encoders.mini import RATE
from afcore.errors import MissingPart


@dataclass
class Rendered:
    """A rendered sound. `facts`: what the rendering says of it, as `ClipInfo.extra` holds it."""

    id: str
    label: str
    phrase: str  # "a piano"
    category: str  # "speech" or "music"
    package: str  # of the sound font or voice, which is what splits it
    group: str  # one program of a font, or one voice
    split: str
    facts: dict = field(default_factory=dict)
    offset: int = 0  # samples, in audio.i16
    length: int = 0


def program(name: str, package: str) -> str:
    """Path of a program; raises MissingPart where it is not installed."""
    found = shutil.which(name)
    if not found:
        raise MissingPart(f"Rendering these sounds needs the program {name}: apt-get install {package}.")
    return found


def run(command: list[str]) -> None:
    """Runs a program quietly; raises MissingPart with what it said where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["it gave no reason"]
        raise MissingPart(f"{Path(command[0]).name} failed: {said[-1].rstrip('.')}.")


def read_mono(path: Path) -> np.ndarray:
    """A sound file as (T,) float32 at 32 kHz, its channels averaged."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return soxr.resample(samples.mean(1), rate, RATE).astype(np.float32)


def trimmed(samples: np.ndarray, below: float = 0.005) -> np.ndarray:
    """Without the silence before and after (quieter than `below` of the peak); empty where all is silence."""
    loud = np.flatnonzero(np.abs(samples) > below * np.abs(samples).max(initial=0))
    return samples[loud[0] : loud[-1] + 1] if len(loud) else samples[:0]


def write(folder: Path, sounds: Iterable[tuple[Rendered, np.ndarray]]) -> list[Rendered]:
    """Writes the sounds, peak at 0.9, those with less than 0.1 s left out; returns their lines."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, offset = [], 0
    with open(folder / "audio.tmp", "wb") as audio:
        for row, samples in sounds:
            if len(samples) < RATE // 10 or not np.abs(samples).max():
                continue
            row.offset, row.length = offset, len(samples)
            (samples / np.abs(samples).max() * 0.9 * 32767).astype(np.int16).tofile(audio)
            rows.append(row)
            offset += len(samples)
    os.replace(folder / "audio.tmp", folder / "audio.i16")
    (folder / "index.jsonl").write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows))
    return rows
