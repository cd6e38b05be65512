"""From log-likelihoods of labels to probabilities that can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Calibration:
    """How a model's label scores are read; which choice is best is measured on validation sounds and stored with it.

    Long labels have a lower likelihood, and some words come more easily whatever the sound. Against the first,
    ``normalise`` "mean" divides by the number of tokens; against the second, ``alpha`` times what the label scores for
    any sound at all is taken off (Zhao et al., 2021, "Calibrate Before Use"; Holtzman et al., 2021, pointwise mutual
    information). Without that, labels that training never named are never chosen.
    """

    normalise: str = "mean"
    """"sum" or "mean" over the label's tokens."""
    alpha: float = 0.0
    """Share of the content-free score that is subtracted; at 0 that score is not computed."""
    temperature: float = 1.0
    """Divides the scores before the softmax; above 1 makes probabilities flatter."""
    end: bool = False
    """Whether the token that ends the answer counts: "dog" against "dog bark"."""
    options: bool = True
    """Whether the prompt lists the labels."""
    shots: float = 1.0
    """Weight of the answer with shots; the rest is that of the same question without them (a product of experts). A
    small model trusts a shot's label more than its own hearing, also where no shot is of the right class."""

    def __post_init__(self) -> None:
        if self.normalise not in ("sum", "mean"):
            raise ValueError(f'normalise is "sum" or "mean", not {self.normalise!r}')
        if self.temperature <= 0:
            raise ValueError("temperature must be above 0")
        if not 0 < self.shots <= 1:
            raise ValueError("shots must be above 0 and at most 1")

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Calibration:
        """From the ``calibration`` entry of a model's config; what it leaves out has its default.

        Raises ValueError for a name or value that means nothing here.
        """
        known = {field.name for field in fields(cls)}
        unknown = set(settings) - known
        if unknown:
            raise ValueError(f"unknown calibration settings: {sorted(unknown)}")
        return cls(**settings)

    def probabilities(
        self, scores: Tensor, counts: Tensor, content_free: Tensor | None = None, without: Tensor | None = None
    ) -> Tensor:
        """Probabilities (k,) float64 that sum to 1.

        ``scores`` (k,): sum of the natural log-probabilities of each label's tokens; ``counts`` (k,): how many tokens
        each has; ``content_free`` (k,): the same as ``scores`` for a sound without content, needed unless
        ``alpha`` is 0;
        ``without`` (k,): the same without shots, where the prompt has any and ``shots`` is below 1.
        """
        mixed = self._read(scores, counts, content_free)
        if without is not None:
            mixed = self.shots * mixed + (1 - self.shots) * self._read(without, counts, content_free)
        return torch.softmax(mixed / self.temperature, 0)

    def _read(self, scores: Tensor, counts: Tensor, content_free: Tensor | None) -> Tensor:
        scores = scores.double()
        if self.alpha:
            if content_free is None:
                raise ValueError("alpha needs the scores for a sound without content")
            scores = scores - self.alpha * content_free.double()
        if self.normalise == "mean":
            scores = scores / counts
        return torch.log_softmax(scores, 0)
