"""Several answers of an engine to one question: the candidates of one prompt, and what its shots contribute."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from afcore.clap import Clap
from afcore.engine.results import Answer, Heard
from afcore.errors import BadRequest
from afcore.model.generation import GenerationSettings, candidates
from afcore.prompts import Prompt
from afcore.retrieval.nearest import Shot
from afcore.retrieval.shuffling import shuffled

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from afcore.model import AudioFlamingo


class Comparing:
    """The part of `Engine` that gives more than one answer."""

    name: str
    model: AudioFlamingo
    tokenizer: PreTrainedTokenizerBase
    clap: Clap

    def candidates(
        self, heard: Heard, prompt: Prompt, n: int, settings: GenerationSettings, stop: threading.Event | None = None
    ) -> list[tuple[str, float]]:
        """n sampled answers without repeats, each with the CLAP similarity of its text to the clip, best first, as the
        published demo shows them. Raises BadRequest for settings that cannot give n answers."""
        if settings.temperature > 0 and 1 < settings.num_beams < n:
            raise BadRequest("Candidates are drawn with one beam, or with as many beams as candidates.")
        with self._working():
            inputs, cache = self.inputs(heard, prompt), self._prompt_cache(heard, prompt)
            found = candidates(self.model, self.tokenizer, inputs, settings, n, stop, cache)
            texts = list(dict.fromkeys(text.strip() for text in found if text.strip()))
            similarities = self.clap.text(texts) @ heard.vector if texts else np.zeros(0)
        return sorted(zip(texts, similarities.tolist()), key=lambda pair: -pair[1])

    def best_of(
        self,
        heard: Heard,
        question: str,
        n: int,
        shots: Sequence[Shot] = (),
        settings: GenerationSettings = GenerationSettings(),
    ) -> Answer:
        """The one of n `candidates` that fits the clip best; all of them are in its ``candidates``."""
        prompt = self.build_prompt(heard, question, shots)
        begun = time.perf_counter()
        found = self.candidates(heard, prompt, n, settings)
        timings = {**heard.timings, "generate": time.perf_counter() - begun}
        return Answer(
            found[0][0] if found else "", prompt, tuple(shots), heard, timings, self.name, candidates=tuple(found)
        )

    def three_answers(
        self,
        heard: Heard,
        question: str,
        shots: Sequence[Shot],
        labels: Sequence[str] | None = None,
        seed: int = 0,
        settings: GenerationSettings = GenerationSettings(),
        on_answer: Callable[[Answer], None] | None = None,
        stop: threading.Event | None = None,
    ) -> list[Answer]:
        """The same question without shots, with these shots, and with the same shots whose labels and captions have
        changed places, so that what the shots contribute can be seen. ``on_answer`` gets each as it is ready."""
        if not shots:
            raise BadRequest("Choose at least one example.")
        changed = shuffled(shots, seed)
        same = all(a.example.label == b.example.label for a, b in zip(shots, changed))
        variants = [
            ("Without examples", ()),
            ("With these examples", shots),
            (
                "All examples have one label, so shuffling changes none"
                if same
                else "The same examples, labels shuffled",
                changed,
            ),
        ]
        answers = []
        for title, chosen in variants:
            if stop is not None and stop.is_set():
                break
            answers.append(replace(self.ask(heard, question, chosen, (), settings, labels, stop), title=title))
            if on_answer is not None:
                on_answer(answers[-1])
        return answers
