"""``python -m afcore bench``: how long the main job takes on this machine, measured in fresh processes.

Every figure is the median of several runs after one that is not counted. The clip lasts 10 s. "First token" is what a
person waits for after choosing a sound: window features, retrieval, reading the prompt, the first token. Decoding speed
leaves out the prompt, and is compared with the bare language model's: the same weights without the audio blocks, the
same ``generate``, number format, threads and prompt, in turns so that a busy machine slows both.

``--cost`` measures what a longer sound costs: windows through cross-attention beside the same windows as tokens in the
prompt (`afcore.evaluation.attention_cost`).

``--clips N`` measures Teach instead: how many clips a second are saved, embedded and labelled
(`afcore.cli.bench_clips`). ``--all`` measures everything that has a bar, row by row, each in a process of its own
(`afcore.cli.bench_rows`).
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from afcore import threads
from afcore.cli import bench_speed
from afcore.cli.bench_clips import clips_table, measure_clips
from afcore.cli.bench_rows import ROWS, Measure, Measures, from_json, peak_mb, published_shape, rows_table, to_json
from afcore.cli.bench_speed import command, decoding_speed, first_token, start_process, ten_seconds
from afcore.errors import BadRequest, MissingPart
from afcore.evaluation import attention_cost

if TYPE_CHECKING:
    from transformers import GenerationMixin

    from afcore.audio.recording import Clip
    from afcore.cli.shared import Commands
    from afcore.engine.engine import Engine

SHOTS = (0, 4, 8)
LAYERS = 12  # of OPT, with `--all`
CLIPS = 1000  # of Teach, with `--all`
AIMS = {
    "cold_start_s": "at most 15",
    "first_token_s 0": "at most 1",
    "first_token_s 4": "at most 2",
    "share_of_language_model": "at least 0.85",
    "peak_memory_mb": "below 2000",
}


def add_bench(commands: Commands) -> None:
    """Add the command ``bench``."""
    parser = commands.add_parser(
        "bench",
        help="measure speed and memory on this machine",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--model", default="mini", metavar="NAME", help="default: mini")
    parser.add_argument("--device", help="cpu, cuda, mps or xpu; default: a GPU if there is one")
    parser.add_argument(
        "--file", metavar="FILE", help="a sound whose first 10 s are used; default: noise made on the spot"
    )
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="counted runs of each measurement (default 5)")
    parser.add_argument("--starts", type=int, default=3, metavar="N", help="cold starts (default 3)")
    parser.add_argument(
        "--clips",
        type=int,
        metavar="N",
        help="instead: embed and label N clips in a project of Teach (1000 take some minutes)",
    )
    parser.add_argument(
        "--cost", action="store_true", help="instead: 1 to 128 windows, by cross-attention and as tokens in the prompt"
    )
    parser.add_argument(
        "--all", action="store_true", help="instead: every measure that has a bar, with its median and spread"
    )
    parser.add_argument(
        "--rows", metavar="NAMES", help=f"with --all: these alone, with commas between: {', '.join(ROWS)} (default all)"
    )
    parser.add_argument(
        "--examples", type=int, default=1_000_000, metavar="N", help="with --all: of retrieval (default 1000000)"
    )
    parser.add_argument(
        "--layers", type=int, metavar="N", help="with --all and --cost: of OPT in the published layout (--all: 12)"
    )
    parser.add_argument("--tokens", type=int, default=64, metavar="N", help="with --all: decoded by OPT (default 64)")
    parser.add_argument("--row", choices=list(ROWS), help=argparse.SUPPRESS)
    parser.add_argument("--worker", choices=["start", "all"], help=argparse.SUPPRESS)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    if options.worker:
        _worker(options)
        return 0
    if not options.cost and options.layers is None:
        options.layers = LAYERS
    if options.row:
        print(json.dumps(to_json(ROWS[options.row](options))), flush=True)
        return 0
    if options.cost:
        found = cost(options)
        print(json.dumps(attention_cost.to_json(found), indent=1) if options.json else attention_cost.table(found))
        return 0
    if options.all:
        measures = measure_all(options)
        print(json.dumps(to_json(measures), indent=1) if options.json else rows_table(measures, _head()))
        return 0
    measured = measure(options) if options.clips is None else teach(options)
    show = table if options.clips is None else clips_table
    print(json.dumps(measured, indent=1) if options.json else show(measured))
    return 0


def cost(options: argparse.Namespace) -> list[attention_cost.Cost]:
    """Figures of ``--cost``: of the model's shape, or, with ``--layers``, of the published layout with so many layers.

    Raises BadRequest for no runs or layers, MissingPart where the model cannot load."""
    if min(options.runs, 1 if options.layers is None else options.layers) < 1:
        raise BadRequest("Give --runs and --layers a number above 0.")
    if options.layers is not None:
        config = published_shape(options.layers)[0].config
    else:
        config = attention_cost.config_of(options.load(options.model, options.device))

    def progress(done: int, total: int) -> None:
        print(f"{done} of {total} sizes", file=sys.stderr, flush=True)

    return attention_cost.costs(attention_cost.random_model(config), runs=options.runs, on_progress=progress)


def teach(options: argparse.Namespace) -> dict[str, Any]:
    """Figures of ``--clips``, as plain data. Raises BadRequest for no clips, MissingPart where the model cannot
    load."""
    if options.clips < 1:
        raise BadRequest("Give --clips a number above 0.")
    engine = options.load(options.model, options.device)
    return machine_of(engine) | measure_clips(engine, options.clips)


def measure_all(
    options: argparse.Namespace, run: Callable[[argparse.Namespace, str], Measures] | None = None
) -> Measures:
    """The measures of the rows that were asked for; ``run`` measures one, by default in a fresh process.

    A row that cannot be measured says why in its own place, and the others go on. Raises BadRequest for a row that is
    not there.
    """
    rows = options.rows.split(",") if options.rows else list(ROWS)
    for row in rows:
        if row not in ROWS:
            raise BadRequest(f"There is no row “{row}”: choose among {', '.join(ROWS)}.")
    if options.clips is None:
        options.clips = CLIPS
    if min(options.clips, options.runs, options.starts, options.examples, options.layers, options.tokens) < 1:
        raise BadRequest("Give --clips, --runs, --starts, --examples, --layers and --tokens a number above 0.")
    measures: Measures = {}
    for row in rows:
        print(f"{row} …", file=sys.stderr, flush=True)
        try:
            measures |= (run or _in_a_process)(options, row)
        except MissingPart as error:
            measures[row] = Measure(None, "", note=str(error))
    return measures


def _in_a_process(options: argparse.Namespace, row: str) -> Measures:
    asked = [*command(options), "--row", row, "--starts", str(options.starts), "--clips", str(options.clips)]
    asked += ["--examples", str(options.examples), "--layers", str(options.layers), "--tokens", str(options.tokens)]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise MissingPart(lines[-1] if lines else f"The measuring process ended with code {done.returncode}.")
    return from_json(json.loads(done.stdout.strip().splitlines()[-1]))


def _head() -> str:
    import torch

    count = threads.cores()
    return f"{_processor()}, {count} core{'s' * (count != 1)}, {torch.get_num_threads()} threads, {torch.__version__}\n"


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All figures as plain data; ``options`` as the command has them. Raises MissingPart where the model cannot
    load."""
    starts = [start_process(options, "start")[0] for _ in range(options.starts - 1)]
    last, measured = start_process(options, "all")
    starts.append(last)
    return {**measured, "cold_start_s": statistics.median(starts), "cold_starts_s": starts, "runs": options.runs}


def _worker(options: argparse.Namespace) -> None:
    engine = options.load(options.model, options.device)
    print(json.dumps("ready"), flush=True)
    if options.worker == "all":
        print(json.dumps(measure_engine(engine, ten_seconds(options.file), options.runs)), flush=True)


def measure_engine(engine: Engine, clip: Clip, runs: int) -> dict:
    """Everything but the cold start, for an engine that is loaded; seconds, tokens per second and MB (10⁶ bytes)."""
    first, stages = {}, {}
    for k in SHOTS:
        if k > engine.max_shots or (k and (engine.bank is None or len(engine.retriever()) < k)):
            continue
        times = [first_token(engine, clip, k) for _ in range(runs + 1)][1:]
        first[str(k)] = statistics.median(sum(t.values()) for t in times)
        stages[str(k)] = {stage: statistics.median(t[stage] for t in times) for stage in times[0]}
    peak = peak_mb()
    decoding = _decoding(engine, clip, runs)
    return {
        **machine_of(engine),
        "clip_s": clip.duration,
        "first_token_s": first,
        "first_token_stages_s": stages,
        **decoding,
        "peak_memory_mb": peak,
    }


def machine_of(engine: Engine) -> dict:
    """What was measured, and on what."""
    import torch

    return {
        "model": engine.name,
        "machine": f"{_processor()}, {os.cpu_count()} cores",
        "device": torch.cuda.get_device_name(engine.device) if engine.device.type == "cuda" else engine.device.type,
        "threads": torch.get_num_threads(),
        "dtype": engine.number_format,
        "dtype_reason": engine.dtype_reason,
        "torch": torch.__version__,
    }


def _decoding(engine: Engine, clip: Clip, runs: int) -> dict:
    """Tokens per second after the first, with the audio and of the bare language model."""
    from afcore.engine.language import flamingo
    from afcore.prompts import CAPTION

    model = flamingo(engine.language).model
    heard = engine.hear(clip)
    inputs = engine.inputs(heard, engine.build_prompt(heard, CAPTION))
    bare = bare_language_model(engine)
    rates: list[tuple[float, float]] = []
    for _ in range(runs + 1):
        with_audio = decoding_speed(model, inputs, engine)
        rates.append((with_audio, decoding_speed(bare, {"input_ids": inputs["input_ids"]}, engine)))
    ours, theirs = map(statistics.median, zip(*rates[1:], strict=True))
    return {
        "prompt_tokens": inputs["input_ids"].shape[1],
        "new_tokens": bench_speed.NEW_TOKENS,
        "tokens_per_s": ours,
        "language_model_tokens_per_s": theirs,
        "share_of_language_model": ours / theirs,
    }


def bare_language_model(engine: Engine) -> GenerationMixin:
    """The decoder of ``engine`` with its weights and without the audio blocks, as `AutoModelForCausalLM` builds it."""
    from afcore.engine.language import flamingo
    from afcore.model.flamingo import decoder_layers

    bare: Any = copy.deepcopy(flamingo(engine.language).model.language_model)
    layers = decoder_layers(bare)
    for i, layer in enumerate(layers):
        layers[i] = layer.get_submodule("decoder_layer")
    made: GenerationMixin = bare  # each causal language model of transformers is one
    return made


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def table(measured: dict) -> str:
    """The figures for people, with the aims beside them."""
    rows: list[tuple[str, str, str]] = []

    def row(name: str, value: float, unit: str, aim: str = "", form: Callable[[float], str] = "{:.2f}".format) -> None:
        rows.append((name, f"{form(value)} {unit}".strip(), AIMS.get(aim, "")))

    row("cold start to ready", measured["cold_start_s"], "s", "cold_start_s")
    for k, seconds in measured["first_token_s"].items():
        row(f"clip to first token, {k} shots", seconds, "s", f"first_token_s {k}")
    row("decoding", measured["tokens_per_s"], "tokens/s", form="{:.1f}".format)
    row("bare language model", measured["language_model_tokens_per_s"], "tokens/s", form="{:.1f}".format)
    row("share of it", measured["share_of_language_model"], "", "share_of_language_model")
    row("peak memory", measured["peak_memory_mb"], "MB", "peak_memory_mb", "{:.0f}".format)
    widths = [max(len(r[i]) for r in rows) for i in (0, 1)]
    lines = [
        f"{name:<{widths[0]}}  {value:>{widths[1]}}  {'aim: ' + aim if aim else ''}".rstrip()
        for name, value, aim in rows
    ]
    head = (
        f"{measured['model']} on {measured['machine']} ({measured['device']}), {measured['threads']} threads, "
        f"PyTorch {measured['torch']}, {measured['dtype_reason']}\n"
        f"{measured['clip_s']:.0f} s clip; medians of {measured['runs']} runs after one uncounted, cold start of "
        f"{len(measured['cold_starts_s'])} processes; decoding {measured['new_tokens']} tokens after a prompt of "
        f"{measured['prompt_tokens']}.\n"
    )
    return "\n".join([head, *lines])
