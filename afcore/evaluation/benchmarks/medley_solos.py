"""Medley-solos-DB (zenodo.org/records/3464194): three seconds of one of eight instruments."""

from __future__ import annotations

from pathlib import Path

from afcore.evaluation.benchmarks.item import LABEL, TEST, TRAIN, VALIDATION, Benchmark, Item
from afcore.evaluation.benchmarks.layout import Layout
from afcore.evaluation.benchmarks.published_prompts import PROMPTS

INSTRUMENTS = (
    "clarinet",
    "distorted electric guitar",
    "female singer",
    "flute",
    "piano",
    "tenor saxophone",
    "trumpet",
    "violin",
)
"""In the order of ``instrument_id``."""
SPLITS = {"training": TRAIN, "validation": VALIDATION, "test": TEST}


def read(data: Path) -> list[Item]:
    """As `Benchmark.read`."""
    names = "Medley-solos-DB_SUBSET-ID_UUID4.wav"
    columns = ["subset", "instrument_id", "song_id", "uuid4"]
    layout = Layout(
        data, "Medley-solos-DB", f"Medley-solos-DB_metadata.csv ({', '.join(columns)}) and sounds as audio/{names}"
    )
    table = layout.file("Medley-solos-DB_metadata.csv", "annotation/Medley-solos-DB_metadata.csv")
    folder, items = layout.folder("audio", "Medley-solos-DB"), []
    for row in layout.rows(table, columns):
        subset, number = row["subset"].strip(), row["instrument_id"].strip()
        if subset not in SPLITS or not number.isdigit() or int(number) >= len(INSTRUMENTS):
            raise layout.wrong(f"{table.name} has the subset “{subset}” with the instrument “{number}”")
        file = folder / f"Medley-solos-DB_{subset}-{number}_{row['uuid4']}.wav"
        answer = (INSTRUMENTS[int(number)],)
        items.append(Item(row["uuid4"], file, answer, SPLITS[subset], source=f"song {row['song_id']}"))
    return items


BENCHMARKS = (Benchmark("medley-solos-db", "Medley-solos-DB", LABEL, PROMPTS["medley-solos-db"], read, INSTRUMENTS),)
