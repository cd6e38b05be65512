"""What an engine does with labels: how probable each is as the answer, and what shots change about that."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor

from afcore import prompts
from afcore.calibration import Calibration
from afcore.errors import BadRequest
from afcore.model.generation import GenerationSettings, score_continuations
from afcore.prompts import Prompt
from afcore.results import Answer, Heard
from afcore.retrieval import Shot
from afcore.shuffling import shuffled

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from afcore.model import AudioFlamingo


class Labelling:
    """The part of `Engine` that compares labels."""

    kind: str
    model: AudioFlamingo
    tokenizer: PreTrainedTokenizerBase
    calibration: Calibration
    _content_free: tuple[tuple, Tensor] | None

    def classify(self, heard: Heard, labels: Sequence[str], shots: Sequence[Shot] = ()) -> dict[str, float]:
        """Probability of each label, summing to 1: how likely it is as the answer to "classify this sound."."""
        prompts.check_labels(labels)
        prompt = self.build_prompt(heard, prompts.CLASSIFY, shots, labels=labels)
        bare = self.build_prompt(heard, prompts.CLASSIFY, labels=labels) if shots else prompt
        return self.probabilities(heard, prompt, labels, bare)

    def probabilities(self, heard: Heard, prompt: Prompt, labels: Sequence[str], bare: Prompt | None = None) -> dict[str, float]:
        """Probability of each label as the answer to ``prompt``, by the model's `Calibration`. Raises BadRequest.

        ``bare``: the same prompt without shots. What a label scores there for a sound without content is its head start
        in this wording; taken with the shots in place it would also take away what the shots say.
        """
        prompts.check_labels(labels)
        scores, counts = self.score_labels(heard, prompt, labels)
        free = None
        if self.calibration.alpha:
            free = self.content_free_scores(bare or prompt, labels)
        found = self.calibration.probabilities(scores, counts, free)
        return dict(zip(labels, found.tolist()))

    def score_labels(self, heard: Heard, prompt: Prompt, labels: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Sum of the log-probabilities of each label's tokens as the answer, and the number of tokens, both (k,) on the CPU."""
        end = prompts.MARKS[self.kind].eoc if self.calibration.end else ""
        texts = [prompts.answer_of(label) + end for label in labels]
        tokens = [self.tokenizer(text, add_special_tokens=False).input_ids for text in texts]
        with self._working():
            scores, counts = score_continuations(
                self.model, self.inputs(heard, prompt), tokens, self._prompt_cache(heard, prompt))
            return scores.cpu(), counts.cpu()

    def content_free_scores(self, prompt: Prompt, labels: Sequence[str]) -> Tensor:
        """As `score_labels`, with 7 s of silence in the place of the query. Kept, since a run over many clips without
        shots asks for the same each time."""
        key = (prompt.text, audio_key(prompt, ""), tuple(labels))
        if self._content_free is None or self._content_free[0] != key:
            self._content_free = key, self.score_labels(self.silence(), prompt, labels)[0]
        return self._content_free[1]

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
            ("All examples have one label, so shuffling changes none" if same else "The same examples, labels shuffled", changed),
        ]
        answers = []
        for title, chosen in variants:
            if stop is not None and stop.is_set():
                break
            answers.append(replace(self.ask(heard, question, chosen, (), settings, labels, stop), title=title))
            if on_answer is not None:
                on_answer(answers[-1])
        return answers


def audio_key(prompt: Prompt, query: str) -> tuple[str, ...]:
    """Names the sounds of ``prompt`` by content, ``query`` in the place of the one that is asked about."""
    return tuple(query if audio == prompts.QUERY else audio.example.sha256 for audio in prompt.audios)
