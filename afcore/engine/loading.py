"""Which engines there are, and how each is loaded. Imports next to nothing, so that a page can list their names."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from afcore import prompts
from afcore.errors import BadRequest

if TYPE_CHECKING:
    import torch

    from afcore.engine.engine import Engine

Progress = Callable[[str, float], None]
"""Hears each stage and the fraction done, 0 to 1."""

Loader = Callable[["str | torch.device | None", "torch.dtype | None", Progress], "Engine"]
"""Device, number format (None: the best there is), progress -> an engine."""

LoadEngine = Callable[..., "Engine"]
"""`load_engine` or what stands in for it: who takes one as a parameter gives it the name, the device and
``progress``."""

MODELS: dict[str, str | Loader] = {
    "mini": "afcore.engine.mini:load",
    "audio-flamingo-chat": "afcore.published.engines:load_chat",
    "audio-flamingo-foundation": "afcore.published.engines:load_foundation",
}
"""What can be loaded, by name, in the order in which it is offered: a `Loader`, or where one is, as
``module:function``, which is imported when it is asked for. Another engine is another entry."""


def load_engine(
    name: str = "mini",
    device: str | torch.device | None = None,
    progress: Progress | None = None,
    dtype: torch.dtype | None = None,
    models: Mapping[str, str | Loader] = MODELS,
) -> Engine:
    """The engine ``name`` of ``models``, ready to answer; ``progress`` hears each stage and the fraction done, 0 to 1.

    Raises BadRequest for a name that is not in ``models``, MissingPart where weights or a package are absent,
    OutOfMemory where the GPU cannot hold it, and whatever ``progress`` raises.
    """
    if name not in models:
        raise BadRequest(f"There is no model “{name}”: choose {' or '.join(models)}.")
    progress = progress or (lambda stage, fraction: None)
    progress("Starting", 0.0)
    from afcore.engine import memory  # which imports torch

    with memory.enough(lambda: None):
        engine = _loader(models[name])(device, dtype, progress)
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


def _loader(entry: str | Loader) -> Loader:
    if not isinstance(entry, str):
        return entry
    module, _, function = entry.partition(":")
    loader: Loader = getattr(importlib.import_module(module), function)
    return loader
