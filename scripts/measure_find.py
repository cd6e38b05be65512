"""How well "where is the …?" finds sounds: made-up recordings, in which it is known what is heard where.

``python scripts/measure_find.py [--scenes 16]``: six sounds of the example bank at unknown places in a minute of faint
noise; each is looked for by its label, and as many labels that are not in it. Prints how often the best place is right,
and the score that `afcore.engine.timeline.FITS` holds.
"""

import argparse
import random

import numpy as np

from afcore import load_engine, paths
from afcore.audio.recording import Recording, from_samples, open_recording
from afcore.engine import timeline
from afcore.evaluation.mentions import classes_named
from afcore.retrieval.bank import Bank

RATE, SECONDS, SLOT, SOUNDS = 32_000, 60, 10, 6


def scene(bank: Bank, number: int) -> tuple[Recording, dict[str, tuple[float, float]], list[str]]:
    """A recording, where each of its labels is heard (start and end in seconds), and labels that are not in it."""
    dice, noise = random.Random(number), np.random.default_rng(number)
    labels = sorted({example.label for example in bank.examples()})
    chosen = dice.sample(labels, 2 * SOUNDS)
    samples = noise.normal(scale=0.003, size=SECONDS * RATE).astype(np.float32)
    places = {}
    for slot, label in enumerate(dice.sample(chosen[:SOUNDS], SOUNDS)):
        example = dice.choice([one for one in bank.examples() if one.label == label])
        clip = open_recording(bank.audio_path(example.id)).clip(0.0, 8.0).resampled(RATE)
        sound = clip.samples / max(1e-6, float(np.abs(clip.samples).max())) * 0.5 * 10 ** (-dice.random() * 12 / 20)
        first = round((slot * SLOT + dice.random() * (SLOT - len(sound) / RATE)) * RATE)
        samples[first : first + len(sound)] += sound[: len(samples) - first]
        places[label] = (first / RATE, (first + len(sound)) / RATE)
    return from_samples(samples, RATE), places, chosen[SOUNDS:]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scenes", type=int, default=16)
    count = parser.parse_args().scenes
    engine, bank = load_engine(), Bank(paths.SHIPPED_BANK)
    right, here, absent = [], [], []
    for number in range(count):
        recording, places, others = scene(bank, number)
        windows = list(timeline.listen(engine, recording))
        for label, (start, end) in places.items():
            best, *_ = timeline.find(engine, windows, label, classes_named(label))
            right.append(best.window.start < end and best.window.end > start)
            here.append(best.score)
        for label in others:
            absent.append(timeline.find(engine, windows, label, classes_named(label))[0].score)
    limit = float(np.quantile(absent, 0.9))
    print(f"{len(right)} sounds in {count} recordings: the best place is right for {np.mean(right):.0%}")
    print(f"of sounds that are not there {np.mean(np.array(absent) < limit):.0%} stay below {limit:.3f}", end="; ")
    print(f"of those that are there {np.mean(np.array(here) >= limit):.0%} reach it")


if __name__ == "__main__":
    main()
