"""Answers from a prompt: streamed, several at once, or scored. Thin calls into transformers' `generate`.

`inputs` throughout is what `AudioFlamingo.forward` takes for one prompt: `input_ids` (1, T) and, where
there is sound, `audio_embeds` (1, A·W, E) and `audio_mask` (1, A·W), on the model's device."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from transformers.generation.streamers import BaseStreamer

from afcore.errors import BadRequest
from afcore.model.cache import AudioMemory, FlamingoCache
from afcore.model.flamingo import AudioFlamingo
from afcore.model.prompt_cache import PromptCache

Piece = str | BaseException | None
"""What a stream hands on: text, what went wrong, or the end."""

PLAUSIBLE = 0.1
"""Share of the likeliest token's probability that a token needs with the sound, so that guidance cannot choose what
the sound makes unlikely (as in contrastive decoding: Li et al., ACL 2023)."""
SCORED_AT_ONCE = 16  # continuations per batch: the text cache is repeated for each


@dataclass(frozen=True)
class GenerationSettings:
    """How to decode. temperature 0 is greedy (or beam search with num_beams > 1); top_k 0 and top_p 1
    cut nothing off. seed: makes sampling repeatable; None leaves the generator as it is. guidance: how far an answer is
    moved away from what would be said without the sound (`_Guidance`); 1 is not at all, None as the model's config
    says; beam search knows none."""

    max_new_tokens: int = 64
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    num_beams: int = 1
    seed: int | None = None
    guidance: float | None = None


# What the paper's benchmarks and the published demos decode with.
PRESETS = {
    "benchmark": GenerationSettings(max_new_tokens=128, num_beams=3),
    "foundation": GenerationSettings(max_new_tokens=128, temperature=1.0, top_k=30, top_p=0.95),
    "chat": GenerationSettings(max_new_tokens=128, temperature=1.0, top_k=50, top_p=0.95),
}


class StopAsked(StoppingCriteria):
    """Ends generation at the next token once the person has pressed stop."""

    def __init__(self, stop: threading.Event | _Either):
        self.stop = stop

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        return torch.full((len(input_ids),), self.stop.is_set(), dtype=torch.bool, device=input_ids.device)


class _Guidance(LogitsProcessor):
    """Classifier-free guidance by the sound (Ho and Salimans, 2022; for text Sanchez et al., 2023): the token's
    log-probability with the sound, plus `strength` − 1 times what the sound adds to it.

    Of 2n rows the first n have the sound, the other n read the same tokens without it; both get the same scores.
    """

    def __init__(self, strength: float):
        self.strength = strength

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        hearing, deaf = torch.log_softmax(scores.float(), -1).chunk(2)
        guided = deaf + self.strength * (hearing - deaf)
        least = hearing.max(-1, keepdim=True).values + math.log(PLAUSIBLE)
        return guided.masked_fill(hearing < least, -math.inf).repeat(2, 1)


class _Draw(LogitsProcessor):
    """Makes the likeliest token a draw (the Gumbel-max trick), the same one in both halves of the rows."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        drawn, _ = scores.chunk(2)
        return (drawn - torch.empty_like(drawn).exponential_().log()).repeat(2, 1)


def _guided(strength: float, settings: GenerationSettings) -> LogitsProcessorList:
    """What `generate` does to the scores of rows with and without the sound."""
    steps = LogitsProcessorList([_Guidance(strength)])
    if settings.temperature > 0:
        steps.append(TemperatureLogitsWarper(settings.temperature))
        if settings.top_k:
            steps.append(TopKLogitsWarper(settings.top_k))
        if settings.top_p < 1:
            steps.append(TopPLogitsWarper(settings.top_p))
        steps.append(_Draw())
    return steps


def _strength(model: AudioFlamingo, inputs: dict[str, Tensor], settings: GenerationSettings) -> float:
    """How strongly an answer to `inputs` is guided by its sounds."""
    if settings.num_beams > 1 or inputs.get("audio_embeds") is None:
        return 1.0
    return model.config.guidance if settings.guidance is None else settings.guidance


class _Pieces(BaseStreamer):
    """Hands on each new piece of text as soon as its bytes make whole characters."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, ends: set[int], pieces: queue.SimpleQueue[Piece]):
        self.tokenizer, self.ends, self.pieces = tokenizer, ends, pieces
        self.tokens: list[int] | None = None  # None until the prompt has gone by
        self.sent = 0

    def put(self, value: Tensor) -> None:
        if self.tokens is None:
            self.tokens = []
            return
        (token,) = value.flatten()[:1].tolist()  # the rows without the sound say the same
        self.tokens += [token] if token not in self.ends else []
        self._send(last=False)

    def end(self) -> None:
        self._send(last=True)

    def _send(self, last: bool) -> None:
        text = text_of(self.tokenizer, self.tokens or (), self.ends)
        if last or not text.endswith("\ufffd"):
            if text[self.sent :]:
                self.pieces.put(text[self.sent :])
            self.sent = len(text)


def text_of(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int], ends: set[int]) -> str:
    """What tokens say, without those of `ends` (`end_tokens`)."""
    kept = [token for token in tokens if token not in ends]
    return str(tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def end_tokens(model: AudioFlamingo, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Token ids that end an answer: `<|endofchunk|>` and every end-of-text token."""
    ids = {model.config.endofchunk_token_id, tokenizer.eos_token_id}
    eos = model.config.eos_token_id
    ids.update(eos if isinstance(eos, (list, tuple)) else [eos])
    return {i for i in ids if i is not None}


def _generation_config(
    model: AudioFlamingo, settings: GenerationSettings, ends: set[int], length: int, returned: int
) -> GenerationConfig:
    most = getattr(model.config.text_config, "max_position_embeddings", None) or length + settings.max_new_tokens
    if length >= most:
        raise BadRequest(f"The prompt has {length} tokens, but this model reads at most {most}.")
    sampled = settings.temperature > 0
    if returned > 1 and not sampled and returned > settings.num_beams:
        raise BadRequest("Several candidates need a temperature above 0, or as many beams.")
    cuts = {"temperature": settings.temperature, "top_k": settings.top_k, "top_p": settings.top_p} if sampled else {}
    return GenerationConfig(
        max_new_tokens=min(settings.max_new_tokens, most - length),
        do_sample=sampled,
        num_beams=settings.num_beams,
        num_return_sequences=returned,
        eos_token_id=sorted(ends),
        pad_token_id=min(ends),
        return_dict_in_generate=True,
        **cuts,
    )


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """Sampling from `seed` inside; the process's generators are as before afterwards."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def _generate(
    model: AudioFlamingo,
    tokenizer: PreTrainedTokenizerBase,
    inputs: dict[str, Tensor],
    settings: GenerationSettings,
    stop: threading.Event | _Either | None,
    prompt_cache: PromptCache | None,
    returned: int = 1,
    streamer: BaseStreamer | None = None,
) -> list[list[int]]:
    """Runs `generate` with one reading of the prompt, whatever the number of beams or candidates, and
    returns the new tokens of each answer."""
    ids = inputs["input_ids"]
    if len(ids) != 1:
        raise ValueError("One prompt at a time.")
    strength = _strength(model, inputs, settings)
    config = _generation_config(model, settings, end_tokens(model, tokenizer), ids.shape[1], returned)
    prompt_cache = prompt_cache or PromptCache()
    rows, read = max(returned, settings.num_beams), [prompt_cache]
    with torch.inference_mode(), _seeded(settings.seed):
        past, steps = prompt_cache.past(model, inputs), LogitsProcessorList()
        if strength != 1:
            read.append(prompt_cache.deaf)
            pasts = [past, prompt_cache.deaf.past(model, inputs)]
            for one in pasts:
                _read(model, ids[:, :-1], one)
            past, steps = FlamingoCache.stacked(pasts), _guided(strength, settings)
            config.update(do_sample=False, num_return_sequences=1, temperature=None, top_k=None, top_p=None)
        elif rows > 1:
            _read(model, ids[:, :-1], past)
        if rows > 1:
            _keep(read, ids[0].tolist(), past)
            past.batch_repeat_interleave(rows)
        asked = ids.expand(rows * 2, -1) if strength != 1 else ids
        out: Any = model.generate(
            asked,
            attention_mask=torch.ones_like(asked),
            cache=past,
            generation_config=config,
            logits_processor=steps,
            streamer=streamer,
            stopping_criteria=StoppingCriteriaList([StopAsked(stop)] if stop is not None else []),
        )
    if rows == 1:
        _keep(read, out.sequences[0].tolist(), out.cache)
    return [row[ids.shape[1] :].tolist() for row in out.sequences[:rows]]


def _keep(read: Sequence[PromptCache], tokens: list[int], past: FlamingoCache) -> None:
    """Lets each of `read` remember its row of `past`."""
    for n, prompt_cache in enumerate(read):
        own = past.fork()
        if len(read) > 1:
            own.batch_select_indices(torch.tensor([n]))
        prompt_cache.keep(tokens, own)


def _read(model: AudioFlamingo, ids: Tensor, past: FlamingoCache) -> None:
    """Lets the cache read what of `ids` (1, T) it has not read yet."""
    known = past.get_seq_length()
    if known < ids.shape[1]:
        model.hidden_states(ids[:, known:], cache=past, use_cache=True)


def stream(
    model: AudioFlamingo,
    tokenizer: PreTrainedTokenizerBase,
    inputs: dict[str, Tensor],
    settings: GenerationSettings,
    stop: threading.Event | None = None,
    prompt_cache: PromptCache | None = None,
) -> Iterator[str]:
    """Yields the answer piece by piece, without its end token; beam search yields it whole.

    stop: looked at before every token; what was said until then stays. Closing the iterator stops too.
    prompt_cache: given and updated, it makes a prompt that begins like the last one cheap.
    Raises BadRequest for a prompt longer than the model reads, and whatever the model raises.
    """
    stop = stop or threading.Event()
    closed = threading.Event()
    both = _Either(stop, closed)
    pieces: queue.SimpleQueue[Piece] = queue.SimpleQueue()
    ends = end_tokens(model, tokenizer)
    streamer = _Pieces(tokenizer, ends, pieces) if settings.num_beams == 1 else None

    def work() -> None:
        try:
            (answer,) = _generate(model, tokenizer, inputs, settings, both, prompt_cache, streamer=streamer)
            if streamer is None:
                pieces.put(text_of(tokenizer, answer, ends))
        except BaseException as error:  # handed to the one who reads the stream
            pieces.put(error)
        finally:
            pieces.put(None)

    worker = threading.Thread(target=work, name="afcore-generate", daemon=True)
    worker.start()
    try:
        while (piece := pieces.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            yield piece
    finally:
        closed.set()
        worker.join()


class _Either:
    """Set as soon as one of its events is."""

    def __init__(self, *events: threading.Event):
        self.events = events

    def is_set(self) -> bool:
        return any(event.is_set() for event in self.events)


def candidates(
    model: AudioFlamingo,
    tokenizer: PreTrainedTokenizerBase,
    inputs: dict[str, Tensor],
    settings: GenerationSettings,
    n: int,
    stop: threading.Event | None = None,
    prompt_cache: PromptCache | None = None,
) -> list[str]:
    """n answers to one prompt, sampled (or the best n of a beam search); the prompt is read once.
    Raises BadRequest where the settings cannot give n different answers."""
    if n < 1:
        raise BadRequest("Ask for at least one candidate.")
    ends = end_tokens(model, tokenizer)
    answers = _generate(model, tokenizer, inputs, settings, stop, prompt_cache, returned=n)
    return [text_of(tokenizer, answer, ends) for answer in answers]


def answers(
    model: AudioFlamingo,
    tokenizer: PreTrainedTokenizerBase,
    asked: Sequence[dict[str, Tensor]],
    settings: GenerationSettings,
) -> list[str]:
    """The likeliest answer to each of several prompts, which are read and answered together: for whoever asks many.

    asked: `inputs` of each. Prompts are padded on the left, audios with absent windows, which nobody looks at where the
    model masks them: an answer is then the one that the prompt alone gives, up to rounding. Raises BadRequest for
    settings that draw or use beams, or a prompt longer than the model reads.
    """
    if settings.temperature > 0 or settings.num_beams > 1:
        raise BadRequest("Many prompts are answered by the likeliest words alone.")
    ends = end_tokens(model, tokenizer)
    return [text_of(tokenizer, tokens, ends) for tokens in _together(model, tokenizer, asked, settings)]


def drawn(
    model: AudioFlamingo,
    tokenizer: PreTrainedTokenizerBase,
    asked: Sequence[dict[str, Tensor]],
    settings: GenerationSettings,
    n: int,
) -> list[list[tuple[int, ...]]]:
    """n drawn answers to each of several prompts, read as by `answers`: their tokens up to and with the one that ends
    them, where it came in time. Raises BadRequest for a temperature of 0, guidance, and as `answers`."""
    if settings.temperature <= 0 or settings.num_beams > 1 or _strength(model, asked[0], settings) != 1:
        raise BadRequest("Several answers to each prompt need a temperature above 0, one beam and no guidance.")
    ends = end_tokens(model, tokenizer)
    rows = _together(model, tokenizer, asked, settings, n)
    cut = [next((k + 1 for k, token in enumerate(row) if token in ends), len(row)) for row in rows]
    said = [tuple(row[:length]) for row, length in zip(rows, cut, strict=True)]
    return [said[k : k + n] for k in range(0, len(said), n)]


def _together(
    model: AudioFlamingo,
    tokenizer: PreTrainedTokenizerBase,
    asked: Sequence[dict[str, Tensor]],
    settings: GenerationSettings,
    n: int = 1,
) -> list[list[int]]:
    """What follows each of several prompts, in tokens, padded after its end: ``n`` rows of each, which is read once."""
    ids = [inputs["input_ids"][0] for inputs in asked]
    ends, length = end_tokens(model, tokenizer), max(map(len, ids))
    padded = torch.full((len(ids), length), min(ends), dtype=torch.long, device=ids[0].device)
    mask = torch.zeros_like(padded)
    for row, own in enumerate(ids):
        padded[row, length - len(own) :] = own
        mask[row, length - len(own) :] = 1
    windows = max(inputs["audio_embeds"].shape[1] for inputs in asked)
    embeds, real = (
        torch.cat(
            [
                F.pad(inputs[name], (0, 0) * (inputs[name].dim() - 2) + (0, windows - inputs[name].shape[1]))
                for inputs in asked
            ]
        )
        for name in ("audio_embeds", "audio_mask")
    )
    past = FlamingoCache(model.config.text_config)
    with torch.inference_mode(), _seeded(settings.seed):
        past.audio = model.remember_audio(embeds, real)
        config, steps = _generation_config(model, settings, ends, length, 1), LogitsProcessorList()
        strength = _strength(model, asked[0], settings)
        if strength != 1:
            past.audio = AudioMemory.stacked([past.audio, past.audio.silenced()])
            padded, mask, steps = padded.repeat(2, 1), mask.repeat(2, 1), _guided(strength, settings)
        elif n > 1:
            model.hidden_states(padded[:, :-1], mask[:, :-1], cache=past, use_cache=True)
            past.batch_repeat_interleave(n)
            padded, mask = padded.repeat_interleave(n, 0), mask.repeat_interleave(n, 0)
        out: Any = model.generate(
            padded, attention_mask=mask, cache=past, generation_config=config, logits_processor=steps
        )
    return [row[length:].tolist() for row in out.sequences[: n * len(ids)]]


@torch.inference_mode()
def score_continuations(
    model: AudioFlamingo,
    inputs: dict[str, Tensor],
    continuations: list[list[int]],
    prompt_cache: PromptCache | None = None,
) -> tuple[Tensor, Tensor]:
    """How likely each continuation is as what follows the prompt: the labels of a classification.

    continuations: k lists of at least one token id each. Returns the sum of the tokens' natural
    log-probabilities (k,) float32, and their numbers (k,). The prompt is read once.
    Raises BadRequest for an empty list or continuation, or a prompt longer than the model reads.
    """
    if not continuations or not all(continuations):
        raise BadRequest("There is nothing to score.")
    ids, device = inputs["input_ids"], inputs["input_ids"].device
    most = getattr(model.config.text_config, "max_position_embeddings", None)
    longest = ids.shape[1] + max(map(len, continuations)) - 1
    if most and longest > most:
        raise BadRequest(f"Prompt and label have {longest} tokens, but this model reads at most {most}.")
    prompt_cache = prompt_cache or PromptCache()
    past = prompt_cache.past(model, inputs)
    new = ids[:, past.get_seq_length() :]
    first = model(new, cache=past, use_cache=True, logits_to_keep=1).logits[0, -1].float().log_softmax(-1)
    prompt_cache.keep(ids[0].tolist(), past)
    counts = torch.tensor([len(c) for c in continuations], device=device)
    scores = first[torch.tensor([c[0] for c in continuations], device=device)]
    longer = [i for i, c in enumerate(continuations) if len(c) > 1]
    longer.sort(key=lambda i: len(continuations[i]))  # less padding per batch
    for start in range(0, len(longer), SCORED_AT_ONCE):
        some = longer[start : start + SCORED_AT_ONCE]
        scores[some] += _score_rest(model, past, [continuations[i] for i in some], device)
    return scores, counts


def _score_rest(
    model: AudioFlamingo, past: FlamingoCache, continuations: list[list[int]], device: torch.device
) -> Tensor:
    """Log-probability of each continuation (of two tokens or more) after its first token, (k,)."""
    branch = past.fork()
    branch.batch_repeat_interleave(len(continuations))
    length, known = max(map(len, continuations)), past.get_seq_length()
    tokens = torch.zeros(len(continuations), length, dtype=torch.long, device=device)
    real = torch.zeros_like(tokens)
    for row, continuation in enumerate(continuations):
        tokens[row, : len(continuation)] = torch.tensor(continuation, device=device)
        real[row, : len(continuation)] = 1
    attention = torch.cat([real.new_ones(len(tokens), known), real[:, :-1]], 1)
    logits = model(tokens[:, :-1], attention_mask=attention, cache=branch, use_cache=True).logits
    likely = logits.float().log_softmax(-1).gather(-1, tokens[:, 1:, None])[..., 0]
    summed: Tensor = (likely * real[:, 1:]).sum(1)
    return summed
