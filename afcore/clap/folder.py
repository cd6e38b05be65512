"""`transformers`' CLAP from a folder, as `save_pretrained` writes it or as the hub has it (``laion/clap-htsat-fused``,
``laion/larger_clap_music``, …). Only safetensors are read, and nothing is fetched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from afcore.audio.recording import normalise
from afcore.checkpoints import CheckpointError, without_progress_bars
from afcore.clap import Clap
from afcore.errors import MissingPart, first_line
from afcore.hashing import sha256_of_known

if TYPE_CHECKING:
    from afcore.audio.recording import Clip

WEIGHTS = "model.safetensors"
WHOLE = 2**30  # bytes: a larger file is named by pieces of it
MOST_TOKENS = 77  # that LAION-CLAP's text side was trained with


class FolderClap(Clap):
    """The `Clap` in ``folder``: ``config.json``, ``model.safetensors``, the feature extractor's and tokenizer's files.

    A sound is heard as the published code has LAION-CLAP hear it: its first 10 s, scaled to a peak of 1. Raises
    MissingPart where something is not there, CheckpointError where it cannot be read.
    """

    def __init__(self, folder: str | Path, device: str | torch.device = "cpu"):
        from transformers import AutoConfig, AutoTokenizer, ClapFeatureExtractor, ClapModel

        folder = Path(folder).expanduser()
        for name in ("config.json", WEIGHTS):
            if not (folder / name).is_file():
                raise MissingPart(f"{name} is missing in {folder}: a CLAP is read from safetensors alone.")

        def read(loads: Callable[..., Any], **more: Any) -> Any:
            try:
                with without_progress_bars():
                    return loads(folder, local_files_only=True, **more)
            except Exception as error:  # whatever transformers raises for files that are damaged or not its own
                why = first_line(error).rstrip(".: ")
                raise CheckpointError(f"The CLAP in {folder} cannot be read: {why}.") from error

        config = read(AutoConfig.from_pretrained)
        if config.model_type != "clap":
            raise CheckpointError(f"The model in {folder} is no CLAP but “{config.model_type}”.")
        self.device = torch.device(device)
        self.net = read(ClapModel.from_pretrained, use_safetensors=True).eval().requires_grad_(False).to(self.device)
        self.extractor = read(ClapFeatureExtractor.from_pretrained)
        self.tokenizer = read(AutoTokenizer.from_pretrained)
        self.width: int = config.projection_dim
        self.name = f"clap/{folder.resolve().name}-{sha256_of_known(folder / WEIGHTS, WHOLE)[:12]}"

    def reads_features(self) -> bool:
        """No: it has an audio encoder of its own."""
        return False

    @torch.inference_mode()
    def audio(self, clip: Clip) -> np.ndarray:
        """A clip -> (d,) float32 unit vector."""
        rate: int = self.extractor.sampling_rate
        samples = normalise(clip.resampled(rate).samples[: self.extractor.nb_max_samples])
        made = self.extractor(samples, sampling_rate=rate, return_tensors="pt")
        # The extractor marks one sound of a batch as long even where none is, as training did: not wanted here.
        longer = torch.zeros_like(made["is_longer"])
        features = made["input_features"].to(self.device)
        read = self.net.audio_model(input_features=features, is_longer=longer.to(self.device))
        found: np.ndarray = self._unit(self.net.audio_projection(read.pooler_output))[0]
        return found

    @torch.inference_mode()
    def text(self, texts: list[str]) -> np.ndarray:
        """k sentences -> (k, d) float32 unit vectors; at most 77 tokens of each are read."""
        if not texts:
            return np.zeros((0, self.width), np.float32)
        asked = self.tokenizer(texts, padding=True, truncation=True, max_length=MOST_TOKENS, return_tensors="pt")
        read = self.net.text_model(**{name: value.to(self.device) for name, value in asked.items()})
        return self._unit(self.net.text_projection(read.pooler_output))

    def _unit(self, vectors: torch.Tensor) -> np.ndarray:
        return np.asarray(F.normalize(vectors.float(), dim=-1).cpu().numpy(), np.float32)
