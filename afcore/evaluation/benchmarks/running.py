"""Asking a model what a benchmark asks, with or without examples; every answer is kept as it comes.

A run is a folder: ``items.jsonl`` has a line for each item, ``summary.json`` what was asked of whom and how, and the
scores. The same command again answers only what is missing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from afcore import paths, prompts
from afcore.engine.engine import Engine
from afcore.engine.language import FlamingoText
from afcore.engine.results import Heard
from afcore.errors import AudioError, BadRequest
from afcore.evaluation.benchmarks.item import DIALOGUE, LABELS, LABELS_APPROXIMATE, TRAIN, Benchmark, Item
from afcore.evaluation.benchmarks.results import write_summary
from afcore.evaluation.benchmarks.setting import DEFAULT, KNN, SMALLEST, SOUNDS, TEXT, Setting
from afcore.hashing import number_of, sha256_of, sha256_of_file
from afcore.json_lines import JsonLines
from afcore.names import shown_name
from afcore.prompts import DEMO, Prompt
from afcore.retrieval.bank import Bank, LabelledFile
from afcore.retrieval.nearest import Shot, prompt_order

ASKED_AS = 1
"""Changes when the same settings would ask something else; what was answered before then no longer counts."""

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What is asked, and what examples are taken from."""

    asked: tuple[Item, ...]
    bank: tuple[Item, ...]
    counts: dict[str, int]
    options: tuple[str, ...]


def plan(benchmark: Benchmark, items: Sequence[Item], setting: Setting, bank: Sequence[Item] = ()) -> Plan:
    """Which items are asked and which may be examples; what is not there is counted.

    Examples are of ``bank`` where it is given, else of the train split; where there is none, of all items but those of
    the query's own fold or source. Raises BadRequest where nothing is left.
    """
    dealt = [_dealt(item, setting.folds) for item in items]
    wanted = [item for item in dealt if item.split == setting.split]
    if not wanted:
        there = ", ".join(sorted({item.split for item in items})) or "none"
        raise BadRequest(f"{benchmark.title} has no items of the split {setting.split} here (there are: {there}).")
    here = [item for item in wanted if item.file.is_file()]
    if not here:
        raise BadRequest(f"None of the {len(wanted)} sounds is there, {wanted[0].file} for instance.")
    kept = [item for item in here if not setting.leave_out_small or item.file.stat().st_size >= SMALLEST]
    drawn = sorted(kept, key=lambda item: number_of(f"item {item.id}"))[: setting.limit]
    chosen = {item.id for item in drawn}
    asked = tuple(item for item in kept if item.id in chosen)
    examples: list[Item] = []
    if setting.shots:
        train = [item for item in dealt if item.split == TRAIN]
        examples = [item for item in bank or train or dealt if item.file.is_file() and not item.questions]
        examples.sort(key=lambda item: number_of(f"bank {item.id}"))
        examples = examples[: setting.bank_limit]
        if not examples:
            raise BadRequest(f"There are no sounds to take examples from: {benchmark.title} has no train split here.")
    counts = {
        "in the split": len(wanted),
        "sounds not there": len(wanted) - len(here),
        "below 16,000 bytes": len(here) - len(kept),
        "asked": len(asked),
        "in the bank": len(examples),
    }
    return Plan(asked, tuple(examples), counts, tuple(benchmark.options(items)))


def _dealt(item: Item, folds: int | None) -> Item:
    if not folds or item.fold:
        return item
    return replace(item, fold=str(1 + number_of(f"fold {item.source or item.id}") % folds))


class Examples:
    """Shots out of a benchmark's own sounds: each sound once, with the answers of its items."""

    def __init__(self, engine: Engine, planned: Plan, setting: Setting, say: Progress):
        self._engine, self._setting = engine, setting
        self._items: dict[str, list[Item]] = {}
        files: dict[str, LabelledFile] = {}
        for item in planned.bank:
            sha = sha256_of_file(item.file)
            self._items.setdefault(sha, []).append(item)
            label = item.answers[0]
            files.setdefault(sha, LabelledFile(item.file, label, shown_name(item.file.name), item.source))
        self.content = sha256_of(*sorted(f"{sha} {one.label}" for sha, one in files.items()))[:16]
        folder = paths.DATA / "benchmarks" / f"{self.content}-{setting.channels}"
        self._bank = Bank.of_files(folder, files, setting.channels)
        for why in self._bank.left_out.values():
            say(why)
        told = [-1]

        def heard(share: float) -> None:
            if int(20 * share) > told[0]:
                told[0] = int(20 * share)
                say(f"Listening to the examples: {share:.0%}")

        self._retriever = engine.retriever(self._bank, heard)
        self._ids = {example.id: example for example in self._retriever.examples}

    def __len__(self) -> int:
        return len(self._retriever)

    def shots(self, item: Item, sha256: str, heard: Heard) -> list[Shot]:
        """Examples for ``item``, whose file's hash is ``sha256``, the nearest last; never of its own source or fold."""
        own = {
            id
            for id, example in self._ids.items()
            for other in self._items[example.sha256][:1]
            if (item.fold and other.fold == item.fold) or (item.source and other.source == item.source)
        }
        if self._setting.retrieval == KNN:
            found = self._retriever.nearest(heard.query, self._setting.shots, sha256, exclude_ids=own)
            return prompt_order(found)
        left = [id for id, example in self._ids.items() if id not in own and example.sha256 != sha256]
        rng = np.random.default_rng(number_of(f"random {item.id}"))
        drawn = rng.permutation(sorted(left))[: self._setting.shots]
        return [self._retriever.shot(int(id), heard.query, pinned=False) for id in drawn]

    def told(self, shot: Shot, asked_of: Item, benchmark: Benchmark) -> tuple[str, str]:
        """(prompt, answer) of a shot: of several items about its sound, one that its content and the query decide."""
        items = self._items[shot.example.sha256]
        item = items[number_of(f"{asked_of.id} {shot.example.sha256}") % len(items)]
        return item.prompt or benchmark.prompt.text, answer_of(item, benchmark)


def answer_of(item: Item, benchmark: Benchmark) -> str:
    """What an example answers: one of its captions, its likeliest answer, or all its labels."""
    if benchmark.kind in (LABELS, LABELS_APPROXIMATE):
        return ", ".join(item.answers)
    return item.answers[0]


def prompt_of(
    engine: Engine,
    benchmark: Benchmark,
    item: Item,
    options: Sequence[str] = (),
    shots: Sequence[tuple[Shot, tuple[str, str]]] = (),
    setting: Setting = DEFAULT,
    history: Sequence[tuple[str, str]] = (),
) -> Prompt:
    """The exact text that is asked, by the published templates."""
    padding = setting.padding if engine.paddings else ""
    prompt = _text_of(engine, benchmark, item, options, shots, setting, history, padding == DEMO)
    return replace(prompt, padding=padding)


def _text_of(
    engine: Engine,
    benchmark: Benchmark,
    item: Item,
    options: Sequence[str],
    shots: Sequence[tuple[Shot, tuple[str, str]]],
    setting: Setting,
    history: Sequence[tuple[str, str]],
    space: bool,
) -> Prompt:
    kind, task = engine.kind, benchmark.prompt.task
    similar = setting.retrieval == KNN
    if item.questions:
        return prompts.chat(history, item.questions[len(history)], kind=kind)
    question = item.prompt or benchmark.prompt.text
    if setting.examples == TEXT and shots:
        question = prompts.with_texts(question, [answer for _, (_, answer) in shots])
        shots = ()
    if item.yes_no:
        question += "\nOPTIONS:\nyes.\nno."
    texts, references = [text for _, text in shots], [shot for shot, _ in shots]
    if kind == "chat":  # which was trained on dialogues alone
        asked = prompts.with_options(question, options) if options else question
        return prompts.chat((), asked, shots=texts, kind=kind, similar=similar, references=references)
    return prompts.with_shots(question, task, texts, list(options) or None, kind, similar, references, space)


def run(
    benchmark: Benchmark,
    items: Sequence[Item],
    engine: Engine,
    weights: str,
    setting: Setting,
    folder: Path | None = None,
    bank: Sequence[Item] = (),
    say: Progress = lambda text: None,
) -> Path:
    """Asks what is missing, scores everything, and returns the run's folder.

    ``weights``: names what answers (`afcore.published.weights.weights_of`). ``folder``: by default one in
    `paths.DATA` that the settings name. Raises BadRequest where nothing can be asked.
    """
    if setting.shots and setting.examples == SOUNDS and setting.shots > engine.max_shots:
        raise BadRequest(f"This model takes at most {engine.max_shots} examples beside the sound itself.")
    if setting.shots and benchmark.kind == DIALOGUE:
        raise BadRequest("Dialogues are asked without examples, as in the paper.")
    planned = plan(benchmark, items, setting, bank)
    examples = Examples(engine, planned, setting, say) if setting.shots else None
    about = {
        "asked as": ASKED_AS,
        "model": engine.name,
        "weights": weights,
        "number format": engine.number_format,
        "benchmark": benchmark.name,
        "prompt": asdict(benchmark.prompt),
        "options": list(planned.options),
        "bank": examples.content if examples else "",
        "clap": engine.clap_name if examples else "",
        **{
            key: value
            for key, value in asdict(setting).items()
            if key not in ("limit", "batch", "split", "leave_out_small", "padding")
        },
        **({"padding": setting.padding} if engine.paddings else {}),
    }
    basis = sha256_of(json.dumps(about, sort_keys=True))[:12]
    name = f"{benchmark.name}-{engine.name.replace('/', '-').replace(':', '-')}-{setting.shots}-shots-{basis}"
    folder = folder or paths.DATA / "evaluations" / name
    kept = JsonLines(folder / "items.jsonl", lambda record: record["id"] if record["basis"] == basis else None)
    with kept.opened():
        _ask_all(benchmark, planned, engine, setting, examples, kept, basis, say)
        records = [record for item in planned.asked if (record := kept.get(item.id))]
    write_summary(folder, benchmark, about, planned.counts, records, setting, engine)
    return folder


def _ask_all(
    benchmark: Benchmark,
    planned: Plan,
    engine: Engine,
    setting: Setting,
    examples: Examples | None,
    kept: JsonLines,
    basis: str,
    say: Progress,
) -> None:
    hashes: dict[Path, str] = {}
    missing: list[tuple[Item, str]] = []
    for item in planned.asked:
        if item.file not in hashes:
            hashes[item.file] = sha256_of_file(item.file)
        known = kept.get(item.id)
        if known is None or known["sha256"] != hashes[item.file]:
            missing.append((item, hashes[item.file]))
    if len(missing) < len(planned.asked):
        say(f"{len(planned.asked) - len(missing)} of {len(planned.asked)} are answered already.")
    asker = _Asker(benchmark, planned.options, engine, setting, examples)
    begun = told = time.monotonic()
    for start in range(0, len(missing), setting.batch):
        some = missing[start : start + setting.batch]
        for record in asker.records(some):
            kept.add({"basis": basis, **record})
        done, now = start + len(some), time.monotonic()
        if now - told > 5 or done == len(missing):
            told = now
            left = (now - begun) / done * (len(missing) - done)
            say(f"{done} of {len(missing)}, {_minutes(left)} left" if left else f"{done} of {len(missing)}")


def _minutes(seconds: float) -> str:
    return f"about {seconds / 60:.0f} min" if seconds >= 90 else f"about {seconds:.0f} s"


class _Asker:
    """Asks items of one engine."""

    def __init__(
        self,
        benchmark: Benchmark,
        options: Sequence[str],
        engine: Engine,
        setting: Setting,
        examples: Examples | None,
    ):
        self._benchmark, self._options, self._engine = benchmark, list(options), engine
        self._setting, self._examples = setting, examples

    def records(self, items: Sequence[tuple[Item, str]]) -> list[dict[str, Any]]:
        """A line for each item; what cannot be heard has an ``error``."""
        made, waiting = [], []
        for item, sha256 in items:
            record: dict[str, Any] = {
                "id": item.id,
                "sha256": sha256,
                "answers": list(item.answers),
                "subsets": list(item.subsets),
                "source": item.source or item.id,
            }
            made.append(record)
            try:
                heard = self._engine.hear_file(item.file, channels=self._setting.channels)
            except (AudioError, BadRequest) as error:
                record["error"] = str(error)
                continue
            if item.questions:
                record |= self._dialogue(item, heard)
            else:
                waiting.append((record, item, sha256, heard))
        prepared = [self._prepared(*one) for one in waiting]
        for (record, item_asked, _, heard), (prompt, seconds, shots), (said, took) in zip(
            waiting,
            prepared,
            self._said([(h, p) for (_, _, _, h), (p, *_) in zip(waiting, prepared, strict=True)]),
            strict=True,
        ):
            record |= {"prompt": prompt.text, "said": said, "seconds": {**seconds, **took}}
            if self._setting.likelihood and self._options:
                bare = prompt_of(self._engine, self._benchmark, item_asked, self._options, (), self._setting)
                found = self._engine.probabilities(heard, prompt, self._options, bare)
                record["probabilities"] = {label: round(p, 6) for label, p in found.items()}
            if self._setting.judges and self._options:
                # What the app itself would say: by the judges beside the language side, with the same examples.
                record["judged"] = self._engine.score(heard, self._options, shots).best
        return made

    def _prepared(
        self, record: dict[str, Any], item: Item, sha256: str, heard: Heard
    ) -> tuple[Prompt, dict[str, float], list[Shot]]:
        begun, shots = time.perf_counter(), list[tuple[Shot, tuple[str, str]]]()
        if self._examples is not None:
            found = self._examples.shots(item, sha256, heard)
            shots = [(shot, self._examples.told(shot, item, self._benchmark)) for shot in found]
            record["shots"] = [
                {"sha256": s.example.sha256, "answer": text[1], "similarity": round(s.similarity, 4)}
                for s, text in shots
            ]
        seconds = {"encode": heard.timings.get("encode", 0.0), "retrieve": time.perf_counter() - begun}
        prompt = prompt_of(self._engine, self._benchmark, item, self._options, shots, self._setting)
        return prompt, seconds, [shot for shot, _ in shots]

    def _said(self, asked: Sequence[tuple[Heard, Prompt]]) -> list[tuple[str, dict[str, float]]]:
        engine, decoding = self._engine, self._setting.decoding
        if len(asked) > 1 and isinstance(engine.language, FlamingoText):
            begun = time.perf_counter()
            texts = engine.language.answers([(p, engine.sounds(h, p)) for h, p in asked], decoding)
            each = (time.perf_counter() - begun) / len(texts)
            return [(text.strip(), {"generate": each}) for text in texts]
        found = []
        for heard, prompt in asked:
            seconds: dict[str, float] = {}
            alone = replace(heard, in_passing=True)
            found.append(("".join(engine.stream(alone, prompt, decoding, timings=seconds)).strip(), seconds))
        return found

    def _dialogue(self, item: Item, heard: Heard) -> dict[str, Any]:
        """Turn by turn: what was said before is the history of the next turn, as in the paper."""
        history: list[tuple[str, str]] = []
        for question in item.questions:
            prompt = prompt_of(self._engine, self._benchmark, item, setting=self._setting, history=history)
            said = "".join(self._engine.stream(heard, prompt, self._setting.decoding)).strip()
            history.append((question, said))
        return {"questions": list(item.questions), "said": [said for _, said in history]}
