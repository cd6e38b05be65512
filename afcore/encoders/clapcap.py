"""ClapCap, the published model's audio encoder: Microsoft CLAP's captioning model (`clapcap_weights_2023.pth`,
Elizalde et al. 2023), an HTSAT and a projection, kept frozen (Audio Flamingo paper section 3.1)."""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import ClapAudioConfig, ClapAudioModel

from afcore.audio.windows import PUBLISHED, WindowPlan
from afcore.checkpoints import CheckpointError
from afcore.checkpoints.files import read_torch
from afcore.hashing import sha256_of_file

N_FFT = 1024  # samples, also the length of the Hann window
HOP = 320  # samples: 965 frames for a window of 7 s
MELS = 64
MEL_RANGE = 50.0, 14_000.0  # Hz
MEL_RATE = 32_000  # Hz. The samples are at 44,100 Hz: the released weights were trained with this mismatch.
WINDOWS_AT_ONCE = 8  # windows per forward pass, to bound memory

# Published name -> transformers' name, applied in this order to what follows `clap.base.htsat.`.
RENAMES = (
    (r"^bn0\.", "batch_norm."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.attn\.relative_position_bias_table$", ".attention.self.relative_position_bias_table"),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
)
# What the encoder computes for itself, and the tagging head that captioning does not use.
DROPPED = re.compile(
    r"^(spectrogram_extractor|logmel_extractor|tscam_conv|head)\.|\.(relative_position_index|attn_mask)$"
)


class LogMel(nn.Module):
    """Samples (B, T) at 44.1 kHz -> log-mel in dB (B, 1, frames, 64), as `ClapAudioModel` takes it."""

    filters: Tensor
    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        from librosa.filters import mel  # librosa takes a second to import

        filters = mel(sr=MEL_RATE, n_fft=N_FFT, n_mels=MELS, fmin=MEL_RANGE[0], fmax=MEL_RANGE[1])
        self.register_buffer("filters", torch.from_numpy(filters), persistent=False)
        self.register_buffer("window", torch.hann_window(N_FFT), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        spectrum = torch.stft(
            samples, N_FFT, HOP, window=self.window, center=True, pad_mode="reflect", return_complex=True
        )
        power = spectrum.real.square() + spectrum.imag.square()
        return 10 * (self.filters @ power).clamp_min(1e-10).log10().transpose(1, 2)[:, None]


class Projection(nn.Module):
    """(B, 768) -> (B, 1024), the embedding that Audio Flamingo reads."""

    def __init__(self) -> None:
        super().__init__()
        self.linear1 = nn.Linear(768, 1024, bias=False)
        self.linear2 = nn.Linear(1024, 1024, bias=False)
        self.layer_norm = nn.LayerNorm(1024)

    def forward(self, x: Tensor) -> Tensor:
        first = self.linear1(x)
        return self.layer_norm(first + self.linear2(F.gelu(first)))


class ClapCap(nn.Module):
    """The published `AudioEncoder`: one 1024-d embedding per 7 s window at 44.1 kHz. Always float32."""

    plan: WindowPlan = PUBLISHED
    width: int = 1024
    labels: tuple[str, ...] = ()

    def __init__(self, name: str = "clapcap"):
        super().__init__()
        self.name = name
        self.log_mel = LogMel()
        self.htsat = ClapAudioModel(ClapAudioConfig())
        self.projection = Projection()
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "ClapCap":
        """Stays in evaluation mode: its batch norm and drop path must not move."""
        return super().train(False)

    def names_tags(self) -> bool:
        """No: its tagging head was not published."""
        return False

    def tags(self, features: Tensor) -> Tensor:
        """Raises TypeError."""
        raise TypeError("ClapCap names no classes")

    @classmethod
    def from_published(cls, tensors: Mapping[str, Tensor], name: str = "clapcap") -> "ClapCap":
        """From the entries of `clapcap_weights_2023.pth`'s `model`; those outside `clap.` are not used.
        Raises CheckpointError naming missing, unexpected or misshapen entries."""
        encoder = cls(name)
        state, unexpected = {}, []
        expected = {key: value for key, value in encoder.state_dict().items() if not DROPPED.search(key)}
        optional = {key for key in expected if key.endswith("num_batches_tracked")}
        for key, tensor in tensors.items():
            for ours, value in _ours(key, tensor):
                if ours not in expected:
                    unexpected.append(key)
                elif value.shape != expected[ours].shape:
                    raise CheckpointError(
                        f"This ClapCap file's {key} has shape {tuple(tensor.shape)}, which does not fit."
                    )
                else:
                    state[ours] = value
        missing = [key for key in expected if key not in state and key not in optional]
        if missing or unexpected:
            raise CheckpointError(
                "This is not the ClapCap file clapcap_weights_2023.pth: "
                + " and ".join(
                    f"{what} {', '.join(keys[:5])}{' …' if len(keys) > 5 else ''}"
                    for what, keys in (("it lacks", missing), ("it has unexpected", unexpected))
                    if keys
                )
                + "."
            )
        encoder.load_state_dict(state, strict=False)
        return encoder

    @classmethod
    def load(cls, path: str | Path) -> "ClapCap":
        """From `clapcap_weights_2023.pth`, or from the `safetensors` file that conversion makes of it, whose content
        names it: features of other weights must never be taken for its own."""
        path = Path(path)
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return cls.from_published(load_file(path), f"clapcap-{sha256_of_file(path)[:12]}")
        content = read_torch(path)
        if not isinstance(content.get("model"), Mapping):
            raise CheckpointError(f"{path.name} is not the ClapCap file clapcap_weights_2023.pth: it has no “model”.")
        return cls.from_published(content["model"])

    def latent(self, windows: Tensor) -> Tensor:
        """Windows (B, T) float32 samples at 44.1 kHz -> HTSAT's clip embedding (B, 768)."""
        return self.htsat(self.log_mel(windows)).pooler_output

    def forward(self, windows: Tensor) -> Tensor:
        """Windows (B, T) float32 samples at 44.1 kHz -> embeddings (B, 1024)."""
        return self.projection(self.latent(windows))

    @cached_property
    def silence(self) -> Tensor:
        """(1024,) embedding of an all-zero window: what the published model sees in padded places.
        Computed once, on the device that the encoder is on at that time."""
        with torch.inference_mode():
            return self(torch.zeros(1, self.plan.window, device=self.log_mel.window.device))[0].clone()

    def embed_many(self, sounds: Sequence[np.ndarray]) -> list[Tensor]:
        """As `embed` for each."""
        return [self.embed(samples) for samples in sounds]

    @torch.inference_mode()
    def embed(self, samples: np.ndarray) -> Tensor:
        """Samples (T,) float32 at 44.1 kHz, normalised -> (n, 1024), on the encoder's device."""
        windows, _ = self.plan.cut(samples)
        sounding = np.flatnonzero(windows.any(1))
        out = self.silence.repeat(len(windows), 1)
        for some in np.array_split(sounding, -(-len(sounding) // WINDOWS_AT_ONCE) or 1):
            if len(some):
                out[some] = self(torch.from_numpy(windows[some]).to(out.device))
        return out


def _ours(key: str, tensor: Tensor) -> list[tuple[str, Tensor]]:
    """What a published entry becomes here: nothing, one entry, or three (queries, keys, values)."""
    if key.startswith("clap.projection."):
        return [(key.removeprefix("clap."), tensor)]
    if not key.startswith("clap."):
        return []
    name = key.removeprefix("clap.base.htsat.")
    if DROPPED.search(name):
        return []
    for pattern, replacement in RENAMES:
        name = re.sub(pattern, replacement, name)
    name = "htsat.audio_encoder." + name
    if ".attn.qkv." in name:
        parts = tensor.chunk(3, 0)
        return [
            (name.replace(".attn.qkv.", f".attention.self.{part}."), value)
            for part, value in zip(("query", "key", "value"), parts, strict=True)
        ]
    return [(name, tensor)]
