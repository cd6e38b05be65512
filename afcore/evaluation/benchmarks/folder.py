"""A folder of your own: a subfolder per label, or one CSV with file, answer and, where wanted, prompt, split, fold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from afcore.errors import BadRequest
from afcore.evaluation.benchmarks.item import ANSWER, CAPTION, LABEL, TEST, TRAIN, VALIDATION, Benchmark, Item
from afcore.evaluation.benchmarks.layout import Layout
from afcore.evaluation.benchmarks.published_prompts import PROMPTS, PublishedPrompt
from afcore.names import files_in, label_of_folder

SPLITS = {"train": TRAIN, "val": VALIDATION, "validation": VALIDATION, "test": TEST, "": TEST}
LONGEST_ANSWER = 4
"""Words up to which an answer is compared as text; longer ones are scored as captions."""


def read(data: Path) -> list[Item]:
    """As `Benchmark.read`."""
    expected = "a subfolder for each label, or one CSV with the columns file, answer (and prompt, split, fold, source)"
    layout = Layout(data, "a folder to evaluate", expected)
    tables = sorted(data.glob("*.csv"))
    if len(tables) > 1:
        raise layout.wrong(f"there are {len(tables)} CSV files")
    items = _of_table(layout, tables[0]) if tables else _of_folders(data)
    if not items:
        raise layout.wrong("there are no sounds in subfolders, and no CSV")
    return items


def _of_table(layout: Layout, table: Path) -> list[Item]:
    found: dict[tuple[str, str], Item] = {}
    for row in layout.rows(table, ["file", "answer"]):
        split = row.get("split", "").strip().lower()
        if split not in SPLITS:
            raise layout.wrong(f"{table.name} has the split “{split}”; there are train, validation and test")
        file, prompt, answer = row["file"].strip(), row.get("prompt", "").strip(), row["answer"].strip()
        if not answer or Path(file).is_absolute() or ".." in Path(file).parts:
            raise layout.wrong(f"{table.name} has a row without an answer, or a file that lies elsewhere: “{file}”")
        known = found.get((file, prompt))
        if known is not None:  # another reference for the same question
            found[file, prompt] = replace(known, answers=(*known.answers, answer))
            continue
        item = Item(f"{file}|{prompt}", layout.root / file, (answer,), SPLITS[split], prompt)
        found[file, prompt] = replace(item, fold=row.get("fold", "").strip(), source=row.get("source", "").strip())
    return list(found.values())


def _of_folders(data: Path) -> list[Item]:
    items = []
    for folder in sorted(entry for entry in data.iterdir() if entry.is_dir() and not entry.name.startswith(".")):
        label = label_of_folder(folder.name)
        for path, file in files_in(folder).files.items():
            # Takes such as hit1 … hit9 are of one source, as in a bank.
            source = f"{label}/{Path(path).stem.rstrip('0123456789 _-')}"
            items.append(Item(f"{folder.name}/{path}", file, (label,), source=source))
    return items


def as_asked(items: list[Item], name: str = "folder") -> Benchmark:
    """The benchmark that a folder's items are: labels to choose from, answers in words, or captions."""
    prompts = {item.prompt for item in items}
    if prompts == {""}:
        return Benchmark(name, "A folder", LABEL, PROMPTS["folder"], read)
    if "" in prompts:
        raise BadRequest("Some rows have a prompt and some have none: give all of them one, or none.")
    long = any(len(answer.split()) > LONGEST_ANSWER for item in items for answer in item.answers)
    asked = PublishedPrompt("audio captioning" if long else "audio question answering", "", note=PROMPTS["folder"].note)
    return Benchmark(name, "A folder", CAPTION if long else ANSWER, asked, read)


def bank_items(bank: Path) -> list[Item]:
    """Everything in another folder of the same kind, to be examples."""
    if not bank.is_dir():
        raise BadRequest(f"There is no folder {bank}.")
    return [replace(item, split=TRAIN) for item in read(bank)]


BENCHMARKS = (Benchmark("folder", "A folder", LABEL, PROMPTS["folder"], read),)
