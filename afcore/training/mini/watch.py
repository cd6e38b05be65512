"""While training runs: how well validation sounds are named, right audio against another clip's, so that a run that learns the
text alone is seen within minutes. Never the test split."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from afcore import prompts
from afcore.corpus.clips import ClipSet
from afcore.evaluation.items import macro, make_items
from afcore.training.mini.samples import Sample

SCORED_TOGETHER = 6  # items of ten options each


def area(yes: np.ndarray, no: np.ndarray) -> float:
    """Area under the ROC curve of the scores of what is so, (M,), against those of what is not, (N,); 0.5 is chance."""
    return float((yes[:, None] > no[None]).mean())


class Watch:
    """Ten-option accuracy without shots on `count` validation clips, by the mean log-probability of each label's tokens."""

    def __init__(self, clips: ClipSet, labels: set[str], count: int = 60, seed: int = 5):
        items = make_items(clips, "validation", labels, seed=seed)
        self.items = [items[i] for i in np.random.default_rng(seed).permutation(len(items))[:count]]
        self.others = [self.items[(n + len(self.items) // 2) % len(self.items)].clip for n in range(len(self.items))]

    def __call__(self, score: Callable[[list[Sample]], Tensor]) -> dict[str, float]:
        """`score`: samples → (samples,) mean log-probability of their answers. Returns accuracies, mean over labels."""
        labels = [item.label for item in self.items]
        said = {"held_out": [item.clip for item in self.items], "held_out_other_audio": self.others}
        return {name: round(macro(self._hits(audios, score), labels), 3) for name, audios in said.items()} | {
            "yes_no": self._yes_no(score)
        }

    @torch.no_grad()
    def _yes_no(self, score) -> float:
        """How often "is there …?" is likelier to be answered yes of a clip's own label than of another item's (0.5 is chance)."""
        leaning = []
        for start in range(0, len(self.items), 2 * SCORED_TOGETHER):
            items = self.items[start : start + 2 * SCORED_TOGETHER]
            wrong = [next(option for option in item.options if option != item.label) for item in items]
            samples = [
                present(event, item.clip, said)
                for item, other in zip(items, wrong)
                for event in (item.label, other)
                for said in ("yes", "no")
            ]
            yes, no = score(samples).view(len(items), 2, 2).unbind(2)
            leaning.append(yes - no)
        own, other = torch.cat(leaning).float().numpy().T
        return round(area(own, other), 3)

    @torch.no_grad()
    def _hits(self, audios: list[int], score) -> np.ndarray:
        hits = []
        for start in range(0, len(self.items), SCORED_TOGETHER):
            items = self.items[start : start + SCORED_TOGETHER]
            samples = [naming(option, audio) for item, audio in zip(items, audios[start:]) for option in item.options]
            chosen = score(samples).view(len(items), -1).argmax(1).tolist()
            hits += [item.options[k] == item.label for item, k in zip(items, chosen)]
        return np.array(hits, float)


def naming(label: str, clip: int) -> Sample:
    """`label` as the answer to "classify this sound." about `clip`."""
    prompt = prompts.single(prompts.CLASSIFY, prompts.EVENTS)
    return Sample([(prompt.text, 0.0), (prompts.answer_of(label) + prompts.MARKS["mini"].eoc, 1.0)], [clip])


def present(event: str, clip: int, said: str) -> Sample:
    """`said` as the answer to "can you hear …?" about `clip`."""
    prompt = prompts.single(prompts.instruction(f"can you hear {event}?", yes_no=True), prompts.QUESTION_ANSWERING)
    return Sample([(prompt.text, 0.0), (prompts.answer_of(said) + prompts.MARKS["mini"].eoc, 1.0)], [clip])
