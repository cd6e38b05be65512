"""What an engine does with labels: how probable each is as the answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from afcore import prompts
from afcore.engine.calibration import Calibration
from afcore.engine.results import Heard
from afcore.model.generation import score_continuations
from afcore.prompts import Prompt
from afcore.retrieval.nearest import Shot

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from afcore.model import AudioFlamingo
    from afcore.retrieval.bank import Bank, Example

REFERENCES = 12  # sounds over which a label's own probability is averaged


class Labelling:
    """The part of `Engine` that compares labels."""

    kind: str
    model: AudioFlamingo
    tokenizer: PreTrainedTokenizerBase
    calibration: Calibration
    bank: Bank | None
    _content_free: tuple[tuple, dict[str, float]] | None

    def classify(self, heard: Heard, labels: Sequence[str], shots: Sequence[Shot] = ()) -> dict[str, float]:
        """Probability of each label, summing to 1: how likely it is as the answer to "classify this sound."."""
        prompts.check_labels(labels)
        prompt = self.build_prompt(heard, prompts.CLASSIFY, shots, labels=labels)
        bare = self.build_prompt(heard, prompts.CLASSIFY, labels=labels) if shots else prompt
        return self.probabilities(heard, prompt, labels, bare)

    def probabilities(
        self, heard: Heard, prompt: Prompt, labels: Sequence[str], bare: Prompt | None = None
    ) -> dict[str, float]:
        """Probability of each label as the answer to ``prompt``, by the model's `Calibration`. Raises BadRequest.

        ``bare``: the same prompt without shots, where it has any: its scores are mixed in as the calibration says. What a
        label scores there for any sound at all is its head start in this wording; taken with the shots in place
        it would also take away what the shots say.
        """
        prompts.check_labels(labels)
        bare = bare or prompt
        scores, counts = self.score_labels(heard, prompt, labels)
        free = self.content_free_scores(bare, labels) if self.calibration.alpha else None
        mixes = self.calibration.shots < 1 and bare.text != prompt.text
        without = self.score_labels(heard, bare, labels)[0] if mixes else None
        found = self.calibration.probabilities(scores, counts, free, without)
        return dict(zip(labels, found.tolist()))

    def score_labels(self, heard: Heard, prompt: Prompt, labels: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Sum of the log-probabilities of each label's tokens as the answer, and the number of tokens, both (k,) on the CPU."""
        end = prompts.MARKS[self.kind].eoc if self.calibration.end else ""
        texts = [prompts.answer_of(label) + end for label in labels]
        tokens = [self.tokenizer(text, add_special_tokens=False).input_ids for text in texts]
        with self._working():
            scores, counts = score_continuations(
                self.model, self.inputs(heard, prompt), tokens, self._prompt_cache(heard, prompt)
            )
            return scores.cpu(), counts.cpu()

    def content_free_scores(self, prompt: Prompt, labels: Sequence[str]) -> Tensor:
        """As `score_labels`, for any sound at all: the logarithm of each label's mean probability over `references` in the
        place of the query. Kept label by label for the last wording, since a run over many clips asks for the same each time."""
        key = prompt.text, audio_key(prompt, "")
        if self._content_free is None or self._content_free[0] != key:
            self._content_free = key, {}
        known = self._content_free[1]
        if missing := [label for label in dict.fromkeys(labels) if label not in known]:
            scores = torch.stack([self.score_labels(sound, prompt, missing)[0] for sound in self.references()])
            known |= dict(zip(missing, (scores.logsumexp(0) - math.log(len(scores))).tolist()))
        return torch.tensor([known[label] for label in labels])

    def references(self) -> list[Heard]:
        """Sounds that stand for any sound: up to `REFERENCES` examples of the bank, of as many labels; silence without a bank.

        Silence alone says little: mini answers it with "nothing", so every label looks equally unlikely there.
        """
        first: dict[str, Example] = {}
        for example in self.bank.examples() if self.bank else ():
            first.setdefault(example.label, example)
        if not first:
            return [self.silence()]
        self.retriever()  # embeds what is not embedded yet
        labels = sorted(first)[:: max(1, len(first) // REFERENCES)][:REFERENCES]
        return [self.recall(self.bank, first[label]) for label in labels]


def audio_key(prompt: Prompt, query: str) -> tuple[str, ...]:
    """Names the sounds of ``prompt`` by content, ``query`` in the place of the one that is asked about."""
    return tuple(query if audio == prompts.QUERY else audio.example.sha256 for audio in prompt.audios)
