"""`python -m afcore evaluate mini-card --work DIR`: every row of mini's card with counts, chance, 95 % intervals and controls.

All scores are on whole packages that no training or tuning stage touched. `--work` is the folder that `python -m afcore.training`
made; what is made of its sounds here is kept in DIR/card, and so is every answer (DIR/card/answers), for reading.
"""
from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from afcore.errors import BadRequest
from afcore.evaluation import answer_rows, caption_rows, hearing_rows, label_rows
from afcore.evaluation.card_context import Context
from afcore.evaluation.card_rows import Ability, Scores, table

ABILITIES = {ability.name: ability for module in (hearing_rows, label_rows, answer_rows, caption_rows) for ability in module.ABILITIES}
Progress = Callable[[str], None]
_context: Context | None = None  # of a worker process


def chosen(names: str | None) -> list[Ability]:
    """Abilities by their names with commas between, all without any. Raises BadRequest for one that there is not."""
    wanted = [name.strip() for name in names.split(",")] if names else list(ABILITIES)
    if unknown := [name for name in wanted if name not in ABILITIES]:
        raise BadRequest(f"There is no ability “{unknown[0]}”: choose among {', '.join(ABILITIES)}.")
    return [ABILITIES[name] for name in wanted]


def make_sounds(context: Context, abilities: Sequence[Ability], limit: int | None, controls: int, progress: Progress) -> None:
    """Puts every sound that the items need through the encoder, or finds it in DIR/card."""
    for ability in abilities:
        items, begun = ability.items(context)[:limit or ability.most], time.monotonic()
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
    ability, begun = ABILITIES[name], time.process_time()
    record = ability.answer(context, _items(context, ability)[number], controls)
    return name, number, record | {"seconds": round(time.process_time() - begun, 3)}


def _items(context: Context, ability: Ability) -> list:
    """The ability's items, drawn once per context."""
    kept = context.__dict__.setdefault("_items", {})
    if ability.name not in kept:
        kept[ability.name] = ability.items(context)
    return kept[ability.name]


def _begin(work: Path, threads: int) -> None:
    import torch
    from afcore.engine import load_engine
    global _context
    torch.set_num_threads(threads)
    _context = Context(work, load_engine("mini"))


def _work(task: tuple[str, int, bool]) -> tuple[str, int, dict]:
    return answer_one(_context, *task)


def answers(context: Context, tasks: list[tuple[str, int, bool]], processes: int) -> Iterator[tuple[str, int, dict]]:
    """What `answer_one` gives for every task, as it comes. Several processes of one thread each beat one of several threads here:
    a sentence is hundreds of small products. Each loads a model of its own, some 1.3 GB."""
    if processes < 2:
        yield from (answer_one(context, *task) for task in tasks)
        return
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"  # answers come from threads of their own, which take their number of threads from here
    try:
        with multiprocessing.get_context("spawn").Pool(processes, _begin, (context.work, 1)) as pool:
            yield from pool.imap_unordered(_work, tasks, chunksize=2)
    finally:
        os.environ.pop("OMP_NUM_THREADS") if before is None else os.environ.update(OMP_NUM_THREADS=before)


def evaluate(context: Context, abilities: Sequence[Ability], limit: int | None = None, controls: int = 150, processes: int = 1,
             progress: Progress = lambda text: None) -> tuple[Scores, dict[str, dict]]:
    """All rows and controls, and per ability how many items there were and what each cost. `limit`: items of an ability at most."""
    make_sounds(context, abilities, limit, controls, progress)
    counts = {ability.name: min(len(_items(context, ability)), limit or ability.most) for ability in abilities}
    tasks = [(name, n, n < controls) for name, count in counts.items() for n in range(count)]
    records: dict[str, dict[int, dict]] = {name: {} for name in counts}
    begun, told = time.monotonic(), 0.0
    for done, (name, number, record) in enumerate(answers(context, tasks, processes), 1):
        records[name][number] = record
        if time.monotonic() - told > 10 or done == len(tasks):
            told = time.monotonic()
            progress(f"{name}: {len(records[name])} of {counts[name]}; {done} of {len(tasks)} items after {(told - begun) / 60:.1f} minutes")
    scores, costs = Scores(), {}
    folder = context.work / "card" / "answers"
    folder.mkdir(parents=True, exist_ok=True)
    for ability in abilities:
        items = _items(context, ability)[:counts[ability.name]]
        kept = [records[ability.name][n] for n in range(len(items))]
        with open(folder / f"{ability.name}.jsonl", "w", encoding="utf-8") as file:
            for item, record in zip(items, kept):
                about = asdict(item) if hasattr(item, "__dataclass_fields__") else {}
                file.write(json.dumps({"item": about, **record}, ensure_ascii=False) + "\n")
        found = ability.score(context, items, kept)
        scores.rows += found.rows
        scores.controls += found.controls
        plain = [r["seconds"] for n, r in enumerate(kept) if n >= controls]
        full = [r["seconds"] for n, r in enumerate(kept) if n < controls]
        costs[ability.name] = {"items": len(items), "of": len(_items(context, ability)), "with controls": len(full),
                               "seconds per item": sum(plain) / len(plain) if plain else None,
                               "seconds per item with controls": sum(full) / len(full) if full else None}
    return scores, costs


def run(options: argparse.Namespace) -> None:
    """The command `evaluate mini-card`."""
    from afcore.engine import load_engine
    abilities = chosen(options.only)
    say = lambda text: print(text, file=sys.stderr, flush=True)
    context = Context(options.work, load_engine("mini"))
    if options.sounds_only:
        return make_sounds(context, abilities, options.limit, options.controls, say)
    scores, costs = evaluate(context, abilities, options.limit, options.controls, options.processes, say)
    if options.json:
        print(json.dumps({"rows": [asdict(row) for row in scores.rows], "controls": [asdict(control) for control in scores.controls],
                          "items": costs, "calibration": vars(context.engine.calibration), "precision": context.engine.dtype_reason},
                         indent=1, ensure_ascii=False))
    else:
        print(table(scores))
    for name, cost in costs.items():
        say(f"{name}: " + ", ".join(f"{key} {value:.2f}" if isinstance(value, float) else f"{key} {value}" for key, value in cost.items()))
