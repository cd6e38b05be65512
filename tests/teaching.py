"""Sounds and an engine for the tests of Teach: each sound is taken for the words of its name."""

from io import BytesIO

import numpy as np
import soundfile
from fakes import FakeEngine, direction

from afcore.audio.windows import MINI
from afcore.engine.results import Heard
from afcore.retrieval.bank import Bank

RATE = 8_000  # Hz


def sound(number: int, seconds: float = 0.2) -> bytes:
    """A WAV file of noise, another for each number."""
    file = BytesIO()
    noise = np.random.default_rng(number).normal(scale=0.1, size=round(seconds * RATE))
    soundfile.write(file, noise, RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()


def sounds(*names: str, seed: int = 0) -> list[tuple[str, bytes]]:
    """(name, file) each, for `add_files`; the same names and seed give the same files."""
    return [(name, sound(1000 * seed + n)) for n, name in enumerate(names)]


class NamedEngine(FakeEngine):
    """Hears "dog 3.wav" as dog (and a little as "3.wav"); ``said`` counts how often the model was asked."""

    def __init__(self, folder, pace: float = 0.0):
        super().__init__(Bank(folder, create=True), pace)
        self.said = 0
        self.heard_names = []

    def hear(self, clip):
        heard = super().hear(clip)
        self.heard_names.append(clip.name)
        words, _, rest = clip.name.rpartition(" ")
        vector = direction(words) + 0.1 * direction(rest)
        vector = (vector / np.linalg.norm(vector)).astype(np.float32)
        times = [(clip.start + a, clip.start + b) for a, b in MINI.times(round(clip.duration * MINI.rate))]
        return Heard(clip, heard.features, times, vector, [], {})

    def probabilities(self, heard, prompt, labels, bare=None):
        self.said += 1
        return super().probabilities(heard, prompt, labels, bare)
