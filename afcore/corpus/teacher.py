"""The teacher that labels sounds no file name describes: EfficientAT `mn04_as` (Schmid et al., ICASSP 2023; MIT).

Training material only: its weights are never shipped. Layout: MobileNetV3-Large at width 0.4 with one input channel,
squeeze-excitation after the depthwise activation, and a mean over frequency and time as embedding.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from afcore.encoders.mini import EMBEDDING, LogMel, MiniEncoderNet

RATE = 32_000  # Hz
WIDTH = 384  # embedding
# kernel, expanded, out, squeeze-excitation, hardswish, stride: MobileNetV3-Large, table 1 (Howard et al., 2019)
TABLE = [
    (3, 16, 16, 0, 0, 1),
    (3, 64, 24, 0, 0, 2),
    (3, 72, 24, 0, 0, 1),
    (5, 72, 40, 1, 0, 2),
    (5, 120, 40, 1, 0, 1),
    (5, 120, 40, 1, 0, 1),
    (3, 240, 80, 0, 1, 2),
    (3, 200, 80, 0, 1, 1),
    (3, 184, 80, 0, 1, 1),
    (3, 184, 80, 0, 1, 1),
    (3, 480, 112, 1, 1, 1),
    (3, 672, 112, 1, 1, 1),
    (5, 672, 160, 1, 1, 2),
    (5, 960, 160, 1, 1, 1),
    (5, 960, 160, 1, 1, 1),
]


def make_divisible(value: float, divisor: int = 8) -> int:
    """Rounds channels to a multiple of `divisor`, never more than 10 % down (MobileNet's own rule)."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


class SqueezeExcitation(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        squeezed = make_divisible(channels / 4)
        layer = nn.Module()
        layer.fc1, layer.fc2 = nn.Linear(channels, squeezed), nn.Linear(squeezed, channels)
        self.conc_se_layers = nn.ModuleList([layer])

    def forward(self, x: Tensor) -> Tensor:
        fc = self.conc_se_layers[0]
        scale = fc.fc2(fc.fc1(x.mean((2, 3))).relu()).sigmoid()
        return x * scale[:, :, None, None]


def conv(cin: int, cout: int, kernel: int, stride: int, groups: int, act: type[nn.Module] | None) -> nn.Sequential:
    layers = [
        nn.Conv2d(cin, cout, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False),
        nn.BatchNorm2d(cout, eps=1e-3, momentum=0.01),
    ]
    return nn.Sequential(*layers, *([act()] if act else []))


class InvertedResidual(nn.Module):
    def __init__(self, cin: int, kernel: int, expanded: int, out: int, se: bool, act: type[nn.Module], stride: int):
        super().__init__()
        self.residual = stride == 1 and cin == out
        layers = [conv(cin, expanded, 1, 1, 1, act)] if expanded != cin else []
        layers.append(conv(expanded, expanded, kernel, stride, expanded, act))
        if se:
            layers.append(SqueezeExcitation(expanded))
        self.block = nn.Sequential(*layers, conv(expanded, out, 1, 1, 1, None))

    def forward(self, x: Tensor) -> Tensor:
        y = self.block(x)
        return x + y if self.residual else y


class Teacher(nn.Module):
    """mel (batch, 1, 128, frames) → AudioSet logits (batch, 527) and embedding (batch, 384)."""

    def __init__(self):
        super().__init__()

        def width(c):
            return make_divisible(c * 0.4)

        layers, cin = [conv(1, width(16), 3, 2, 1, nn.Hardswish)], width(16)
        for kernel, expanded, out, se, hs, stride in TABLE:
            layers.append(
                InvertedResidual(
                    cin, kernel, width(expanded), width(out), bool(se), nn.Hardswish if hs else nn.ReLU, stride
                )
            )
            cin = width(out)
        layers.append(conv(cin, 6 * cin, 1, 1, 1, nn.Hardswish))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(1),
            nn.Linear(6 * cin, 512),
            nn.Hardswish(),
            nn.Dropout(0.2),
            nn.Linear(512, 527),
        )

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.features(mel).mean((2, 3))
        return self.classifier[2:](embedding), embedding


class TeacherMel(nn.Module):
    """Samples (batch, T) at 32 kHz → (batch, 1, 128, frames); 10 ms hop, Kaldi-style triangles."""

    def __init__(self, n_mels: int = 128, fmax: float = 15_000.0):
        super().__init__()

        def to_mel(f):
            return 1127.0 * np.log1p(f / 700.0)

        edges = np.linspace(to_mel(0.0), to_mel(fmax), n_mels + 2)
        bins = to_mel(np.arange(512) * RATE / 1024)[None]
        left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
        bank = np.maximum(0, np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre)))
        bank = np.pad(bank, ((0, 0), (0, 1)))  # the Nyquist bin is unused
        self.register_buffer("bank", torch.tensor(bank, dtype=torch.float32), persistent=False)
        self.register_buffer("window", torch.hann_window(800, periodic=False), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        x = samples[:, 1:] - 0.97 * samples[:, :-1]
        spectrum = torch.stft(x, 1024, 320, 800, self.window, center=True, pad_mode="reflect", return_complex=True)
        mel = torch.log(self.bank @ spectrum.abs().square() + 1e-5)
        return ((mel + 4.5) / 5)[:, None]


def load_teacher(folder: str | Path) -> tuple[TeacherMel, Teacher]:
    """Reads `mn04_as_mAP_432.pt` from `folder` without unpickling code; raises RuntimeError on any key that
    differs."""
    model = Teacher()
    model.load_state_dict(torch.load(Path(folder) / "mn04_as_mAP_432.pt", map_location="cpu", weights_only=True))
    return TeacherMel().eval(), model.eval()


def folded_teacher(folder: str | Path) -> tuple[LogMel, MiniEncoderNet]:
    """The teacher's input and, in mini's own classes, the teacher, its norms folded into its convolutions."""
    _, teacher = load_teacher(folder)
    net = MiniEncoderNet(1.0)
    pairs, linears = [], []
    for module in teacher.modules():
        if isinstance(module, nn.Sequential) and len(module) > 1 and isinstance(module[1], nn.BatchNorm2d):
            pairs.append((module[0], module[1]))
        elif isinstance(module, nn.Linear):
            linears.append(module)
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        for conv, (kernel, norm) in zip(convs, pairs, strict=True):
            scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
            conv.weight.copy_(kernel.weight * scale[:, None, None, None])
            conv.bias.copy_(norm.bias - norm.running_mean * scale)
        for linear, taught in zip([m for m in net.modules() if isinstance(m, nn.Linear)], linears, strict=True):
            linear.load_state_dict(taught.state_dict())
    for module in net.modules():  # it is only asked, never fitted
        if isinstance(module, nn.Hardswish | nn.ReLU):
            module.inplace = True
    return LogMel().eval(), net.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def compare(got: np.ndarray, wanted: np.ndarray) -> dict[str, np.ndarray]:
    """Student's and teacher's features (n, 911) → for each sound: best tags agree, the teacher's best is among the
    student's three, correlation of the logits, cosine of the embeddings; each (n,) float."""
    z, t = got[:, EMBEDDING:], wanted[:, EMBEDDING:]
    best, order = t.argmax(1), np.argsort(-z, 1)

    def cosine(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x * y).sum(1) / np.maximum(np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1), 1e-12)

    return {
        "best": (order[:, 0] == best).astype(float),
        "three": (order[:, :3] == best[:, None]).any(1).astype(float),
        "logits": cosine(z - z.mean(1, keepdims=True), t - t.mean(1, keepdims=True)),
        "cosine": cosine(got[:, :EMBEDDING], wanted[:, :EMBEDDING]),
    }


def read_labels(csv_file: str | Path) -> list[str]:
    """The 527 AudioSet display names in output order."""
    with open(csv_file, newline="") as file:
        return [row["display_name"] for row in csv.DictReader(file)]
