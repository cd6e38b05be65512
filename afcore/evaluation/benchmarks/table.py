"""Which benchmarks there are. Another one is another small file and its name here."""

from __future__ import annotations

from importlib import import_module

from afcore.errors import BadRequest
from afcore.evaluation.benchmarks.item import Benchmark

FILES = {
    "clotho-v2": "clotho",
    "clotho-aqa": "clotho_aqa",
    "audiocaps": "audiocaps",
    "musiccaps": "musiccaps",
    "lp-musiccaps-mc": "lp_musiccaps",
    "lp-musiccaps-mtt": "lp_musiccaps",
    "nsynth-instrument": "nsynth",
    "nsynth-source": "nsynth",
    "nsynth-quality": "nsynth",
    "fsd50k": "fsd50k",
    "medley-solos-db": "medley_solos",
    "music-avqa": "music_avqa",
    "cochlscene": "cochlscene",
    "nonspeech7k": "nonspeech7k",
    "crema-d": "crema_d",
    "ravdess": "ravdess",
    "urbansound8k": "urbansound8k",
    "gtzan": "gtzan",
    "esc-50": "esc50",
    "bg-gun-sound": "bg_gun_sound",
    "audioset": "audioset",
    "af-dialogue-audiosetsl": "af_dialogue",
    "af-dialogue-musiccaps": "af_dialogue",
    "folder": "folder",
}
"""Name on the command line -> file here; read without importing any of them."""


def benchmark(name: str) -> Benchmark:
    """Raises BadRequest where there is none of that name."""
    if name not in FILES:
        raise BadRequest(f"There is no benchmark “{name}”: choose among {', '.join(FILES)}.")
    module = import_module(f"afcore.evaluation.benchmarks.{FILES[name]}")
    found: Benchmark = next(one for one in module.BENCHMARKS if one.name == name)
    return found
