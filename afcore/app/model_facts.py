"""Facts of the loaded model, read from it, and what each window and example moved in an answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import psutil
import torch
from torch import Tensor, nn

from afcore import prompts
from afcore.app.model_host import device_name, number_format
from afcore.engine.engine import Engine
from afcore.engine.language import FlamingoText
from afcore.engine.results import Heard
from afcore.evaluation.attention_cost import WINDOWS, Cost, config_of, costs, random_model
from afcore.jobs import Job
from afcore.prompts import Prompt


@dataclass(frozen=True)
class Gate:
    """A gated block before a decoder layer: how far it is open, tanh of its gate, -1 to 1."""

    layer: int
    """Of the decoder, from 0."""
    attention: float
    feed_forward: float


@dataclass(frozen=True)
class Moved:
    """How much less likely an answer is, per token, without one window or one example."""

    what: str
    nats: float
    """Above 0: it spoke for the answer."""


def parameters(engine: Engine) -> dict[str, int]:
    """Part -> number of parameters; each parameter counts once."""
    found: dict[str, int] = {}
    seen: set[int] = set()

    def add(part: str, module: nn.Module) -> None:
        for parameter in module.parameters():
            if id(parameter) not in seen:
                seen.add(id(parameter))
                found[part] = found.get(part, 0) + parameter.numel()

    language = engine.language
    if isinstance(language, FlamingoText):
        for name, module in language.model.named_modules():
            if name.endswith("gated_cross_attn_layer"):
                add("gated cross-attention", module)
        for name, part in (("audio_transformer", "audio transformer"), ("front_end", "front end")):
            module = getattr(language.model, name, None)
            if isinstance(module, nn.Module):
                add(part, module)
        add("language model", language.model)
    elif isinstance(model := getattr(language, "model", None), nn.Module):
        add("the whole model", model)
    for part, holder in (("audio encoder", engine.encoder), ("CLAP", engine.clap)):
        for value in vars(holder).values():
            if isinstance(value, nn.Module):
                add(part, value)
    return found


def gates(engine: Engine) -> list[Gate]:
    """The gate of each layer that has one; none for a model of another kind."""
    if not isinstance(engine.language, FlamingoText):
        return []
    found = []
    for name, module in engine.language.model.named_modules():
        if name.endswith("gated_cross_attn_layer") and hasattr(module, "attn_gate"):
            layer = int(next(part for part in name.split(".") if part.isdigit()))
            found.append(
                Gate(
                    layer,
                    float(module.attn_gate.detach().float().tanh()),
                    float(module.ff_gate.detach().float().tanh()),
                )
            )
    return sorted(found, key=lambda gate: gate.layer)


def limits(engine: Engine) -> dict[str, str]:
    """What it hears and reads at most, and where and how it computes, in words."""
    plan = engine.encoder.plan
    found = {
        "Model": engine.name,
        "Windows": f"{plan.seconds:g} s every {plan.hop_seconds:g} s, at most {plan.max_windows} of a sound",
        "Heard at most": f"{plan.max_seconds:g} s",
        "Sample rate": f"{plan.rate:,} Hz",
        "Examples at most": str(engine.max_shots),
    }
    config = getattr(getattr(engine.language, "model", None), "config", None)
    text = getattr(config, "text_config", config)
    longest = getattr(text, "max_position_embeddings", None)
    if longest:
        found["Text at most"] = f"{longest:,} tokens, prompt and answer together"
    found |= {
        "Number format": f"{engine.number_format}: {engine.dtype_reason}",
        "Runs on": f"{device_name(engine.device)}, {number_format(engine.dtype)}",
        "Neighbours by": engine.clap_name,
        "Memory of this process": f"{psutil.Process().memory_info().rss / 2**20:,.0f} MiB",
    }
    if engine.device.type == "cuda":
        found["Memory on the GPU"] = f"{torch.cuda.memory_allocated(engine.device) / 2**20:,.0f} MiB"
    return found


def moved(job: Job, engine: Engine, heard: Heard, prompt: Prompt, answer: str) -> list[Moved]:
    """The work of a job: the answer's likelihood with everything, and without each window of the sound and each
    example in turn (its sound replaced by silence)."""
    sounds = engine.sounds(heard, prompt)
    query = list(prompt.audios).index(prompts.QUERY)
    silence = engine.encoder.silence.float().cpu()

    def likely(instead: Sequence[Tensor]) -> float:
        scores, counts = engine.language.score(prompt, instead, [answer])
        return float(scores[0]) / max(int(counts[0]), 1)

    changes: list[tuple[str, list[Tensor]]] = []
    for number, (start, end) in enumerate(heard.times):
        without = sounds[query].clone()
        without[number] = silence
        changes.append((f"{start:.1f} to {end:.1f} s", [*sounds[:query], without, *sounds[query + 1 :]]))
    for number, shot in enumerate(prompt.audios):
        if shot != prompts.QUERY:
            quiet = silence.expand_as(sounds[number])
            changes.append((f"example: {shot.example.label}", [*sounds[:number], quiet, *sounds[number + 1 :]]))
    whole, found = likely(sounds), []
    for number, (what, instead) in enumerate(changes):
        if job.stopping.is_set():
            break
        job.report(f"Without {what}", number / len(changes))
        found.append(Moved(what, whole - likely(instead)))
    return [one for one in found if math.isfinite(one.nats)]


def cost(job: Job, engine: Engine) -> list[Cost]:
    """The work of a job: what a longer sound costs a model of this one's shape, on this machine; what is measured until
    it is stopped."""
    model = random_model(config_of(engine))
    found: list[Cost] = []
    for number, windows in enumerate(WINDOWS):
        if job.stopping.is_set():
            break
        job.report(f"{windows} window{'s' * (windows > 1)}", number / len(WINDOWS))
        found += costs(model, [windows], runs=1)
    return found
