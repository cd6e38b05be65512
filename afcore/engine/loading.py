"""Which engines there are, and how each is loaded. Imports little: a model's own parts are imported with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from afcore import paths, prompts
from afcore.engine import memory
from afcore.engine.precision import choose_precision
from afcore.errors import BadRequest
from afcore.published.folders import KINDS, folder_of, name_of

if TYPE_CHECKING:
    from afcore.engine.engine import Engine

Progress = Callable[[str, float], None]


def load_engine(
    name: str = "mini",
    device: str | torch.device | None = None,
    progress: Progress | None = None,
    dtype: torch.dtype | None = None,
) -> Engine:
    """The engine ``name``, ready to answer; ``progress`` hears each stage and the fraction done, 0 to 1.

    Raises BadRequest for a name that is not in ``MODELS``, MissingPart where weights or a package are absent,
    OutOfMemory where the GPU cannot hold it, and whatever ``progress`` raises.
    """
    if name not in MODELS:
        raise BadRequest(f"There is no model “{name}”: choose {' or '.join(MODELS)}.")
    progress = progress or (lambda stage, fraction: None)
    progress("Starting", 0.0)
    with memory.enough(lambda: None):
        engine = MODELS[name](device, dtype, progress)
        if engine.bank is not None:
            progress("Opening the example bank", 0.6)
            engine.retriever(progress=lambda share: progress("Listening to the example bank (once)", 0.6 + 0.3 * share))
        progress("Warming up", 0.95)
        # The first pass through each part allocates and compiles; better now than in somebody's first answer.
        silence = engine.silence()
        engine.probabilities(silence, engine.build_prompt(silence, prompts.CLASSIFY), ["sound"])
        engine.forget()
    progress("Ready", 1.0)
    return engine


def _load_mini(device, dtype, progress: Progress) -> Engine:
    from afcore.checkpoints.mini import load_mini
    from afcore.engine.calibration import Calibration
    from afcore.engine.engine import Engine

    precision = choose_precision(device, dtype)
    parts = load_mini(paths.MINI, precision.device, precision.dtype, progress)
    model, tokenizer, encoder, clap, calibration = parts
    bank = None
    if (paths.BANK / "bank.sqlite").exists():
        from afcore.retrieval.bank import Bank

        bank = Bank(paths.BANK)
    return Engine("mini", "mini", model, tokenizer, encoder, clap, bank, Calibration.from_dict(calibration), precision)


def _published(kind: str) -> Callable[..., Engine]:
    def load(device, dtype, progress: Progress) -> Engine:
        from afcore.published import engines  # imports what mini does without

        precision = engines.choose_precision(device, dtype)
        return engines.load_published_engine(folder_of(kind), kind, precision, progress, engines.own_bank())

    return load


MODELS: dict[str, Callable[..., Engine]] = {
    "mini": _load_mini,
    **{name_of(kind): _published(kind) for kind in KINDS},
}
"""What can be loaded, by name: functions of device and number format (None: the best there is) and a progress call."""
