"""``python -m afcore evaluate NAME --data DIR``: one of the paper's benchmarks, or a folder of your own; and ``evaluate
report RUN...``."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from afcore.cli.shared import add_decoding, add_padding, add_retrieval, between, loaded, print_json, say, settings_of
from afcore.errors import BadRequest
from afcore.evaluation.benchmarks.table import FILES

REPORT = "report"


def add_benchmark_options(parser: argparse.ArgumentParser) -> None:
    """Adds what only benchmarks have."""
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="report: folders of finished runs")
    group = parser.add_argument_group("benchmarks (" + ", ".join(FILES) + ")")
    group.add_argument("--data", type=Path, metavar="DIR", help="the dataset, unpacked in its official layout")
    group.add_argument("--model", default="mini", metavar="NAME", help="default: mini")
    group.add_argument("--device", help="cpu, cuda, mps or xpu; default: a GPU if there is one")
    group.add_argument("--shots", type=between(int, 0, 8), default=0, metavar="K", help="examples for each, 0 to 8")
    group.add_argument(
        "--retrieval", choices=["knn", "random"], default="knn", help="which examples: the nearest (default) or random"
    )
    group.add_argument(
        "--examples", choices=["sounds", "text"], default="sounds", help="text: their answers alone, as RECAP has it"
    )
    group.add_argument("--bank", type=Path, metavar="DIR", help="folder: take examples from this one")
    group.add_argument(
        "--folds", type=between(int, 2), metavar="N", help="deal items without a fold to N, by their source"
    )
    group.add_argument("--bank-limit", type=between(int, 1), metavar="N", help="at most N sounds to take examples from")
    group.add_argument("--likelihood", action="store_true", help="also which option is likeliest as the answer")
    group.add_argument("--judges", action="store_true", help="also which option all judges of the app name")
    group.add_argument("--leave-out-small", action="store_true", help="files below 16,000 bytes, as was published")
    add_padding(group, "benchmark")
    add_retrieval(group, "--clap")
    group.add_argument("--batch", type=between(int, 1), default=1, metavar="N", help="prompts answered together")
    add_decoding(parser)


def run_benchmark(options: argparse.Namespace) -> int:
    """The command for a benchmark. Raises BadRequest."""
    from afcore.evaluation.benchmarks import folder as folders
    from afcore.evaluation.benchmarks.item import VALIDATION
    from afcore.evaluation.benchmarks.report import markdown
    from afcore.evaluation.benchmarks.results import Run
    from afcore.evaluation.benchmarks.running import run
    from afcore.evaluation.benchmarks.setting import Setting
    from afcore.evaluation.benchmarks.table import benchmark
    from afcore.published.weights import weights_of

    if options.data is None:
        raise BadRequest(f"Say where the sounds are: evaluate {options.what} --data DIR.")
    if options.runs:
        raise BadRequest(f"Only evaluate report takes folders of runs; --data names that of {options.what}.")
    if options.candidates != 1:
        raise BadRequest("A benchmark has one answer for each item: leave --candidates out.")
    options.preset = options.preset or "benchmark"  # 3 beams, up to 128 tokens, as was published
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # answering never asks the network
    chosen = benchmark(options.what)
    items = chosen.read(options.data)
    bank = []
    if options.what == "folder":
        chosen = folders.as_asked(items)
        bank = folders.bank_items(options.bank) if options.bank else []
    elif options.bank:
        raise BadRequest("--bank is for a folder of your own; the others take examples from their train split.")
    setting = Setting(
        shots=options.shots,
        retrieval=options.retrieval,
        examples=options.examples,
        decoding=settings_of(options),
        likelihood=options.likelihood,
        judges=options.judges,
        split=VALIDATION if options.split == "validation" else "test",
        limit=options.limit,
        bank_limit=options.bank_limit,
        folds=options.folds,
        leave_out_small=options.leave_out_small,
        **({"padding": options.padding} if options.padding else {}),
        batch=options.batch,
    )
    engine = loaded(options)
    place = run(chosen, items, engine, weights_of(engine.name), setting, options.out, bank, say)
    finished = Run.read(place)
    if options.json:
        print_json({k: v for k, v in finished.summary.items() if k not in ("values", "sources")})
    else:
        print(markdown([finished]))
    say(f"Answers and summary are in {place}.")
    return 0


def run_report(options: argparse.Namespace) -> int:
    """The command ``report``. Raises BadRequest."""
    from afcore.evaluation.benchmarks import report
    from afcore.evaluation.benchmarks.results import Run

    runs = [Run.read(folder) for folder in options.runs]
    if options.out:
        report.write(runs, options.out)
        say(f"The report is in {options.out}.")
    elif options.json:
        print(json.dumps([run.summary for run in runs], indent=1, ensure_ascii=False))
    else:
        print(report.markdown(runs))
    return 0
