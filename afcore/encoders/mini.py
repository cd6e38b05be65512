"""Mini's audio encoder: a MobileNetV3 over log-mel frames, of the shape of the AudioSet tagger that it was fitted to
(see `afcore.training.mini.distillation`), from random weights.

One window of 32 kHz samples becomes 911 numbers: a 384-d embedding followed by the logits of the 527 AudioSet
classes. Only the part of a window that holds sound is heard (at least 1 s), so that a short sound is not diluted by
its padding.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from afcore.audio.windows import MINI, WindowPlan
from afcore.checkpoints.rows import unpacked
from afcore.hashing import sha256_of_file

Net = TypeVar("Net", bound=nn.Module)

RATE = 32_000  # Hz
N_FFT = 1024  # samples
FRAME = 800  # samples of a frame, in the middle of the transform
HOP = 320  # samples: 100 frames per second
N_MELS = 128
EMBEDDING = 384
TAGS = 527  # AudioSet classes
SHORTEST = RATE  # samples: shorter sounds are heard with silence up to 1 s
EPSILON = 1e-3  # of the norm layers
AT_ONCE = 8 * RATE  # samples that go through the network together: more are hardly quicker on a CPU, and take memory
AT_ONCE_ELSEWHERE = 128 * RATE  # the same on an accelerator

Frames = list[int] | None
"""How many frames each row of a batch has; None where all have as many as the batch."""

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
WIDTH = 0.4  # of the table's channels


def make_divisible(value: float, divisor: int = 8) -> int:
    """Rounds channels to a multiple of `divisor`, never more than 10 % down (MobileNet's own rule)."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def channels_last(net: Net) -> Net:
    """`net` itself, its weights laid out channels last, as convolutions on a CPU are quickest."""
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch declares it for tensors alone
    return net


class LogMel(nn.Module):
    """Samples (N, T) at 32 kHz → log-mel (N, 1, 128, frames), roughly in −1.4 … 2; Kaldi's triangles, 10 ms hop."""

    bank: Tensor
    window: Tensor

    def __init__(self) -> None:
        super().__init__()

        def to_mel(hertz: np.ndarray | float) -> np.ndarray:
            return 1127.0 * np.log1p(np.asarray(hertz) / 700.0)

        edges = np.linspace(0.0, to_mel(15_000.0), N_MELS + 2)
        bins = to_mel(np.arange(N_FFT // 2) * RATE / N_FFT)[None]
        left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
        bank = np.maximum(0, np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre)))
        bank = np.pad(bank, ((0, 0), (0, 1)))  # the Nyquist bin is unused
        self.register_buffer("bank", torch.tensor(bank, dtype=torch.float32), persistent=False)
        self.register_buffer("window", torch.hann_window(FRAME, periodic=False), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        x = samples[:, 1:] - 0.97 * samples[:, :-1]
        spectrum = torch.stft(x, N_FFT, HOP, FRAME, self.window, center=True, pad_mode="reflect", return_complex=True)
        mel = torch.log(self.bank @ (spectrum.real.square() + spectrum.imag.square()) + 1e-5)
        return ((mel + 4.5) / 5)[:, None]


class ConvAct(nn.Module):
    """A convolution with bias, and what follows it."""

    def __init__(self, cin: int, cout: int, kernel: int, stride: int, groups: int, act: Callable[[], nn.Module]):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, kernel, stride, (kernel - 1) // 2, groups=groups)
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv(x))


def silence_(x: Tensor, frames: Frames) -> Tensor:
    """``x`` (N, C, H, T) itself with nothing after each row's frames, as a convolution finds it beyond the end."""
    for row, length in enumerate(frames or ()):
        x[row, :, :, length:] = 0
    return x


def mean_of_map(x: Tensor, frames: Frames) -> Tensor:
    """x (N, C, H, T) → (N, C), over each row's own frames."""
    if frames is None:
        return x.mean((2, 3))
    return silence_(x, frames).sum((2, 3)) / (x.shape[2] * torch.tensor(frames, device=x.device)[:, None])


class SqueezeExcitation(nn.Module):
    """Scales channels by what the whole map holds (Hu et al., 2018)."""

    def __init__(self, channels: int):
        super().__init__()
        squeezed = make_divisible(channels / 4)
        self.fc1, self.fc2 = nn.Linear(channels, squeezed), nn.Linear(squeezed, channels)

    def forward(self, x: Tensor, frames: Frames = None) -> Tensor:
        return x * self.fc2(self.fc1(mean_of_map(x, frames)).relu()).sigmoid()[:, :, None, None]


def convolution(layer: nn.Module) -> nn.Conv2d:
    """The convolution in a `ConvAct` or its like."""
    conv = layer.get_submodule("conv")
    assert isinstance(conv, nn.Conv2d), "whoever makes them names it so"
    return conv


def after(layer: nn.Module, frames: list[int]) -> list[int]:
    """How many frames of each row ``layer`` gives, for so many that it is given."""
    return [(length - 1) // convolution(layer).stride[1] + 1 for length in frames]


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, squeeze-excitation, projection (Sandler et al., 2018)."""

    def __init__(
        self,
        cin: int,
        kernel: int,
        expanded: int,
        out: int,
        excite: bool,
        act: Callable[[], nn.Module],
        stride: int,
        conv: Callable[..., nn.Module],
    ):
        super().__init__()
        self.residual = stride == 1 and cin == out
        layers = [conv(cin, expanded, 1, 1, 1, act)] if expanded != cin else []
        layers.append(conv(expanded, expanded, kernel, stride, expanded, act))
        if excite:
            layers.append(SqueezeExcitation(expanded))
        self.block = nn.Sequential(*layers, conv(expanded, out, 1, 1, 1, nn.Identity))

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, H, T) → the same, T divided by the stride."""
        y: Tensor = self.block(x)
        return x + y if self.residual else y

    def unequal(self, x: Tensor, frames: list[int]) -> tuple[Tensor, list[int]]:
        """As `forward`, of rows of unequal length; and the frames of each row then."""
        y = x
        for layer in self.block:
            if isinstance(layer, SqueezeExcitation):
                y = layer(y, frames)
                continue
            if convolution(layer).kernel_size != (1, 1):  # what mixes frames must find nothing after the end
                silence_(y, frames)
            y = layer(y)
            frames = after(layer, frames)
        return (x + y if self.residual else y), frames


class MiniEncoderNet(nn.Module):
    """Log-mel (N, 1, 128, frames) → features (N, 384 + 527).

    The widths between blocks are those of MobileNetV3-Large at 0.4; inside the blocks `grow` times as wide. The
    classifier has `hidden` values between its two layers. `conv` makes the convolutions: while training they hold norm
    layers, which are folded into the convolutions that ship.
    """

    def __init__(self, grow: float = 1.5, hidden: int = 512, conv: Callable[..., nn.Module] = ConvAct):
        super().__init__()

        def width(channels: int) -> int:
            return make_divisible(channels * WIDTH)

        cin = width(16)
        layers = [conv(1, cin, 3, 2, 1, nn.Hardswish)]
        for kernel, expanded, out, excite, hard, stride in TABLE:
            layers.append(
                InvertedResidual(
                    cin,
                    kernel,
                    make_divisible(width(expanded) * grow),
                    width(out),
                    bool(excite),
                    nn.Hardswish if hard else nn.ReLU,
                    stride,
                    conv,
                )
            )
            cin = width(out)
        self.features = nn.Sequential(*layers, conv(cin, EMBEDDING, 1, 1, 1, nn.Hardswish))
        self.tags = nn.Sequential(nn.Linear(EMBEDDING, hidden), nn.Hardswish(), nn.Linear(hidden, TAGS))

    def forward(self, mel: Tensor, frames: Frames = None) -> Tensor:
        """``frames``: how many of each row there are, where rows are of unequal length: each then comes out as alone,
        up to rounding. None: all."""
        x = silence_(mel, frames)
        for layer in self.features:
            if frames is None:
                x = layer(x)
            elif isinstance(layer, InvertedResidual):
                x, frames = layer.unequal(x, frames)
            else:
                x, frames = layer(x), after(layer, frames)
        embedding = mean_of_map(x, frames)
        return torch.cat([embedding, self.tags(embedding)], 1)


class MiniEncoder:
    """The `AudioEncoder` of mini: samples at 32 kHz → features (windows, 911).

    `scale`, `shift` (384,): an embedding is handed on as `embedding * scale + shift`. The language side was trained
    on the embeddings of an earlier encoder, which were fitted to the same teacher's but standardised; these two bring
    each value to where the language side knows it.
    """

    plan: WindowPlan = MINI
    width: int = EMBEDDING + TAGS

    def __init__(
        self,
        net: MiniEncoderNet,
        labels: list[str],
        device: str | torch.device = "cpu",
        name: str = "mini",
        scale: Tensor | None = None,
        shift: Tensor | None = None,
    ):
        self.name = name  # under which banks keep features; it changes with the weights, so stale ones are never read
        self.device = torch.device(device)
        self.net = channels_last(net.eval().to(self.device))
        self.mel = LogMel().to(self.device)
        self.labels = labels
        self.scale = torch.ones(EMBEDDING) if scale is None else scale
        self.shift = torch.zeros(EMBEDDING) if shift is None else shift
        self.silence = torch.zeros(self.width)  # padded windows are masked, so their features never count

    @classmethod
    def load(cls, folder: str | Path, device: str | torch.device = "cpu") -> MiniEncoder:
        """Reads `encoder.safetensors`, `encoder.json` and `audioset.json` from `folder`; raises FileNotFoundError."""
        from safetensors.torch import load_file

        folder = Path(folder)
        settings = json.loads((folder / "encoder.json").read_text())
        state = unpacked(load_file(folder / "encoder.safetensors"))
        scale, shift = state.pop("output_scale"), state.pop("output_shift")
        net = MiniEncoderNet(settings["grow"], len(state["tags.0.weight"]))
        net.load_state_dict(state)
        name = f"mini-{sha256_of_file(folder / 'encoder.safetensors')[:8]}"
        return cls(net, json.loads((folder / "audioset.json").read_text()), device, name, scale, shift)

    @torch.inference_mode()
    def hear(self, samples: Tensor) -> Tensor:
        """Samples (n, T) at 32 kHz, at least 1 s → the network's own features (n, 911) on the CPU, not moved by
        `scale` and `shift`."""
        return self.hear_each(list(samples))

    @torch.inference_mode()
    def hear_each(self, sounds: Sequence[Tensor]) -> Tensor:
        """As `hear`, of sounds (T,) of any lengths from 1 s on, at once: (n, 911)."""
        lengths = {len(sound) for sound in sounds}
        if len(lengths) == 1:
            mel, frames = self.mel(torch.stack(list(sounds)).to(self.device)), None
        else:
            each = [self.mel(sound[None].to(self.device))[0] for sound in sounds]
            frames = [mel.shape[-1] for mel in each]
            mel = torch.stack([F.pad(one, (0, max(frames) - one.shape[-1])) for one in each])
        return self.net(mel.contiguous(memory_format=torch.channels_last), frames).float().cpu()

    def embed_windows(self, windows: np.ndarray, valid: np.ndarray) -> Tensor:
        """windows (n, 224000) float32 and valid (n,) samples that exist → features (n, 911) on the CPU.

        What lies beyond `valid` is never heard: each comes out as the sound alone, up to rounding.
        """
        return self._features([row[:length] for row, length in zip(windows, valid.tolist(), strict=True)])

    def _features(self, sounds: Sequence[np.ndarray]) -> Tensor:
        """Sounds (T,) of at most a window each → features (n, 911); the longest first, so that those which go together
        are of like length."""
        out = torch.empty(len(sounds), self.width)
        order = sorted(range(len(sounds)), key=lambda i: -len(sounds[i]))
        room = AT_ONCE if self.device.type == "cpu" else AT_ONCE_ELSEWHERE
        while order:
            most = max(1, room // max(SHORTEST, len(sounds[order[0]])))
            some, order = order[:most], order[most:]
            heard = [torch.from_numpy(np.pad(sounds[j], (0, max(0, SHORTEST - len(sounds[j]))))) for j in some]
            out[some] = self.hear_each(heard)
        out[:, :EMBEDDING] = out[:, :EMBEDDING] * self.scale + self.shift
        return out

    def embed(self, samples: np.ndarray) -> Tensor:
        """samples (T,) float32 at 32 kHz, peak-normalised → features (windows, 911)."""
        return self.embed_many([samples])[0]

    def embed_many(self, sounds: Sequence[np.ndarray]) -> list[Tensor]:
        """As `embed` for each of several sounds, whose windows go through the network together, of whatever length they
        are."""
        cuts = [self.plan.cut(samples) for samples in sounds]
        pieces = [row[:length] for windows, valid in cuts for row, length in zip(windows, valid.tolist(), strict=True)]
        return list(self._features(pieces).split([len(windows) for windows, _ in cuts]))

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
        of each class's probability, which keeps a sound that only one window holds visible without letting it
        lead."""
        return features[:, EMBEDDING:].float().sigmoid().mean(0)
