"""What the model says now about mini's listed failure cases, kept for everybody who uses the process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from afcore.audio.recording import Clip
from afcore.evaluation import failures
from afcore.evaluation.failures import Case, CaseSounds, Verdict
from afcore.jobs import Job
from afcore.retrieval.bank import Bank
from afcore.teach import predict

if TYPE_CHECKING:
    from afcore.engine.engine import Engine


class FailureAnswers:
    """The verdicts on the cases so far, by model and weights: other weights are asked anew."""

    def __init__(self, bank: Bank) -> None:
        self.sounds = CaseSounds(bank)
        self._verdicts: dict[tuple[str, Case], Verdict] = {}

    def clip(self, case: Case) -> Clip:
        """The sound of ``case``."""
        return self.sounds.clip(case)

    def verdict(self, weights: str, case: Case) -> Verdict | None:
        """What the model with ``weights``, as `weights_of` names them, said; None where it was not asked yet."""
        return self._verdicts.get((weights, case))

    def ask(self, job: Job, engine: Engine, cases: Sequence[Case]) -> None:
        """The work of a job: ask about what was not asked yet, one turn in the queue for each case."""
        weights = weights_of(engine)
        for number, case in enumerate(cases):
            job.report(f"Asking about sound {number + 1} of {len(cases)}", number / len(cases))
            if (weights, case) not in self._verdicts:
                with engine.turns.wait(stop=job.stopping, background=True):
                    self._verdicts[weights, case] = failures.ask(engine, case, self.clip(case))

    def truth(self, case: Case) -> str:
        """What is to be heard in ``case``, in words."""
        labels = self.sounds.labels(case)
        if case.kind == failures.COUNT:
            return f"{labels[0]}, {len(labels)} times"
        if case.kind == failures.ORDER:
            return f"{labels[0]}, then {labels[1]}"
        if case.kind == failures.QUIET:
            return f"{labels[0]}, with {labels[1]} {-case.sounds[1].gain:.0f} dB below it"
        if case.clips is not None:
            return f"{labels[0]}, of which its training had {case.clips} clip{'s' if case.clips != 1 else ''}"
        return labels[0]

    def credits(self, case: Case) -> list[str]:
        """Whose sounds ``case`` is made of, each once: author, licence and package."""
        known = self.sounds.examples
        examples = [known[part.sha256] for part in case.sounds if part.sha256 in known]
        return list(dict.fromkeys(f"{one.author}, {one.licence} ({one.package})" for one in examples))


def weights_of(engine: Engine) -> str:
    """The name of a model with that of its weights."""
    return predict.model_name(engine)
