"""Audio Flamingo: few-shot listening, question answering and dialogue about sounds (arXiv 2402.01831).

>>> import afcore
>>> engine = afcore.load_engine()
>>> print(engine.ask(engine.hear_file("dog.ogg"), "What is this?").text)

What stands here is imported when it is first used, so that `import afcore` loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from afcore._version import __version__

if TYPE_CHECKING:
    from afcore.audio.recording import Clip, Recording, from_samples, open_recording
    from afcore.engine.engine import Engine
    from afcore.engine.loading import load_engine
    from afcore.errors import AfcoreError
    from afcore.model.generation import GenerationSettings
    from afcore.retrieval.bank import Bank

__all__ = [
    "AfcoreError",
    "Bank",
    "Clip",
    "Engine",
    "GenerationSettings",
    "Recording",
    "__version__",
    "from_samples",
    "load_engine",
    "open_recording",
]

_MODULES = {
    "AfcoreError": "afcore.errors",
    "Bank": "afcore.retrieval.bank",
    "Clip": "afcore.audio.recording",
    "Engine": "afcore.engine.engine",
    "GenerationSettings": "afcore.model.generation",
    "Recording": "afcore.audio.recording",
    "from_samples": "afcore.audio.recording",
    "load_engine": "afcore.engine.loading",
    "open_recording": "afcore.audio.recording",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
