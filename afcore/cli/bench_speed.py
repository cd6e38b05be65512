"""What the measuring commands share: a sound, a fresh process, and the two times that a person waits for."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from afcore.errors import MissingPart

if TYPE_CHECKING:
    import argparse

    from torch import Tensor
    from transformers import GenerationMixin

    from afcore.audio.recording import Clip
    from afcore.engine.engine import Engine

SECONDS = 10.0  # of the clip
NEW_TOKENS = 64


def command(options: argparse.Namespace) -> list[str]:
    """This command in a process of its own, with what says which model and what is measured with it."""
    asked = [sys.executable, "-m", "afcore", "bench", "--model", options.model, "--runs", str(options.runs)]
    asked += ["--device", options.device] if options.device else []
    asked += ["--file", options.file] if options.file else []
    return asked


def start_process(options: argparse.Namespace, what: str) -> tuple[float, dict[str, Any]]:
    """Runs a fresh process; seconds from its start until it can answer, and what it measured then."""
    asked = [*command(options), "--worker", what]
    begun = time.perf_counter()
    with subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None, "a pipe"
        ready = process.stdout.readline()
        seconds = time.perf_counter() - begun
        rest, errors = process.communicate()
    if process.returncode:
        lines = errors.strip().splitlines()
        raise MissingPart(lines[-1] if lines else f"The measuring process ended with code {process.returncode}.")
    assert json.loads(ready) == "ready"
    return seconds, json.loads(rest) if rest.strip() else {}


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


def first_token(engine: Engine, clip: Clip, k: int) -> dict[str, float]:
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


def decoding_speed(model: GenerationMixin, inputs: dict[str, Tensor], engine: Engine) -> float:
    """Tokens per second of greedy decoding, from the first new token to the last."""
    import torch
    from transformers import GenerationConfig

    from afcore.engine.language import flamingo

    tokenizer = flamingo(engine.language).tokenizer

    class Clock:
        """A streamer that notes when the prompt and each token go by."""

        def __init__(self) -> None:
            self.times: list[float] = []

        def put(self, value: Tensor) -> None:
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
