"""Blended epochs: how much of each dataset comes, and in what order (reference section 9).

Epoch e takes from a dataset of n rows and weight w its places ⌊e·n·w⌋ … ⌊(e+1)·n·w⌋ − 1, so that the next epoch walks
on where this one stopped; place k is row k mod n of one fixed shuffle. The epoch's samples are then shuffled together.
All follows from the seed, so that a run can be taken up at any sample without having kept anything but its number."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from math import floor

import numpy as np


@dataclass(frozen=True)
class Draw:
    """`dataset`: its key in the mix; `row` of its manifest; `place`: how many of the dataset's samples came before."""

    dataset: str
    row: int
    place: int
    epoch: int


class Blend:
    """`sizes`: rows per dataset; `weights`: samples per epoch over rows, per dataset; `share` multiplies all
    weights."""

    def __init__(self, sizes: dict[str, int], weights: dict[str, float], share: float = 1.0, seed: int = 0):
        self.names = sorted(weights)
        self.sizes, self.seed = sizes, seed
        self.weights = {name: weights[name] * share for name in self.names}

        def shuffle(name):
            return np.random.default_rng([seed, zlib.crc32(name.encode())]).permutation(sizes[name])

        self.orders = {name: shuffle(name) for name in self.names}
        self._epoch: tuple[int, np.ndarray, np.ndarray] = (-1, np.zeros(0), np.zeros(0))

    def first_place(self, name: str, epoch: int) -> int:
        """How many samples of the dataset come before `epoch`."""
        return floor(epoch * self.sizes[name] * self.weights[name] + 1e-9)

    def start(self, epoch: int) -> int:
        """How many samples come before `epoch`."""
        return sum(self.first_place(name, epoch) for name in self.names)

    def epoch_of(self, number: int) -> int:
        """The epoch that sample `number` falls into."""
        epoch = int(number / sum(self.sizes[n] * self.weights[n] for n in self.names))
        while self.start(epoch) > number:
            epoch -= 1
        while self.start(epoch + 1) <= number:
            epoch += 1
        return epoch

    def draw(self, number: int) -> Draw:
        """Sample `number`, from 0, of the endless sequence."""
        epoch = self.epoch_of(number)
        if self._epoch[0] != epoch:
            first = [self.first_place(name, epoch) for name in self.names]
            counts = [self.first_place(name, epoch + 1) - start for name, start in zip(self.names, first, strict=True)]
            which = np.repeat(np.arange(len(self.names)), counts)
            places = np.concatenate(
                [np.arange(start, start + count) for start, count in zip(first, counts, strict=True)]
            )
            order = np.random.default_rng([self.seed, epoch]).permutation(len(which))
            self._epoch = (epoch, which[order], places[order])
        _, which, places = self._epoch
        k = number - self.start(epoch)
        name, place = self.names[int(which[k])], int(places[k])
        return Draw(name, int(self.orders[name][place % self.sizes[name]]), place, epoch)
