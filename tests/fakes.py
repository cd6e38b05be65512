"""An engine without a model, for tests of the pages: real prompts, queue, retrieval and comparison, made-up answers."""

import hashlib
import sys
import time
from collections import OrderedDict

import numpy as np
import torch

from afcore.audio.windows import MINI
from afcore.engine.calibration import Calibration
from afcore.engine.engine import Engine
from afcore.engine.results import Heard
from afcore.engine.turn_queue import Turnstile

WIDTH = 16


def direction(words: str) -> np.ndarray:
    """(WIDTH,) float32 unit vector that belongs to ``words``; vectors of texts that share words are similar."""
    total = np.full(WIDTH, 0.05, np.float32)
    for word in words.lower().split():
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")
        total += np.random.default_rng(seed).normal(size=WIDTH).astype(np.float32)
    return total / np.linalg.norm(total)


class FakeClap:
    """Texts by their words."""

    name = "fake-clap"
    width = WIDTH

    def text(self, texts):
        """(k, WIDTH) unit vectors."""
        return np.stack([direction(text) for text in texts])


class FakeEncoder:
    """Only what a page asks of an encoder."""

    name = "fake"
    plan = MINI
    width = WIDTH


class FakeEngine(Engine):
    """Answers "I hear a dog ..." word by word, each after ``pace`` seconds; ``heard_as`` is what every sound is taken for."""

    def __init__(self, bank, pace: float = 0.0, heard_as: str = "dog", answer: str = "I hear a dog that barks twice ."):
        self.name, self.kind = "mini", "mini"
        self.encoder, self.clap, self.bank = FakeEncoder(), FakeClap(), bank
        self.features_name, self.calibration = "fake", Calibration()
        self.device, self.dtype, self.dtype_reason = torch.device("cpu"), torch.float32, "float32, as loaded."
        self.turns = Turnstile()
        self.pace, self.heard_as, self.answer = pace, heard_as, answer
        self.prompts = []
        """Every prompt that was answered."""
        self._retrievers, self._heard = {}, OrderedDict()
        for example in bank.examples():
            bank.set_embedding(example.id, "fake", "features", np.zeros((1, WIDTH), np.float32))
            bank.set_embedding(example.id, self.clap.name, "clap", direction(f"{example.label} {example.id}"))

    @property
    def max_shots(self):
        """As mini."""
        return 8

    def hear(self, clip):
        """Tags and a vector that belong to ``heard_as``."""
        time.sleep(5 * self.pace)
        times = [(clip.start + a, clip.start + b) for a, b in MINI.times(round(clip.duration * MINI.rate))]
        tags = [("Dog", 0.91), ("Animal", 0.84), ("Bark", 0.62), ("Growling", 0.2), ("Wind", 0.07), ("Car", 0.02)]
        features = torch.zeros(len(times), WIDTH)
        return Heard(clip, features, times, direction(self.heard_as), tags, {"encode": 0.0})

    def stream(self, heard, prompt, settings=None, stop=None, timings=None):
        """The same answer to everything."""
        self.prompts.append((prompt, settings))
        words = self.answer.split()
        for number, word in enumerate(words):
            time.sleep(self.pace)
            if stop is not None and stop.is_set():
                return
            yield word if number == 0 or word == "." else f" {word}"

    def probabilities(self, heard, prompt, labels, bare=None):
        """Twice as likely for each shot with the label."""
        counts = np.array(
            [
                2.0 ** sum((getattr(a, "example", None) and a.example.label == label) or 0 for a in prompt.audios)
                for label in labels
            ]
        )
        return dict(zip(labels, (counts / counts.sum()).tolist()))


def main(folder: str, length: str, *arguments: str) -> None:
    """``python tests/fakes.py FOLDER WORDS run app.py ...``: the app over a bank in FOLDER and slow made-up answers."""
    from streamlit.web import cli

    from afcore.engine import loading as engines
    from afcore.retrieval.bank import Bank

    answer = " ".join(f"word{number}" for number in range(int(length)))

    def load_engine(name, progress):
        engine = FakeEngine(Bank.from_folder(folder), pace=0.25, answer=answer)
        # A caption as slow as the chat's answers would only make the test wait.
        stream = engine.stream
        engine.stream = lambda heard, prompt, *rest: (
            iter(["a bell"]) if "describe" in prompt.text else stream(heard, prompt, *rest)
        )
        return engine

    engines.load_engine = load_engine
    sys.argv = ["streamlit", *arguments]
    cli.main()


if __name__ == "__main__":
    main(*sys.argv[1:])
