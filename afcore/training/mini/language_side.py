"""Step `flamingo`: audio transformer, front end, cross-attention and the new tokens' embeddings, around the frozen SmolLM2.

The paper's three stages (reference section 9) at mini's size. Shots are in both later ones, so that chatting does not cost them.
Features come from the cache (`afcore.corpus.clips`), so a step costs the language model only.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from afcore.checkpoints.mini import NEW_TOKENS, build_mini, save_mini
from afcore.corpus.clips import ClipSet
from afcore.corpus.held_out import is_held_out
from afcore.encoders.mini import EMBEDDING
from afcore.model import AudioFlamingo
from afcore.training.mini.samples import Sample, SampleMaker
from afcore.training.mini.watch import Watch

WITHOUT_TAGS = 0.15  # share of clips whose tags are hidden, so that the model hears with the embedding too
DROPOUT = 0.1  # of the embedding's values
AUDIO_SHARE = 0.3  # of the learning rate, for what comes before the cross-attention
WATCHED = 200  # steps between two looks at validation clips
BESIDE, BESIDE_EVENTS = (
    0.25,
    24,
)  # weight of the matching loss beside the language model's, and events in each of its draws
NO_TAG = -12.0  # logit of a hidden tag
TRAIN_WINDOWS = 4  # at most so many windows per clip: later windows change little and cost much
NEW_ROWS = len(NEW_TOKENS)  # they stand at the end of the vocabulary


def collate(
    samples: list[Sample], clips: ClipSet, tokenizer, slots: int, rng: np.random.Generator, disturb: bool = True
) -> dict[str, Tensor]:
    """Right-padded token ids, loss weight of each token, features (B, A·slots, E), `disturbed` for training, and their mask."""
    rows, weights = [], []
    for sample in samples:
        ids, loss = list(tokenizer("").input_ids), []  # the tokenizer's own start token
        loss = [0.0] * len(ids)
        for text, weight in sample.pieces:
            piece = tokenizer(text, add_special_tokens=False).input_ids
            ids += piece
            loss += [weight] * len(piece)
        rows.append(ids)
        weights.append(loss)
    length, audios = max(map(len, rows)), max(len(s.clips) for s in samples)
    batch = {
        "input_ids": torch.zeros(len(rows), length, dtype=torch.long),
        "attention_mask": torch.zeros(len(rows), length, dtype=torch.long),
        "weights": torch.zeros(len(rows), length),
        "audio_embeds": torch.zeros(len(rows), audios * slots, clips.features.shape[1]),
        "audio_mask": torch.zeros(len(rows), audios * slots, dtype=torch.bool),
    }
    for r, (ids, loss, sample) in enumerate(zip(rows, weights, samples)):
        batch["input_ids"][r, : len(ids)] = torch.tensor(ids)
        batch["attention_mask"][r, : len(ids)] = 1
        batch["weights"][r, : len(ids)] = torch.tensor(loss)
        for a, clip in enumerate(sample.clips):
            features = clips.of(clip)
            if len(features) > TRAIN_WINDOWS:
                start = rng.integers(0, len(features) - TRAIN_WINDOWS + 1)
                features = features[start : start + TRAIN_WINDOWS]
            at, features = a * slots, features.astype(np.float32)
            batch["audio_embeds"][r, at : at + len(features)] = torch.from_numpy(
                disturbed(features, rng) if disturb else features
            )
            batch["audio_mask"][r, at : at + len(features)] = True
    return batch


def disturbed(features: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Features (windows, 911) with some values of the embedding at 0, and sometimes without tags. Changes its argument."""
    embedding = features[:, :EMBEDDING]
    embedding *= (rng.random(embedding.shape) >= DROPOUT) / (1 - DROPOUT)
    if rng.random() < WITHOUT_TAGS:
        features[:, EMBEDDING:] = NO_TAG
    return features


class NewTokens(torch.nn.Module):
    """The rows of the three new tokens as parameters of their own, since the other 49,152 rows stay frozen.

    They begin as rows of tokens with a like task. Their gradient comes from the output side alone: from the input side it
    would have to pass every layer below the first cross-attention, half as much work again.
    """

    START = (" sound", "<|im_end|>", ":")  # of <audio>, <|endofchunk|>, <SEP>

    def __init__(self, model: AudioFlamingo, tokenizer=None):
        super().__init__()
        table = model.get_input_embeddings().weight.detach().float()
        rows = table[-NEW_ROWS:]
        if tokenizer is not None:
            rows = table[[tokenizer(t, add_special_tokens=False).input_ids[0] for t in self.START]]
        self.rows = torch.nn.Parameter(rows.clone())

    def embed(self, model: AudioFlamingo, ids: Tensor) -> Tensor:
        table = model.get_input_embeddings().weight
        new = ids - (table.shape[0] - NEW_ROWS)
        known = F.embedding(ids, table)  # in the language model's own number format, as is all that follows
        return torch.where(
            (new >= 0)[..., None], F.embedding(new.clamp(min=0), self.rows.detach()).to(known.dtype), known
        )

    def logits(self, model: AudioFlamingo, hidden: Tensor) -> Tensor:
        table = model.get_input_embeddings().weight
        old = F.linear(hidden, table[:-NEW_ROWS])
        return torch.cat([old.float(), F.linear(hidden.float(), self.rows)], -1)

    @torch.no_grad()
    def write_back(self, model: AudioFlamingo) -> None:
        model.get_input_embeddings().weight[-NEW_ROWS:] = self.rows.to(model.get_input_embeddings().weight.dtype)


@torch.no_grad()
def open_gates_(model: AudioFlamingo) -> None:
    """Opens all gates and zeroes what writes into a residual stream: the language model starts undisturbed, as with the
    paper's closed gates, but the gradient reaches the attention from the first step, and the audio transformer starts as
    a layer norm.

    Both matter for so small a model. With closed gates the attention learned nothing in 600 steps. With open attention
    alone, what the answers have in common was learned through the audio transformer, whose last layer came to give every
    clip the same output (standard deviation between clips 0.001 of 0.93 after 500 steps): now the feed-forward blocks can learn it.
    """
    for name, parameter in model.named_parameters():
        if name.endswith("_gate"):
            parameter.fill_(1.0)
        elif name.endswith(
            (
                "attn.to_out.weight",
                "gated_cross_attn_layer.ff.3.weight",
                "slf_attn.fc.weight",
                "pos_ffn.w_2.weight",
                "pos_ffn.w_2.bias",
            )
        ):
            parameter.zero_()


@torch.no_grad()
def audio_spread(model: AudioFlamingo, clips: ClipSet, rows: list[int]) -> float:
    """Standard deviation between the clips `rows` of the audio transformer's output for their first window; near 0 the model is deaf."""
    features = torch.stack([clips.tensor(i)[0] for i in rows])[:, None]
    return float(model.audio_transformer(model.front_end(features)).std(0).square().mean().sqrt())


def parameter_groups(model: AudioFlamingo, extra: list[torch.nn.Parameter]) -> list[dict]:
    """The model's trained parameters and `extra`. Weight decay on matrices alone; `AUDIO_SHARE` of the learning rate before the cross-attention."""
    groups: dict[tuple[bool, bool], list] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((name.startswith(("audio_transformer", "front_end")), parameter.ndim > 1), []).append(
                parameter
            )
    groups.setdefault((False, False), []).extend(extra)
    return [
        {"params": parameters, "share": AUDIO_SHARE if audio else 1.0, "weight_decay": 0.1 if matrix else 0.0}
        for (audio, matrix), parameters in groups.items()
    ]


def token_losses(model: AudioFlamingo, new: NewTokens, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Cross-entropy of every token that has a weight, (N,), and where those stand, (B, T - 1) bool."""
    hidden = model.hidden_states(
        batch["input_ids"],
        batch["attention_mask"],
        batch["audio_embeds"],
        batch["audio_mask"],
        inputs_embeds=new.embed(model, batch["input_ids"]),
    ).last_hidden_state
    wanted = batch["weights"][:, 1:] > 0
    logits = new.logits(model, hidden[:, :-1][wanted])
    return F.cross_entropy(logits, batch["input_ids"][:, 1:][wanted], reduction="none"), wanted


def answer_scores(model: AudioFlamingo, new: NewTokens, batch: dict[str, Tensor]) -> Tensor:
    """Mean log-probability of each sample's weighted tokens, (B,)."""
    token, wanted = token_losses(model, new, batch)
    return torch.zeros(wanted.shape).masked_scatter(wanted, -token).sum(1) / wanted.sum(1)


def loss_of(model: AudioFlamingo, new: NewTokens, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Weighted mean cross-entropy of the answers' tokens, and the same over tokens of full weight alone (for the log)."""
    token, wanted = token_losses(model, new, batch)
    weights = batch["weights"][:, 1:][wanted]
    return (token * weights).sum() / weights.sum(), token[weights == 1].detach().mean()


def trained_clips(clips: ClipSet, seed: int = 0) -> np.ndarray:
    """Numbers of the training clips of labels that are not held out. Of clips in which neither a name nor the teacher finds anything,
    few: enough to learn to say so."""
    few = np.random.default_rng(seed + 2)
    return np.array(
        [
            i
            for i in range(len(clips))
            if clips[i].split == "train"
            and not is_held_out(clips[i])
            and (clips[i].events or clips[i].extra.get("noise") or few.random() < 0.1)
        ]
    )


def train(
    clips_folder: Path,
    encoder_folder: Path,
    out: Path,
    minutes: float,
    neighbours: np.ndarray,
    batch_tokens: int = 1100,
    peak: float = 6e-4,
    seed: int = 0,
    settings: dict | None = None,
    resume: Path | None = None,
    shots: float = 0.0,
    dialogues: float = 0.0,
    rank: int = 0,
    beside: Callable[..., Any] | None = None,
) -> None:
    """Trains for `minutes` of wall time (warm-up, then cosine over time), logging to `out/log.jsonl`; writes `out`.

    Stage 1 (pretraining): the language model is frozen, single sounds alone. Stage 2 (supervised fine-tuning): goes on from
    `resume`, with LoRA of `rank` in the language model and shares `shots` of interleaved samples and `dialogues` of dialogues.
    Stage 3 (chat): the same with more dialogues.

    `beside`: (model, tokenizer, clips, ids of training clips) → `match.Matching`, whose loss is added with the weight `BESIDE`.
    """
    torch.manual_seed(seed)
    clips = ClipSet(clips_folder)
    ids = trained_clips(clips, seed)
    maker = SampleMaker(clips, ids, neighbours, seed, shots, dialogues)
    model, tokenizer = build_mini(encoder_folder, settings or {}, resume, rank=rank)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(AudioFlamingo.is_audio_parameter(name) or ".lora_" in name)
    model.train()
    model.language_model.to(torch.bfloat16)
    model.language_model.set_attn_implementation(
        "eager"
    )  # on a CPU the backward pass of the fused one costs a fifth of a step
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    new = NewTokens(model, None if resume else tokenizer)
    if not resume:
        open_gates_(model)
    matching = beside(model, tokenizer, clips, ids) if beside else None
    extra = [new.rows, *(matching.read.parameters() if matching else ())]
    trained = [p for p in model.parameters() if p.requires_grad]
    print(
        f"{sum(p.numel() for p in trained) / 1e6:.2f} M trained parameters, {len(ids)} clips, {len(maker.labels)} labels",
        flush=True,
    )
    optimiser = torch.optim.AdamW(parameter_groups(model, extra), lr=peak, betas=(0.9, 0.98))
    watch = Watch(clips, set(maker.labels))
    rng, slots = np.random.default_rng(seed + 1), model.config.max_windows_per_audio
    out.mkdir(parents=True, exist_ok=True)
    begin, step, window = time.time(), 0, []
    log = open(out / "log.jsonl", "a")
    pool: list[Sample] = []
    while (done := (time.time() - begin) / 60 / minutes) < 1:
        lr = peak * min(1, (step + 1) / 100) * (0.5 * (1 + math.cos(math.pi * done)) * 0.98 + 0.02)
        for group in optimiser.param_groups:
            group["lr"] = lr * group["share"]
        if not pool:  # samples of like length together: less padding
            drawn = [maker.sample() for _ in range(256)]
            drawn.sort(key=lambda s: sum(len(t) for t, _ in s.pieces))
            size, start = [], 0
            while start < len(drawn):
                stop = start + 1
                while (
                    stop < len(drawn)
                    and (stop - start + 1) * max(30, sum(len(t) for t, _ in drawn[stop].pieces) / 3.6) < batch_tokens
                ):
                    stop += 1
                size.append(drawn[start:stop])
                start = stop
            pool = [size[i] for i in rng.permutation(len(size))]
        samples = pool.pop()
        with torch.autocast("cpu", torch.bfloat16):
            loss, full = loss_of(model, new, collate(samples, clips, tokenizer, slots, rng))
            if matching:
                loss = loss + BESIDE * matching.loss(BESIDE_EVENTS)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([*trained, *extra], 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        step += 1
        window.append((full.item(), len(samples)))
        if step % 50 == 0:
            gates = [round(float(p.detach().tanh()), 3) for n, p in model.named_parameters() if n.endswith("attn_gate")]
            row = {
                "step": step,
                "minutes": round((time.time() - begin) / 60, 2),
                "lr": lr,
                "loss": round(float(np.nanmean([w[0] for w in window])), 4),
                "samples": sum(w[1] for w in window),
                "gates": gates,
            }
            if step % WATCHED == 0:
                model.eval()
                with torch.autocast("cpu", torch.bfloat16):
                    row |= watch(
                        lambda said: answer_scores(
                            model, new, collate(said, clips, tokenizer, slots, rng, disturb=False)
                        )
                    )
                    row |= matching.look() if matching else {}
                    row["audio_spread"] = round(audio_spread(model, clips, [item.clip for item in watch.items]), 3)
                model.train()
            print(json.dumps(row), flush=True)
            print(json.dumps(row), file=log, flush=True)
            window.clear()
        if step % 500 == 0:
            new.write_back(model)
            save_mini(model, out)
    new.write_back(model)
    save_mini(model, out)
