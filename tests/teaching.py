"""Sounds and an engine for the tests of Teach: each sound is taken for the words of its name."""

import zipfile
from io import BytesIO

import numpy as np
import soundfile
from fakes import FakeClap, FakeEngine, direction

from afcore.retrieval.bank import Bank

RATE = 8_000  # Hz
DOGS, CATS = [f"dog {n}.wav" for n in range(3)], [f"cat {n}.wav" for n in range(3)]


def sound(number: int, seconds: float = 0.2) -> bytes:
    """A WAV file of noise, another for each number."""
    file = BytesIO()
    noise = np.random.default_rng(number).normal(scale=0.1, size=round(seconds * RATE))
    soundfile.write(file, noise, RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()


def sounds(*names: str, seed: int = 0) -> list[tuple[str, bytes]]:
    """(name, file) each, for `add_files`; the same names and seed give the same files."""
    return [(name, sound(1000 * seed + n)) for n, name in enumerate(names)]


def zipped(members, method=zipfile.ZIP_DEFLATED) -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w", method) as out:
        for name, data in members:
            out.writestr(name, data)
    return file.getvalue()


def zipped_raw(members: dict[bytes, bytes]) -> bytes:
    """A zip whose members have these bytes for names, without the flag that says UTF-8."""
    stand_ins = {name: chr(97 + number) * len(name) for number, name in enumerate(members)}
    raw = zipped([(stand_ins[name], data) for name, data in members.items()])
    for name, stand_in in stand_ins.items():
        raw = raw.replace(stand_in.encode(), name)
    return raw


def stored_files(folder) -> list[str]:
    return sorted(file.name for file in (folder / "audio").rglob("*") if file.is_file())


def sentence(error) -> str:
    text = str(error.value)
    assert text.endswith(".") and "\n" not in text and len(text) < 250
    return text


class NamedClap(FakeClap):
    """Takes "dog 3.wav" for dog (and a little for "3.wav")."""

    def __init__(self, script):
        super().__init__(script)
        self.heard_names = []

    def audio(self, clip):
        self.heard_names.append(clip.name)
        words, _, rest = clip.name.rpartition(" ")
        vector = direction(words) + 0.1 * direction(rest)
        return (vector / np.linalg.norm(vector)).astype(np.float32)


class NamedEngine(FakeEngine):
    """Hears a sound as its file is named; ``said`` counts how often the model was asked."""

    def __init__(self, folder=None, pace: float = 0.0, bank=None):
        super().__init__(bank or Bank(folder, create=True), pace, NamedClap)
        self.heard_names = self.clap.heard_names
