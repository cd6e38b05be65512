"""Which of a file's channels is heard.

The published code hears the first channel, and so does *auto* as long as a person who plays the file hears the same.
Where the first one is silent or has nothing in common with the others (a microphone that was not plugged in, a channel
of hiss or of time code), the mix is heard instead.
"""

from dataclasses import dataclass, field

import numpy as np

AUTO, ONE, MIX = "auto", "one", "mix"
SILENT_DB = -40.0
"""A first channel so much below the loudest is called silent: what is in it has leaked in from the others."""
ALIKE = 0.1
"""Least correlation, with either sign, of the first channel with one other that it must have something in common
with."""
_BATCH = 65_536  # samples that are looked at together, since frames are small


class ChannelStats:
    """How the channels of a sound of unknown length go together; takes it block by block."""

    def __init__(self, channels: int):
        self._count = 0
        self._sum = np.zeros(channels)
        self._products = np.zeros((channels, channels))
        self._waiting: list[np.ndarray] = []
        self._waiting_samples = 0

    def add(self, samples: np.ndarray) -> None:
        """Takes ``samples`` (C, T) float32; those of another number of channels are passed over."""
        if len(samples) != len(self._sum):
            return
        self._waiting.append(samples)
        self._waiting_samples += samples.shape[1]
        if self._waiting_samples >= _BATCH:
            self._drain()

    def _drain(self) -> None:
        if not self._waiting:
            return
        samples = np.concatenate(self._waiting, axis=1).astype(np.float64)
        self._count += samples.shape[1]
        self._sum += samples.sum(axis=1)
        self._products += samples @ samples.T
        self._waiting, self._waiting_samples = [], 0

    def covariance(self) -> np.ndarray:
        """(C, C) float64, of the samples without their mean; zeros where there were none."""
        self._drain()
        if not self._count:
            return self._products
        mean = self._sum / self._count
        return self._products / self._count - np.outer(mean, mean)


@dataclass(frozen=True)
class ChannelChoice:
    """What is heard of several channels."""

    rule: str | int
    """`AUTO`, `ONE`, `MIX`, or a channel's number from 1."""
    mix: bool = False
    number: int = 1
    """The channel that is heard where ``mix`` is not set, from 1."""
    why: str = field(default="", compare=False)
    """For `AUTO` with a mix: what is wrong with the first channel, as the beginning of a sentence."""

    def of(self, samples: np.ndarray) -> np.ndarray:
        """(T,) float32 of ``samples`` (C, T) float32."""
        if self.mix and len(samples) > 1:
            mixed: np.ndarray = samples.mean(axis=0, dtype=np.float32)
            return mixed
        one: np.ndarray = samples[min(self.number, len(samples)) - 1]
        return one

    @property
    def mark(self) -> str:
        """Tells clips of one stretch of one file apart; '' for the first channel."""
        return "mix" if self.mix else "" if self.number == 1 else f"channel {self.number}"


def choose(rule: str | int, covariance: np.ndarray) -> ChannelChoice:
    """What is heard by ``rule`` of channels with that ``covariance`` (C, C)."""
    channels = len(covariance)
    if channels < 2 or rule == ONE:
        return ChannelChoice(rule)
    if rule == MIX:
        return ChannelChoice(rule, mix=True)
    if rule != AUTO:
        return ChannelChoice(rule, number=int(rule))
    power = np.diagonal(covariance)
    loudest = power.max()
    if loudest <= 0:
        return ChannelChoice(rule)
    least = loudest * 10 ** (SILENT_DB / 10)
    if power[0] < least:
        return ChannelChoice(rule, mix=True, why="The first channel is silent")
    others = [i for i in range(1, channels) if power[i] >= least]
    if not others:
        return ChannelChoice(rule)
    alike = max(abs(covariance[0, i]) / np.sqrt(power[0] * power[i]) for i in others)
    if alike < ALIKE:
        return ChannelChoice(rule, mix=True, why="The first channel has nothing in common with the others")
    return ChannelChoice(rule)


def check_rule(rule: str | int) -> str | int:
    """The rule, a number as such. Raises ValueError for what is none."""
    if rule in (AUTO, ONE, MIX):
        return rule
    number = int(rule)
    if not 1 <= number <= 1024:
        raise ValueError(f"no channel has the number {number}")
    return ONE if number == 1 else number
