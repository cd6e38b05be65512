"""`python -m afcore evaluate mini-card --work DIR`: every row of mini's card with counts, chance, intervals and
controls.

All scores are on whole packages that no training or tuning stage touched. `--work` is the folder that `python -m
afcore.training` made; what is made of its sounds here is kept in DIR/card, and so is every answer (DIR/card/answers, by
weights).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from afcore import paths
from afcore.errors import BadRequest
from afcore.evaluation import caption_rows, dialogue_rows, hearing_rows, label_rows, present_rows, unknown_rows
from afcore.evaluation.card_context import Context
from afcore.evaluation.card_rows import Ability, Scores, table
from afcore.hashing import sha256_of
from afcore.published.weights import weights_of

MODULES = (hearing_rows, label_rows, present_rows, caption_rows, dialogue_rows, unknown_rows)
ABILITIES = {ability.name: ability for module in MODULES for ability in module.ABILITIES}
Progress = Callable[[str], None]
_context: Context | None = None  # of a worker process


def chosen(names: str | None) -> list[Ability]:
    """Abilities by their names with commas between, all without any. Raises BadRequest for one that there is not."""
    wanted = [name.strip() for name in names.split(",")] if names else list(ABILITIES)
    if unknown := [name for name in wanted if name not in ABILITIES]:
        raise BadRequest(f"There is no ability “{unknown[0]}”: choose among {', '.join(ABILITIES)}.")
    return [ABILITIES[name] for name in wanted]


def make_sounds(
    context: Context, abilities: Sequence[Ability], limit: int | None, controls: int, progress: Progress
) -> None:
    """Puts every sound that the items need through the encoder, or finds it in DIR/card; `evaluate` makes what is
    missing."""
    for ability in abilities:
        items, begun = ability.items(context)[: limit or ability.most], time.monotonic()
        for n, item in enumerate(items):
            for subject in ability.sounds(item):
                context.sounds.features(subject)
            if n < controls and ability.sounds(item) and not ability.sounds(item)[0].noise:
                for how in ("phone", "room"):
                    context.sounds.features(ability.sounds(item)[0], how)
            if n % 50 == 0 and time.monotonic() - begun > 5:
                progress(f"{ability.name}: sounds of {n} of {len(items)} items")
        context.sounds.save()


def answer_one(context: Context, name: str, number: int, controls: bool) -> tuple[str, int, dict]:
    """(ability, item's number, its record); the record says what it cost in seconds of processor time."""
    item, begun = _items(context, ABILITIES[name])[number], time.process_time()
    record = ABILITIES[name].answer(context, item, controls)
    return name, number, record | {"seconds": round(time.process_time() - begun, 3)}


def _items(context: Context, ability: Ability) -> list:
    """The ability's items, drawn once per context."""
    kept = context.__dict__.setdefault("_items", {})
    if ability.name not in kept:
        kept[ability.name] = ability.items(context)
    return kept[ability.name]


def _begin(work: Path, threads: int) -> None:
    import torch

    from afcore.engine.loading import load_engine

    global _context
    torch.set_num_threads(threads)
    _context = Context(work, load_engine("mini"))


def _work(task: tuple[str, int, bool]) -> tuple[tuple[str, int, dict], dict]:
    assert _context is not None, "`_begin` has run"
    done = answer_one(_context, *task)
    return done, _context.sounds.take_new()


def answers(
    context: Context, tasks: list[tuple[str, int, bool]], processes: int
) -> Generator[tuple[str, int, dict], None, None]:
    """What `answer_one` gives for every task, as it comes. Several processes of one thread each beat one of several
    threads: a sentence is hundreds of small products. Each loads a model of its own, some 1.3 GB."""
    if processes < 2:
        yield from (answer_one(context, *task) for task in tasks)
        return
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = (
        "1"  # answers are made in threads of their own, which look here for how many they may use
    )
    try:
        with multiprocessing.get_context("spawn").Pool(processes, _begin, (context.work, 1)) as pool:
            for done, made in pool.imap_unordered(_work, tasks, chunksize=2):
                context.sounds.add(made)
                yield done
    finally:
        os.environ.pop("OMP_NUM_THREADS") if before is None else os.environ.update(OMP_NUM_THREADS=before)


def about(item: Any) -> Any:
    """The item as its line of the answers has it."""
    return json.loads(json.dumps(asdict(item))) if is_dataclass(item) and not isinstance(item, type) else item


def kept_answers(file: Path, items: Sequence, controls: int) -> dict[int, dict]:
    """Number → record of the items that `file` answers, with controls where these are wanted. Later lines count."""
    found: dict[int, dict] = {}
    if not file.exists():
        return found
    for line in filter(None, file.read_text(encoding="utf-8").split("\n")):
        record = json.loads(line)
        number, item, had = record.pop("number"), record.pop("item"), record.pop("controls")
        if number < len(items) and item == about(items[number]) and (had or number >= controls):
            found[number] = record
    return found


def evaluate(
    context: Context,
    abilities: Sequence[Ability],
    limit: int | None = None,
    controls: int = 60,
    processes: int = 1,
    progress: Progress = lambda text: None,
    folder: Path | None = None,
    minutes: float | None = None,
) -> tuple:
    """(`Scores`, per ability how many items there were and what each cost). `limit`: items of an ability.

    `folder` keeps the answers as they come, so that a run that was stopped, or is to have more items, goes on from
    there. After `minutes` no more is asked, and what is answered by then is scored; all abilities advance alike."""
    items = {ability.name: _items(context, ability)[: limit or ability.most] for ability in abilities}
    records: dict[str, dict[int, dict]] = {name: {} for name in items}
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        records = {name: kept_answers(folder / f"{name}.jsonl", some, controls) for name, some in items.items()}
        if known := sum(map(len, records.values())):
            progress(f"{known} answers of an earlier run with these weights are kept in {folder}")
    tasks = [
        (name, n, n < controls) for name, some in items.items() for n in range(len(some)) if n not in records[name]
    ]
    tasks.sort(key=lambda task: task[1] / len(items[task[0]]))  # alike; the order within an ability stays
    begun, told = time.monotonic(), 0.0
    with closing(answers(context, tasks, processes)) as stream:
        for done, (name, number, record) in enumerate(stream, 1):
            records[name][number] = record
            if folder:
                line = {"number": number, "item": about(items[name][number]), "controls": number < controls, **record}
                with open(folder / f"{name}.jsonl", "a", encoding="utf-8") as file:
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
            if time.monotonic() - told > 10 or done == len(tasks):
                told = time.monotonic()
                progress(
                    f"{name}: {len(records[name])} of {len(items[name])}; {done} of {len(tasks)} items "
                    f"after {(told - begun) / 60:.1f} minutes"
                )
            if minutes and time.monotonic() - begun > 60 * minutes:
                progress(f"{minutes:g} minutes are over: {len(tasks) - done} items are left for another run")
                break
    context.sounds.save()
    scores, costs = Scores(), {}
    for ability in abilities:
        numbers = sorted(records[ability.name])
        if not numbers:
            progress(f"{ability.name}: nothing was asked yet")
            continue
        told_of = [records[ability.name][n] for n in numbers]
        found = ability.score(context, [items[ability.name][n] for n in numbers], told_of)
        scores.rows += found.rows
        scores.controls += found.controls
        spent = {
            full: [r["seconds"] for n, r in zip(numbers, told_of, strict=False) if (n < controls) == full]
            for full in (False, True)
        }

        def average(values):
            return sum(values) / len(values) if values else None

        costs[ability.name] = {
            "items": len(numbers),
            "of": len(_items(context, ability)),
            "with controls": len(spent[True]),
            "seconds per item": average(spent[False]),
            "seconds per item with controls": average(spent[True]),
        }
    return scores, costs


def weights_key() -> str:
    """Names what mini's answers depend on: its weights and settings, and the shipped bank."""
    return sha256_of(weights_of("mini"), (paths.BANK / "bank.sqlite").read_bytes())[:12]


def run(options: argparse.Namespace) -> None:
    """The command `evaluate mini-card`."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing here asks the network
    abilities = chosen(options.only)

    def say(text):
        return print(text, file=sys.stderr, flush=True)

    context = Context(options.work, options.load("mini"))
    if options.sounds_only:
        return make_sounds(context, abilities, options.limit, options.controls, say)
    folder = options.work / "card" / "answers" / weights_key()
    if options.afresh and folder.exists():
        shutil.rmtree(folder)
    scores, costs = evaluate(
        context, abilities, options.limit, options.controls, options.processes, say, folder, options.minutes
    )
    if options.json:
        result = asdict(scores) | {
            "items": costs,
            "calibration": vars(context.engine.calibration),
            "precision": context.engine.dtype_reason,
        }
        print(json.dumps(result, indent=1, ensure_ascii=False))
    else:
        print(table(scores))
    for name, cost in costs.items():

        def show(value):
            return f"{value:.2f}" if isinstance(value, float) else str(value)

        say(f"{name}: " + ", ".join(f"{key} {show(value)}" for key, value in cost.items()))
