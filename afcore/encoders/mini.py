"""Mini's audio encoder: a small residual CNN over log-mel frames, distilled from an AudioSet tagger (see `afcore.training.mini.distillation`).

One window of 32 kHz samples becomes 911 numbers: a 384-d embedding followed by the logits of the 527 AudioSet classes.
Pooling runs over the part of the window that holds sound (at least 1 s), so that a short sound is not diluted by its padding.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from afcore.audio.windows import MINI, WindowPlan
from afcore.checkpoints.rows import unpacked

RATE = 32_000  # Hz
N_FFT = 1024  # samples
HOP = 320  # samples: 100 frames per second
N_MELS = 64
EMBEDDING = 384
TAGS = 527  # AudioSet classes
STRIDE = 16  # frames per step of the last feature map
MIN_POOL = RATE  # samples: shorter sounds are pooled over 1 s


class LogMel(nn.Module):
    """Samples (N, T) at 32 kHz → log-mel (N, 1, 64, frames), roughly in −3 … 3."""

    def __init__(self):
        super().__init__()
        from librosa.filters import mel  # imported here: librosa pulls numba, which only this needs

        bank = mel(sr=RATE, n_fft=N_FFT, n_mels=N_MELS, fmin=40, fmax=15_000)
        self.register_buffer("bank", torch.from_numpy(bank), persistent=False)
        self.register_buffer("window", torch.hann_window(N_FFT), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        spectrum = torch.stft(
            samples, N_FFT, HOP, N_FFT, self.window, center=True, pad_mode="constant", return_complex=True
        )
        power = self.bank @ spectrum.abs().square()
        return ((torch.log(power + 1e-6) + 5.0) / 4.0)[:, None]


class Residual(nn.Module):
    """Two 3×3 convolutions with a shortcut; stride on the first (He et al., 2016)."""

    def __init__(self, cin: int, cout: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(cout)
        self.shortcut = nn.Identity()
        if stride > 1 or cin != cout:
            pool = nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity()
            self.shortcut = nn.Sequential(pool, nn.Conv2d(cin, cout, 1, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


class MiniEncoderNet(nn.Module):
    """Log-mel (N, 1, 64, frames) and pooled length (N,) in samples → features (N, 384 + 527)."""

    def __init__(self, channels: tuple[int, ...] = (32, 64, 128, 256), blocks: tuple[int, ...] = (1, 2, 2)):
        super().__init__()
        stem, *stages = channels
        layers: list[nn.Module] = [nn.Conv2d(1, stem, 3, 2, 1, bias=False), nn.BatchNorm2d(stem), nn.ReLU()]
        cin = stem
        for width, count in zip(stages, blocks):
            for i in range(count):
                layers.append(Residual(cin, width, 2 if i == 0 else 1))
                cin = width
        layers += [nn.Conv2d(cin, EMBEDDING, 1, bias=False), nn.BatchNorm2d(EMBEDDING), nn.Hardswish()]
        self.features = nn.Sequential(*layers)
        self.embedding = nn.Linear(EMBEDDING, EMBEDDING)
        self.tags = nn.Sequential(nn.Linear(EMBEDDING, 512), nn.Hardswish(), nn.Linear(512, TAGS))

    def forward(self, mel: Tensor, pooled: Tensor) -> Tensor:
        maps = self.features(mel).float().mean(2)  # (N, 384, steps)
        steps = torch.arange(maps.shape[-1], device=maps.device)
        keep = (steps[None] < (pooled.clamp(min=MIN_POOL) / (HOP * STRIDE)).ceil()[:, None]).float()
        mean = (maps * keep[:, None]).sum(-1) / keep.sum(-1, keepdim=True)
        return torch.cat([self.embedding(mean), self.tags(mean)], 1)


class MiniEncoder:
    """The `AudioEncoder` of mini: samples at 32 kHz → features (windows, 911)."""

    plan: WindowPlan = MINI
    width: int = EMBEDDING + TAGS

    def __init__(self, net: MiniEncoderNet, labels: list[str], device: str | torch.device = "cpu", name: str = "mini"):
        self.name = name  # under which banks keep features; it changes with the weights, so stale ones are never read
        self.device = torch.device(device)
        self.net, self.mel = net.eval().to(self.device), LogMel().to(self.device)
        self.labels = labels
        self.silence = torch.zeros(self.width)  # padded windows are masked, so their features never count

    @classmethod
    def load(cls, folder: str | Path, device: str | torch.device = "cpu") -> MiniEncoder:
        """Reads `encoder.safetensors` and `audioset.json` from `folder`; raises FileNotFoundError."""
        from safetensors.torch import load_file

        folder = Path(folder)
        settings = json.loads((folder / "encoder.json").read_text())
        net = MiniEncoderNet(tuple(settings["channels"]), tuple(settings["blocks"]))
        net.load_state_dict(unpacked(load_file(folder / "encoder.safetensors")))
        name = f"mini-{hashlib.sha256((folder / 'encoder.safetensors').read_bytes()).hexdigest()[:8]}"
        return cls(net, json.loads((folder / "audioset.json").read_text()), device, name)

    @torch.inference_mode()
    def embed_windows(self, windows: np.ndarray, valid: np.ndarray, batch: int = 16) -> Tensor:
        """windows (n, 224000) float32 and valid (n,) samples that exist → features (n, 911) on the CPU."""
        out = []
        for i in range(0, len(windows), batch):
            length = int(max(MIN_POOL, valid[i : i + batch].max()))  # nothing but padding lies beyond
            length = min(windows.shape[1], length + N_FFT)
            samples = torch.from_numpy(np.ascontiguousarray(windows[i : i + batch, :length])).to(self.device)
            pooled = torch.from_numpy(np.asarray(valid[i : i + batch])).to(self.device)
            out.append(self.net(self.mel(samples), pooled).float().cpu())
        return torch.cat(out)

    def embed(self, samples: np.ndarray) -> Tensor:
        """samples (T,) float32 at 32 kHz, peak-normalised → features (windows, 911)."""
        return self.embed_windows(*self.plan.cut(samples))

    @staticmethod
    def embedding_of(features: Tensor) -> Tensor:
        """features (…, 911) → embedding (…, 384)."""
        return features[..., :EMBEDDING]

    def names_tags(self) -> bool:
        """Yes: the classes of AudioSet, `labels`."""
        return True

    @staticmethod
    def tags(features: Tensor) -> Tensor:
        """features (n, 911) → probability of each AudioSet class anywhere in the clip (527,): the mean over windows
        of each class's probability, which keeps a sound that only one window holds visible without letting it lead."""
        return features[:, EMBEDDING:].float().sigmoid().mean(0)
