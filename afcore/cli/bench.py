"""``python -m afcore bench``: how long the main job takes on this machine, measured in fresh processes.

Every figure is the median of several runs after one that is not counted. The clip lasts 10 s. "First token" is what a
person waits for after choosing a sound: window features, retrieval, reading the prompt, the first token. Decoding speed
leaves out the prompt, and is compared with the bare language model's: the same weights without the audio blocks, the
same ``generate``, number format, threads and prompt, in turns so that a busy machine slows both.

``--clips N`` measures Teach instead: how many clips a second are saved, embedded and labelled
(`afcore.cli.bench_clips`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from afcore.cli.bench_clips import clips_table, measure_clips
from afcore.errors import BadRequest, MissingPart

if TYPE_CHECKING:
    from afcore.audio.recording import Clip
    from afcore.engine.engine import Engine

SECONDS = 10.0  # of the clip
SHOTS = (0, 4, 8)
NEW_TOKENS = 64
AIMS = {
    "cold_start_s": "at most 15",
    "first_token_s 0": "at most 1",
    "first_token_s 4": "at most 2",
    "share_of_language_model": "at least 0.85",
    "peak_memory_mb": "below 2000",
}


def add_bench(commands) -> None:
    """Add the command ``bench``."""
    parser = commands.add_parser(
        "bench",
        help="measure speed and memory on this machine",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--model", default="mini", metavar="NAME", help="default: mini")
    parser.add_argument("--device", help="cpu or cuda; default: a GPU if there is one")
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
    parser.add_argument("--worker", choices=["start", "all"], help=argparse.SUPPRESS)
    parser.set_defaults(run=_run)


def _run(options) -> int:
    if options.worker:
        _worker(options)
        return 0
    measured = measure(options) if options.clips is None else teach(options)
    show = table if options.clips is None else clips_table
    print(json.dumps(measured, indent=1) if options.json else show(measured))
    return 0


def teach(options) -> dict:
    """Figures of ``--clips``, as plain data. Raises BadRequest for no clips, MissingPart where the model cannot
    load."""
    if options.clips < 1:
        raise BadRequest("Give --clips a number above 0.")
    engine = options.load(options.model, options.device)
    return machine_of(engine) | measure_clips(engine, options.clips)


def measure(options) -> dict:
    """All figures as plain data; ``options`` as the command has them. Raises MissingPart where the model cannot
    load."""
    starts = [_child(options, "start")[0] for _ in range(options.starts - 1)]
    last, measured = _child(options, "all")
    starts.append(last)
    return {**measured, "cold_start_s": statistics.median(starts), "cold_starts_s": starts, "runs": options.runs}


def _child(options, what: str) -> tuple[float, dict]:
    """Runs a fresh process; seconds from its start until it can answer, and what it measured then."""
    command = [sys.executable, "-m", "afcore", "bench", "--worker", what, "--model", options.model]
    command += ["--runs", str(options.runs)]
    command += ["--device", options.device] if options.device else []
    command += ["--file", options.file] if options.file else []
    begun = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        ready = process.stdout.readline()
        seconds = time.perf_counter() - begun
        rest, errors = process.communicate()
    if process.returncode:
        lines = errors.strip().splitlines()
        raise MissingPart(lines[-1] if lines else f"The measuring process ended with code {process.returncode}.")
    assert json.loads(ready) == "ready"
    return seconds, json.loads(rest) if rest.strip() else {}


def _worker(options) -> None:
    engine = options.load(options.model, options.device)
    print(json.dumps("ready"), flush=True)
    if options.worker == "all":
        print(json.dumps(measure_engine(engine, ten_seconds(options.file), options.runs)), flush=True)


def ten_seconds(file: str | None = None) -> Clip:
    """The first 10 s of ``file``, or noise whose loudness comes and goes."""
    import numpy as np

    from afcore.audio.recording import from_samples, open_recording

    if file:
        return open_recording(file).clip(0.0, SECONDS)
    rate = 44_100
    t = np.arange(round(SECONDS * rate)) / rate
    noise = np.random.default_rng(0).normal(size=len(t)) * (0.3 + 0.2 * np.sin(2 * np.pi * 1.5 * t))
    return from_samples(np.clip(noise, -1, 1), rate, "noise").clip()


def measure_engine(engine: Engine, clip: Clip, runs: int) -> dict:
    """Everything but the cold start, for an engine that is loaded; seconds, tokens per second and MB (10⁶ bytes)."""
    first, stages = {}, {}
    for k in SHOTS:
        if k > engine.max_shots or (k and (engine.bank is None or len(engine.retriever()) < k)):
            continue
        times = [_first_token(engine, clip, k) for _ in range(runs + 1)][1:]
        first[str(k)] = statistics.median(sum(t.values()) for t in times)
        stages[str(k)] = {stage: statistics.median(t[stage] for t in times) for stage in times[0]}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    decoding = _decoding(engine, clip, runs)
    return {
        **machine_of(engine),
        "clip_s": clip.duration,
        "first_token_s": first,
        "first_token_stages_s": stages,
        **decoding,
        "peak_memory_mb": peak / 1e6,
    }


def machine_of(engine: Engine) -> dict:
    """What was measured, and on what."""
    import torch

    return {
        "model": engine.name,
        "machine": f"{_processor()}, {os.cpu_count()} cores",
        "device": torch.cuda.get_device_name(engine.device) if engine.device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "dtype": str(engine.dtype).removeprefix("torch."),
        "dtype_reason": engine.dtype_reason,
        "torch": torch.__version__,
    }


def _first_token(engine: Engine, clip: Clip, k: int) -> dict[str, float]:
    """Seconds per stage from a clip to the first token of its caption, nothing of it known before."""
    from afcore.model.generation import GenerationSettings
    from afcore.prompts import CAPTION
    from afcore.retrieval.nearest import prompt_order

    engine.forget()
    heard = engine.hear(clip)
    timings = {"encode": heard.timings["encode"], "retrieve": 0.0}
    begun = time.perf_counter()
    shots = prompt_order(engine.neighbours(heard, k)) if k else []
    timings["retrieve"] = time.perf_counter() - begun
    begun = time.perf_counter()
    prompt = engine.build_prompt(heard, CAPTION, shots)
    # One token: its text may be empty, so the end of the stream is what is waited for.
    list(engine.stream(heard, prompt, GenerationSettings(max_new_tokens=1)))
    timings["first_token"] = time.perf_counter() - begun
    return timings


def _decoding(engine: Engine, clip: Clip, runs: int) -> dict:
    """Tokens per second after the first, with the audio and of the bare language model."""
    from afcore.engine.language import flamingo
    from afcore.prompts import CAPTION

    model = flamingo(engine.language).model
    heard = engine.hear(clip)
    inputs = engine.inputs(heard, engine.build_prompt(heard, CAPTION))
    bare = bare_language_model(engine)
    ours, theirs = [], []
    for _ in range(runs + 1):
        ours.append(_speed(model, inputs, engine))
        theirs.append(_speed(bare, {"input_ids": inputs["input_ids"]}, engine))
    ours, theirs = statistics.median(ours[1:]), statistics.median(theirs[1:])
    return {
        "prompt_tokens": inputs["input_ids"].shape[1],
        "new_tokens": NEW_TOKENS,
        "tokens_per_s": ours,
        "language_model_tokens_per_s": theirs,
        "share_of_language_model": ours / theirs,
    }


def bare_language_model(engine: Engine):
    """The decoder of ``engine`` with its weights and without the audio blocks, as `AutoModelForCausalLM` builds it."""
    from transformers import AutoModelForCausalLM

    from afcore.engine.language import flamingo

    model = flamingo(engine.language).model
    state = model.language_model.state_dict()
    kept = {k.replace(".decoder_layer.", "."): v for k, v in state.items() if ".gated_cross_attn_layer." not in k}
    bare = AutoModelForCausalLM.from_config(model.config.text_config, dtype=engine.dtype)
    bare.load_state_dict(kept)
    return bare.eval().to(engine.device)


def _speed(model, inputs: dict, engine: Engine) -> float:
    """Tokens per second of greedy decoding, from the first new token to the last."""
    import torch
    from transformers import GenerationConfig

    from afcore.engine.language import flamingo

    tokenizer = flamingo(engine.language).tokenizer

    class Clock:
        """A streamer that notes when the prompt and each token go by."""

        def __init__(self):
            self.times: list[float] = []

        def put(self, value) -> None:
            self.times.append(time.perf_counter())

        def end(self) -> None:
            pass

    clock = Clock()
    config = GenerationConfig(
        max_new_tokens=NEW_TOKENS,
        min_new_tokens=NEW_TOKENS,
        do_sample=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.inference_mode():
        model.generate(
            **inputs,
            attention_mask=torch.ones_like(inputs["input_ids"]),
            generation_config=config,
            streamer=clock,
        )
    _, first, *_, last = clock.times  # the prompt, then the tokens
    return (len(clock.times) - 2) / (last - first)


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
