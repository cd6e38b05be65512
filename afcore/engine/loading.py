"""Which engines there are, and how each is loaded. Imports next to nothing, so that a page can list their names."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from afcore import prompts
from afcore.engine import own_models
from afcore.errors import BadRequest

if TYPE_CHECKING:
    import torch

    from afcore.engine.engine import Engine

Progress = Callable[[str, float], None]
"""Hears each stage and the fraction done, 0 to 1."""

Loader = Callable[["str | torch.device | None", "torch.dtype | None", Progress], "Engine"]
"""Device, number format (None: the best there is), progress -> an engine."""

PEER = "hf:"
"""How names of other audio models begin, which `transformers` loads (`afcore.published.peers`)."""

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


LAYOUTS = {
    "mini": "afcore.engine.mini:load_folder",
    "published": "afcore.published.engines:load_folder",
}
"""Who loads a saved model (`afcore.engine.model_folder`), by its layout: a function (folder, device, dtype, progress)
-> an engine."""


def load_engine(
    name: str = "mini",
    device: str | torch.device | None = None,
    progress: Progress | None = None,
    dtype: torch.dtype | None = None,
    models: Mapping[str, str | Loader] = MODELS,
    retrieval: str = "",
) -> Engine:
    """The engine ``name`` of ``models``, or of a folder that `Engine.save` or the command ``finetune`` wrote, ready to
    answer; ``progress`` hears each stage and the fraction done, 0 to 1.

    ``retrieval``: the CLAP that finds neighbours (`afcore.published.finders.clap_of`); '' for the model's own.

    Raises BadRequest for a name that is neither, MissingPart where weights or a package are absent, CheckpointError
    for a damaged folder, OutOfMemory where the GPU cannot hold it, and whatever ``progress`` raises.
    """
    peer = name.removeprefix(PEER) if name.startswith(PEER) else None
    folder = None if name in models or peer is not None else own_models.find(name)
    if peer is None and folder is None and name not in models:
        own = own_models.names()
        more = f", of your own {', '.join(own)}," if own else ""
        raise BadRequest(
            f"There is no model “{name}”: choose {' or '.join(models)}{more} or the folder of a saved model."
        )
    progress = progress or (lambda stage, fraction: None)
    progress("Starting", 0.0)
    from afcore import checkpoints
    from afcore.engine import memory  # which imports torch

    with memory.enough(lambda: None), checkpoints.readable(name):
        if folder is None:
            engine = (_peer(name) if peer is not None else _loader(models[name]))(device, dtype, progress)
        else:
            from afcore.engine import model_folder

            load_folder = _imported(LAYOUTS[model_folder.read(folder).layout])
            engine = load_folder(folder, device, dtype, progress)
        if retrieval:
            progress("Loading the retrieval", 0.55)
            engine = _imported("afcore.published.finders:found_by")(engine, retrieval)
        if engine.bank is not None:
            progress("Opening the example bank", 0.6)
            engine.retriever(progress=lambda share: progress("Listening to the example bank (once)", 0.6 + 0.3 * share))
        progress("Warming up", 0.95)
        # The first pass through each part allocates and compiles; better now than in somebody's first answer.
        silence = engine.silence()
        engine.language_judge.score_labels(silence, engine.build_prompt(silence, prompts.CLASSIFY), ["sound"])
        engine.forget()
    progress("Ready", 1.0)
    return engine


def _peer(name: str) -> Loader:
    load: Callable[..., Engine] = importlib.import_module("afcore.published.peers").load
    return partial(load, name)


def _loader(entry: str | Loader) -> Loader:
    return _imported(entry) if isinstance(entry, str) else entry


def _imported(entry: str) -> Callable[..., Engine]:
    module, _, function = entry.partition(":")
    found: Callable[..., Engine] = getattr(importlib.import_module(module), function)
    return found
