"""`python -m afcore evaluate held-out --work DIR --out FOLDER`: this project's own held-out sounds as two folders for
`evaluate folder`.

`FOLDER/labels`: sounds of the test split, at most `EACH` of a class and one of a recording, with sounds of the train
split as examples; the classes are those with enough of both, and no two of them may be true of one sound.
`FOLDER/captions`: one sound of each class whose file says in words what is heard. Names are chosen by their hash.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

from afcore.audio.wav import wav_bytes
from afcore.corpus.labels import labelled_rows
from afcore.errors import BadRequest
from afcore.evaluation.held_sounds import HeldSound, HeldSounds, by_hash
from afcore.knowledge.table import by_name, related

EACH, EXAMPLES = 2, 4
"""Sounds to ask about, and examples, of a class; both are needed in full."""
LEAST_WORDS = 4  # of a sentence that says what is heard
SUFFIX = " can be heard"
COLUMNS = ("file", "answer", "prompt", "split", "source")
CAPTION = "Describe the sound in a sentence."
Row = tuple[HeldSound, str, str, str]
"""A sound, the answer, the prompt, the split."""


def run(options: argparse.Namespace) -> None:
    """The command."""
    if options.out is None:
        raise BadRequest("Say where the folders go: --out FOLDER.")
    test, train = (HeldSounds(options.work, split) for split in ("test", "train"))
    captions = _captions(options.work / "corpus")
    for name, rows in (
        ("labels", [*label_rows(test.sounds, train.sounds)]),
        ("captions", [*caption_rows(test.sounds, captions)]),
    ):
        _write(options.out / name, rows, {"test": test, "train": train})
        print(f"{options.out / name}: {sum(row[3] == 'test' for row in rows)} to ask about, {len(rows)} in all")


def label_rows(test: Iterable[HeldSound], train: Iterable[HeldSound]) -> Iterator[Row]:
    """Sounds of classes that can stand beside each other as options."""
    asked, examples = (_by_class(by_hash("held-out folder", list(sounds))) for sounds in (test, train))
    classes: list[str] = []
    for name in sorted(asked, key=lambda name: (-len(asked[name]), name)):
        enough = len(asked[name]) >= EACH and len(examples.get(name, ())) >= EXAMPLES
        if (
            enough
            and not by_name()[name].general
            and not any(related(by_name()[name], by_name()[other]) for other in classes)
        ):
            classes.append(name)
    for name in classes:
        said = by_name()[name].tag
        yield from ((sound, said, "", "test") for sound in asked[name][:EACH])
        yield from ((sound, said, "", "train") for sound in examples[name][:EXAMPLES])


def caption_rows(test: Iterable[HeldSound], captions: dict[str, str]) -> Iterator[Row]:
    """One sound of each class, of those that have a sentence in ``captions``."""
    worded = [sound for sound in test if len(captions.get(sound.id, "").split()) >= LEAST_WORDS]
    for sounds in _by_class(by_hash("held-out folder", worded)).values():
        yield sounds[0], captions[sounds[0].id], CAPTION, "test"


def _by_class(sounds: Iterable[HeldSound]) -> dict[str, list[HeldSound]]:
    found: dict[str, list[HeldSound]] = {}
    for sound in sounds:
        found.setdefault(sound.truth.core[0], []).append(sound)
    return found


def _captions(corpus: Path) -> dict[str, str]:
    return {row["id"]: row["caption"].removesuffix(SUFFIX) for row in labelled_rows(corpus) if row.get("caption")}


def _write(folder: Path, rows: list[Row], sounds: dict[str, HeldSounds]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise BadRequest(f"{folder} is not empty: name a new folder.")
    with (folder / "held-out.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for number, (sound, answer, prompt, split) in enumerate(rows):
            name = f"{number:04}.wav"
            clip = sounds[split].clip(sound)
            (folder / name).write_bytes(wav_bytes(clip.samples, clip.rate))
            table.writerow((name, answer, prompt, split, sound.group))
