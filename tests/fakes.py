"""An engine whose parts are made up, for tests of the pages: real prompts, queue, retrieval and comparison, scripted
answers."""

import hashlib
import math
import os
import sys
import time
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch

from afcore import prompts
from afcore.audio.windows import MINI
from afcore.clap import Clap
from afcore.encoders import AudioEncoder
from afcore.engine.engine import Engine
from afcore.engine.language import TextModel

WIDTH = 16
TAGS = {"Dog": 0.91, "Animal": 0.84, "Bark": 0.62, "Growling": 0.2, "Wind": 0.07, "Car": 0.02}


def direction(words: str) -> np.ndarray:
    """(WIDTH,) float32 unit vector that belongs to ``words``; vectors of texts that share words are similar."""
    total = np.full(WIDTH, 0.05, np.float32)
    for word in words.lower().split():
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")
        total += np.random.default_rng(seed).normal(size=WIDTH).astype(np.float32)
    return total / np.linalg.norm(total)


@dataclass
class Script:
    """What the parts of one `FakeEngine` do, and what was asked of them."""

    pace: float = 0.0
    """Seconds for each word; five of them for each sound."""
    heard_as: str = "dog"
    """What every sound is taken for."""
    answer: str = "I hear a dog that barks twice ."
    caption: str = ""
    """Said at once where a description is asked for; '' is for ``answer`` there too."""
    prompts: list = field(default_factory=list)
    """(prompt, settings) of everything that was answered."""
    said: int = 0
    """How often labels were scored."""


class FakeClap(Clap):
    """Texts by their words, sounds by the script."""

    name = "fake-clap"
    width = WIDTH

    def __init__(self, script=None):
        self.script = script or Script()

    def text(self, texts):
        """(k, WIDTH) unit vectors."""
        return np.stack([direction(text) for text in texts])

    def audio(self, clip):
        """(WIDTH,) unit vector."""
        return direction(self.script.heard_as)


class FakeEncoder(AudioEncoder):
    """Nothing for each window, and always the same tags."""

    name = "fake"
    plan = MINI
    width = WIDTH
    labels = tuple(TAGS)
    silence = torch.zeros(WIDTH)

    def __init__(self, script=None):
        self.script = script or Script()

    def embed(self, samples):
        """(n, WIDTH) zeros."""
        time.sleep(5 * self.script.pace)
        return torch.zeros(MINI.count(len(samples)), WIDTH)

    def names_tags(self):
        return True

    def tags(self, features):
        return torch.tensor(list(TAGS.values()))


class FakeText(TextModel):
    """The same answer to everything, word by word; a label is twice as likely for each shot that has it."""

    device, dtype, conversations = torch.device("cpu"), torch.float32, 0
    kind, max_shots, paddings = "mini", 8, ()

    def __init__(self, script, kind="mini", max_shots=8, paddings=()):
        self.script, self.kind, self.max_shots, self.paddings = script, kind, max_shots, paddings

    def forget(self):
        """Nothing is kept."""

    def tokens(self, text):
        return len(text.split())

    def stream(self, prompt, sounds, settings=None, stop=None, key=None):
        if self.script.caption and "describe" in prompt.text:
            yield self.script.caption
            return
        self.script.prompts.append((prompt, settings))
        for number, word in enumerate(self.script.answer.split()):
            time.sleep(self.script.pace)
            if stop is not None and stop.is_set():
                return
            yield word if number == 0 or word == "." else f" {word}"

    def score(self, prompt, sounds, continuations, key=None):
        self.script.said += 1
        shown = [prompts.answer_of(a.example.label) for a in prompt.audios if a != prompts.QUERY]
        counts = [math.log(2) * shown.count(text) for text in continuations]
        return torch.tensor(counts, dtype=torch.float64), torch.ones(len(continuations))


class FakeEngine(Engine):
    """Answers "I hear a dog ..." to everything; its script may be changed while it runs."""

    def __init__(
        self, bank, pace=0.0, clap=FakeClap, name="mini", kind="mini", max_shots=8, notice="", paddings=(), **script
    ):
        self.script = Script(pace, **script)
        text, encoder = FakeText(self.script, kind, max_shots, paddings), FakeEncoder(self.script)
        super().__init__(name, text, encoder, clap(self.script), bank, retrieval_notice=notice)
        for example in bank.examples():
            bank.set_embedding(example.id, "fake", "features", np.zeros((1, WIDTH), np.float32))
            bank.set_embedding(example.id, "fake-clap", "clap", direction(f"{example.label} {example.id}"))

    @property
    def prompts(self):
        """Every prompt that was answered, with its settings."""
        return self.script.prompts

    @property
    def answer(self):
        """What it answers to everything."""
        return self.script.answer

    @property
    def said(self):
        """How often labels were scored."""
        return self.script.said


def load_fake(folder, answer, device, dtype, progress):
    """A slow `FakeEngine` over the sounds in ``folder``, as `load_engine` wants a loader."""
    from afcore.retrieval.bank import Bank

    # A caption as slow as the chat's answers would only make the test wait.
    return FakeEngine(Bank.from_folder(folder), pace=0.25, answer=answer, caption="a bell")


def slow_review(seconds: float) -> None:
    """Have the next clip of a review come so much later, as on a machine that is busy."""
    from afcore.teach.review import ReviewQueue

    next_clip = ReviewQueue.next_clip

    def late(queue, who):
        time.sleep(seconds)
        return next_clip(queue, who)

    ReviewQueue.next_clip = late


def main(folder: str, length: str, *arguments: str) -> None:
    """``python tests/fakes.py FOLDER WORDS run app.py ...``: the app over a bank in FOLDER and slow made-up answers."""
    from streamlit.web import cli

    from afcore.engine.loading import MODELS

    slow_review(float(os.environ.get("FAKE_SLOW_REVIEW", "0")))
    MODELS["mini"] = partial(load_fake, folder, " ".join(f"word{number}" for number in range(int(length))))
    sys.argv = ["streamlit", *arguments]
    cli.main()


if __name__ == "__main__":
    main(*sys.argv[1:])
