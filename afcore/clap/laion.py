"""LAION-CLAP (Wu et al. 2022, arXiv 2211.06687): the retrieval of the published model, by the `laion-clap` package.

The network and its text side are the package's own. Three of its habits are kept away from the rest of the program:
its import wants torchvision for image transforms that nothing here uses, its ``load_ckpt`` unpickles, and its mel
spectrogram for fusion models needs torchaudio (`transformers`' ``ClapFeatureExtractor`` computes the same one).
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import importlib.util
import pickle
import sys
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from afcore.audio.recording import normalise
from afcore.checkpoints import Broken, CheckpointError, without_progress_bars
from afcore.clap import Clap
from afcore.errors import MissingPart, first_line

if TYPE_CHECKING:
    from afcore.audio.recording import Clip

RATE = 48_000  # Hz
LENGTH = 10 * RATE  # samples that the network hears at once
LOWEST, HIGHEST = 50, 14_000  # Hz, its mel filterbank; transformers' extractor would begin at 0 Hz
SENTENCE_BATCH, CLIP_BATCH = 64, 16

HUB_FILES: dict[str, tuple[str, ...]] = {
    "bert-base-uncased": ("vocab.txt",),
    "facebook/bart-base": ("vocab.json", "merges.txt"),
    "roberta-base": ("config.json", "vocab.json", "merges.txt", "model.safetensors"),
}
"""What `import laion_clap` and its RoBERTa open on the hub, by repository: 0.5 GB, nearly all of it RoBERTa's weights
(MIT), which the checkpoint then replaces. Bert's (Apache-2.0) and Bart's (Apache-2.0) tokenizers are only opened."""

HTSAT_BY_WIDTH = {96: "HTSAT-tiny", 128: "HTSAT-base", 256: "HTSAT-large"}
"""Which of the package's audio encoders a checkpoint holds, by the width of its patch embedding."""

_lock = threading.Lock()  # over the import, and over numpy's global random state


def missing_hub_files() -> list[tuple[str, str]]:
    """(repository, file) of `HUB_FILES` that the local hub cache does not hold."""
    from huggingface_hub import try_to_load_from_cache

    return [
        (repository, name)
        for repository, names in HUB_FILES.items()
        for name in names
        if not isinstance(try_to_load_from_cache(repository, name), str)
    ]


@contextlib.contextmanager
def _torchvision_stand_in() -> Iterator[None]:
    """While `laion_clap` is imported, torchvision's names can be imported, though not used; afterwards it is gone.

    Modules have specs, since libraries look for packages by ``importlib.util.find_spec``, which wants one.
    """
    unused = type("NotInstalled", (), {"__doc__": "Stands in for a torchvision class that is never used here."})
    names = {
        "torchvision": (),
        "torchvision.datasets": (),
        "torchvision.ops": (),
        "torchvision.ops.misc": ("FrozenBatchNorm2d",),
        "torchvision.transforms": (
            "Normalize",
            "Compose",
            "RandomResizedCrop",
            "InterpolationMode",
            "ToTensor",
            "Resize",
            "CenterCrop",
        ),
    }
    modules = {}
    for name, attributes in names.items():
        module = modules[name] = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, loader=None, is_package=True)
        module.__path__ = []
        for attribute in attributes:
            setattr(module, attribute, unused)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(modules[parent], child, module)
    before = {name: sys.modules[name] for name in names if name in sys.modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]
        sys.modules.update(before)


def import_laion_clap() -> types.ModuleType:
    """The `laion_clap` package, imported at first use.

    Raises `MissingPart` where the package or the files that it opens while it is imported are absent.
    """
    if "laion_clap" in sys.modules and sys.modules["laion_clap"] is not None:
        return sys.modules["laion_clap"]
    with _lock:
        if sys.modules.get("laion_clap", "") is None or importlib.util.find_spec("laion_clap") is None:
            raise MissingPart("LAION-CLAP needs the package laion-clap: run `make run` again to install it.")
        absent = missing_hub_files()
        if absent:
            raise MissingPart(
                "LAION-CLAP needs "
                + ", ".join(f"{name} of {repository}" for repository, name in absent)
                + ": fetch them with `python -m afcore get laion-clap`."
            )
        # Everything of transformers that the package uses is loaded first, so that it never meets the stand-in.
        from transformers import BartModel, BartTokenizer, BertModel, BertTokenizer, RobertaModel, RobertaTokenizer  # noqa: F401

        path = list(sys.path)
        try:
            with _from_cache(), _torchvision_stand_in():
                import laion_clap
        except ImportError as error:
            raise MissingPart(f"The package laion-clap could not be loaded here: {_why(error)}.") from error
        finally:
            sys.path[:] = path  # the package appends its own folder, whose `training` would be found as a module
        return laion_clap


@contextlib.contextmanager
def _from_cache() -> Iterator[None]:
    """Inside, the package's `from_pretrained` calls read `HUB_FILES` from the local cache and never ask the network,
    which would tell the hub about every start here, and without a connection wait for it. Raises MissingPart for a file
    there that cannot be read."""
    from huggingface_hub import constants
    from safetensors import SafetensorError

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True  # the environment variable was read at its import
    try:
        with without_progress_bars():
            yield
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise MissingPart(
            f"LAION-CLAP could not be opened here ({_why(error)}): where a file in the hub's cache is damaged, "
            f"remove the folders of {', '.join(HUB_FILES)} there and run `python -m afcore get laion-clap`."
        ) from error
    finally:
        constants.HF_HUB_OFFLINE = before


def read_checkpoint(file: str | Path) -> dict[str, Tensor]:
    """The network's weights in a LAION-CLAP checkpoint, memory-mapped, ``module.`` prefixes taken off.

    Nothing is unpickled but tensors and plain numbers (training left numpy scalars in some files). Raises
    `MissingPart` where there is no file, `CheckpointError` where it is another or broken.
    """
    file = Path(file)
    if not file.is_file():
        raise MissingPart(f"LAION-CLAP's weights are not at {file}: fetch them with `python -m afcore get laion-clap`.")
    reduced = np.float64(0).__reduce__()
    assert isinstance(reduced, tuple), "as of everything that is pickled"
    scalar = reduced[0]  # builds a number again; files name it as numpy 1 or as numpy 2 does
    numbers: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
        np.dtype,
        *{type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8")},
    ]
    try:
        with torch.serialization.safe_globals(numbers):
            content = torch.load(file, map_location="cpu", mmap=True, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError) as error:
        raise Broken(f"{file.name} is not a LAION-CLAP checkpoint, or it is broken.") from error
    weights = content.get("state_dict", content) if isinstance(content, dict) else {}
    weights = {name.removeprefix("module."): value for name, value in weights.items() if isinstance(value, Tensor)}
    if "audio_branch.patch_embed.proj.weight" not in weights or "text_projection.0.weight" not in weights:
        raise CheckpointError(f"{file.name} is not a LAION-CLAP checkpoint: its audio and text branches are not in it.")
    # A buffer of positions 0, 1, … that RoBERTa computes since transformers 4.31.
    weights.pop("text_branch.embeddings.position_ids", None)
    return weights


class LaionClap(Clap):
    """A LAION-CLAP checkpoint as the `Clap` of retrieval; fusion and non-fusion files are told apart by their keys.

    ``file``: for the published model ``630k-audioset-fusion-best.pt`` of ``lukewys/laion_clap`` on the hub.
    A sound is heard as the published code hears it (`heard`): its first 10 s. ``whole`` departs from that: the mean
    over all its 10 s. Raises `MissingPart` or `CheckpointError` with the reason where it cannot run.
    """

    width = 512

    def __init__(self, file: str | Path, device: str | torch.device = "cpu", whole: bool = False):
        weights = read_checkpoint(file)
        self.whole = whole
        self.name = f"laion-clap/{Path(file).stem}, {'whole' if whole else 'first 10 s'}"
        self.fusion = any(name.startswith("audio_branch.patch_embed.fusion_model.") for name in weights)
        encoder = HTSAT_BY_WIDTH.get(len(weights["audio_branch.patch_embed.proj.weight"]))
        if encoder is None:
            raise CheckpointError(
                f"{Path(file).name} holds an audio encoder that the package laion-clap does not know."
            )
        self.package = import_laion_clap()
        with _from_cache():
            self.net = self.package.CLAP_Module(enable_fusion=self.fusion, device="cpu", amodel=encoder).eval()
        try:
            self.net.model.load_state_dict(weights)
        except RuntimeError as error:
            raise CheckpointError(f"{Path(file).name} does not fit the package laion-clap: {_why(error)}.") from error
        self.net.requires_grad_(False).to(device)

    def reads_features(self) -> bool:
        """No: it has an audio encoder of its own."""
        return False

    def audio(self, clip: Clip) -> np.ndarray:
        """A clip -> (512,) float32 unit vector."""
        return self.audios([clip])[0]

    @torch.inference_mode()
    def audios(self, clips: Sequence[Clip]) -> np.ndarray:
        """n clips -> (n, 512) float32 unit vectors; a clip's vector does not depend on the others of its batch."""
        vectors = [np.zeros((0, self.width), np.float32)]
        for first in range(0, len(clips), CLIP_BATCH):
            parts = [heard(clip.resampled(RATE).samples, self.whole) for clip in clips[first : first + CLIP_BATCH]]
            found = self.net.model.get_audio_embedding([self._inputs(part) for some in parts for part in some])
            each = np.split(found.float().cpu().numpy(), np.cumsum([len(some) for some in parts])[:-1])
            means = np.stack([rows.mean(0) for rows in each])
            vectors.append(means / np.linalg.norm(means, axis=1, keepdims=True).clip(min=1e-12))
        return np.concatenate(vectors)

    @torch.inference_mode()
    def text(self, texts: list[str]) -> np.ndarray:
        """k sentences -> (k, 512) float32 unit vectors; RoBERTa reads at most 77 tokens of each."""
        vectors = [np.zeros((0, self.width), np.float32)]
        for first in range(0, len(texts), SENTENCE_BATCH):
            vectors.append(self.net.get_text_embedding(list(texts[first : first + SENTENCE_BATCH])).astype(np.float32))
        return np.concatenate(vectors)

    def _inputs(self, samples: np.ndarray) -> dict[str, Tensor]:
        """What the package's network reads for one part of a sound (`heard`): samples (T,) at 48 kHz, at most 10 s,
        repeated up to that where shorter."""
        hook = sys.modules["laion_clap.hook"]
        with _fixed_draws():
            if not self.fusion:
                return hook.get_audio_features(
                    {},
                    torch.from_numpy(samples).float(),
                    LENGTH,
                    data_truncating="rand_trunc",
                    data_filling="repeatpad",
                    audio_cfg=self.net.model_cfg["audio_cfg"],
                )
            from transformers import ClapFeatureExtractor

            mel = ClapFeatureExtractor(frequency_min=LOWEST, frequency_max=HIGHEST)(
                samples,
                truncation="fusion",
                padding="repeatpad",
                sampling_rate=RATE,
                return_tensors="pt",
            )["input_features"][0]
        # The extractor marks one sound of a batch as long even where none is, as training did: not wanted here.
        return {"mel_fusion": mel.float(), "longer": torch.tensor([False])}


def heard(samples: np.ndarray, whole: bool = False) -> list[np.ndarray]:
    """What the network is given of a sound, samples (T,) at 48 kHz: as in the published code the first 10 s, scaled to
    a peak of 1 and rounded through 16 bits; silence stays silence, where that code gives NaN.

    ``whole``: every 10 s, each scaled by itself; the last part where it has at least 1 s.
    """
    starts = [0, *(range(LENGTH, len(samples) - RATE + 1, LENGTH) if whole else ())]
    return [normalise(samples[start : start + LENGTH]) for start in starts]


@contextlib.contextmanager
def _fixed_draws() -> Iterator[None]:
    """numpy's global random state, which the package and transformers draw from, seeded for a moment."""
    with _lock:
        state = np.random.get_state()
        np.random.seed(0)
        try:
            yield
        finally:
            np.random.set_state(state)


def _why(error: Exception) -> str:
    return first_line(error).rstrip(".: ")
