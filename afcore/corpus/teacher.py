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

from afcore.encoders.mini import EMBEDDING, LogMel, MiniEncoderNet, channels_last

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


class Squeeze(nn.Module):
    """(batch, channels) → the scale of each channel, 0 to 1."""

    def __init__(self, channels: int):
        super().__init__()
        squeezed = make_divisible(channels / 4)
        self.fc1, self.fc2 = nn.Linear(channels, squeezed), nn.Linear(squeezed, channels)

    def forward(self, means: Tensor) -> Tensor:
        return self.fc2(self.fc1(means).relu()).sigmoid()


class SqueezeExcitation(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conc_se_layers = nn.ModuleList([Squeeze(channels)])  # the weights' own name for it

    def forward(self, x: Tensor) -> Tensor:
        scale = self.conc_se_layers[0](x.mean((2, 3)))
        return x * scale[:, :, None, None]


def conv(cin: int, cout: int, kernel: int, stride: int, groups: int, act: type[nn.Module] | None) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(cin, cout, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False),
        nn.BatchNorm2d(cout, eps=1e-3, momentum=0.01),
    ]
    return nn.Sequential(*layers, *([act()] if act else []))


class InvertedResidual(nn.Module):
    def __init__(self, cin: int, kernel: int, expanded: int, out: int, se: bool, act: type[nn.Module], stride: int):
        super().__init__()
        self.residual = stride == 1 and cin == out
        layers: list[nn.Module] = [conv(cin, expanded, 1, 1, 1, act)] if expanded != cin else []
        layers.append(conv(expanded, expanded, kernel, stride, expanded, act))
        if se:
            layers.append(SqueezeExcitation(expanded))
        self.block = nn.Sequential(*layers, conv(expanded, out, 1, 1, 1, None))

    def forward(self, x: Tensor) -> Tensor:
        y = self.block(x)
        return x + y if self.residual else y


class Teacher(nn.Module):
    """mel (batch, 1, 128, frames) → AudioSet logits (batch, 527) and embedding (batch, 384)."""

    def __init__(self) -> None:
        super().__init__()

        def width(channels: int) -> int:
            return make_divisible(channels * 0.4)

        cin = width(16)
        layers: list[nn.Module] = [conv(1, cin, 3, 2, 1, nn.Hardswish)]
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

    bank: Tensor
    window: Tensor

    def __init__(self, n_mels: int = 128, fmax: float = 15_000.0):
        super().__init__()

        def to_mel(hertz: np.ndarray | float) -> np.ndarray:
            return 1127.0 * np.log1p(np.asarray(hertz) / 700.0)

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


def folded_norm(kernel: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution that does what a convolution by `kernel` and then `norm`, its statistics
    frozen, do together."""
    assert norm.running_mean is not None and norm.running_var is not None, "it keeps statistics"
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return kernel * scale[:, None, None, None], norm.bias - norm.running_mean * scale


def folded_teacher(folder: str | Path) -> tuple[LogMel, MiniEncoderNet]:
    """The teacher's input and, in mini's own classes, the teacher, its norms folded into its convolutions."""
    _, teacher = load_teacher(folder)
    net = MiniEncoderNet(1.0)
    pairs: list[tuple[Tensor, nn.BatchNorm2d]] = []
    linears: list[nn.Linear] = []
    for module in teacher.modules():
        if isinstance(module, nn.Sequential) and len(module) > 1 and isinstance(module[1], nn.BatchNorm2d):
            pairs.append((module[0].get_parameter("weight"), module[1]))
        elif isinstance(module, nn.Linear):
            linears.append(module)
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        for conv, (kernel, norm) in zip(convs, pairs, strict=True):
            weight, bias = folded_norm(kernel, norm)
            conv.weight.copy_(weight)
            conv.get_parameter("bias").copy_(bias)
        for linear, taught in zip([m for m in net.modules() if isinstance(m, nn.Linear)], linears, strict=True):
            linear.load_state_dict(taught.state_dict())
    for module in net.modules():  # it is only asked, never fitted
        if isinstance(module, nn.Hardswish | nn.ReLU):
            module.inplace = True
    return LogMel().eval(), channels_last(net.eval().requires_grad_(False))


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
