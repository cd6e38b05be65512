"""Step `match`: the first cross-attention block learns to tell, where a text names a sound, whether that sound is heard.

Not in the paper: the matching task of ALBEF (Li et al., 2021) at the depth where mini's text meets its audio first. Learned
through the whole language model from answers alone, "is there a dog?" stayed at chance for some 6,000 questions: a product
of word and sound gives no gradient while either factor is noise. Below the first block the language model hears nothing, so
its hidden states at the words are computed once, and a step, of many hundreds of pairs, costs the audio side alone.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from afcore import prompts
from afcore.checkpoints.mini import build_mini, save_mini
from afcore.corpus.clips import ClipSet
from afcore.model import AudioFlamingo
from afcore.model.cache import AudioMemory
from afcore.model.flamingo import decoder_layers
from afcore.training.mini.facts import Facts, words_in
from afcore.training.mini.language_side import AUDIO_SHARE, disturbed, trained_clips
from afcore.training.mini.samples import OFFERED, PRESENT, listed
from afcore.training.mini.watch import area

EVENTS = 64  # of a step, each with `HAVING` clips that have it
HAVING = 2
LACKING = (
    4  # clips of the step that an event is held against without being in them; together they weigh as much as `HAVING`
)
WINDOWS = 2  # of a clip, at most
WORDINGS = 6  # prompts that each event is read in
LOOKED_AT = 200  # events of the validation pairs
READING = "match.safetensors"
GAIN = 0.12  # of the reading; the smaller, the more the block must write
AROUND = 2  # positions of an event: its last token and the one after it
LONGEST = 8  # slots that a clip may stand in: that of the query after so many shots, less one
NEAR_MISS = 0.3  # share of draws of an event that bring one of the same category too


class _Reached(Exception):
    """The hidden states that the first block would read."""


@torch.no_grad()
def hidden_at(
    model: AudioFlamingo, tokenizer, texts: list[str], spans: list[list[tuple[int, int]]], batch: int = 32
) -> list[Tensor]:
    """What the first cross-attention block reads at named sounds. spans: per text, (first, last + 1) character of each name.

    Returns, per text, (names, AROUND, H) float32: at the name's last token and at the one after it."""
    first = decoder_layers(model.language_model)[min(model.config.cross_attention_layers)]

    def stop(module, args, kwargs):
        raise _Reached(args[0] if args else kwargs["hidden_states"])

    hook, found = first.register_forward_pre_hook(stop, with_kwargs=True), []
    try:
        for start in range(0, len(texts), batch):
            read = tokenizer(
                texts[start : start + batch],
                return_tensors="pt",
                padding=True,
                padding_side="right",
                return_offsets_mapping=True,
                add_special_tokens=False,
            )
            try:
                model.language_model(input_ids=read.input_ids, attention_mask=read.attention_mask)
            except _Reached as reached:
                hidden = reached.args[0].float()
            for row, names in enumerate(spans[start : start + batch]):
                ends = read.offset_mapping[row, :, 1]
                at = [int((ends >= end).nonzero()[0]) for _, end in names]
                found.append(torch.stack([hidden[row, n : n + AROUND] for n in at]))
    finally:
        hook.remove()
    return found


def wordings(
    events: list[str], facts: Facts, rng: np.random.Generator
) -> tuple[list[str], list[list[tuple[int, int]]], list[list[int]]]:
    """Prompts that name `events`: questions whether each is there, lists of options, "which of these". Returns the texts, where
    in each the names stand, and which events they are."""
    texts, spans, named = [], [], []

    def add(build, chosen: list[int], phrased: bool) -> None:
        names = [facts.phrase(events[e]) if phrased else events[e] for e in chosen]
        text, at, places = build(names), 0, []
        for name in names:
            at = text.index(name, at)
            places.append((at, at + len(name)))
            at += len(name)
        texts.append(text)
        spans.append(places)
        named.append(chosen)

    ask = lambda form: (
        lambda names: prompts.single(prompts.instruction(form.format(*names), True), prompts.QUESTION_ANSWERING).text
    )
    told = lambda form: lambda names: prompts.chat([], form.format(*names).capitalize()).text
    for e in range(len(events)):
        for _ in range(WORDINGS // 2 - 1):
            add(ask(PRESENT[rng.integers(len(PRESENT))]), [e], bool(rng.random() < 0.5))
        add(told(PRESENT[rng.integers(len(PRESENT))]), [e], bool(rng.random() < 0.5))
    offered = lambda names: prompts.chat([], OFFERED[0].format(listed(names)).capitalize()).text
    options = lambda names: prompts.single(prompts.CLASSIFY, prompts.EVENTS, names).text
    for n in range(WORDINGS - WORDINGS // 2):
        order = rng.permutation(len(events)).tolist()
        for start in range(0, len(order), 8):
            add(options if n % 3 < 2 else offered, order[start : start + 8], n % 3 == 2)
    return texts, spans, named


class Pairs:
    """Draws (event, clip, truth, weight). An event is as often absent as present, and so is a clip's part in it: those without an event
    are there for another one. So neither the name nor the clip alone tells."""

    def __init__(self, clips: ClipSet, ids: np.ndarray, events: list[str], facts: Facts, rng: np.random.Generator):
        self.rng = rng
        number = {name: n for n, name in enumerate(events)}
        self.words = [set(name.split()) for name in events]
        self.having: list[list[int]] = [[] for _ in events]
        self.told: dict[int, set[str]] = {}  # words of all that may be in a clip
        for i in map(int, ids):
            info = clips[i]
            for name in {*info.events, info.label} & number.keys():
                self.having[number[name]].append(i)
            self.told[i] = words_in(info) | set((info.label or "").split())
        self.quiet = [int(i) for i in ids if clips[i].extra.get("noise")]
        self.usable = np.array([n for n, some in enumerate(self.having) if some])
        weights = np.array([len(self.having[n]) ** 0.3 for n in self.usable])
        self.weights = weights / weights.sum()
        alike = {e: facts.alike([events[e]]) for e in self.usable}
        self.near = {
            e: [number[a] for a in names if a in number and self.having[number[a]]] for e, names in alike.items()
        }

    def draw(self, events: int = EVENTS) -> tuple[np.ndarray, np.ndarray, np.ndarray, Tensor, Tensor]:
        """Clips of a step (C,); per pair its event, which of the clips, truth 0 or 1, and weight (sum over pairs: 1)."""
        drawn = []
        while len(drawn) < events:  # some beside a near miss, so that the near ones are held against each other
            e = int(self.rng.choice(self.usable, p=self.weights))
            drawn += [e, int(self.rng.choice(self.near[e]))] if self.near[e] and self.rng.random() < NEAR_MISS else [e]
        clips = [int(self.rng.choice(self.having[e])) for e in drawn for _ in range(HAVING)]
        clips += [int(i) for i in self.rng.choice(self.quiet, 4)] if self.quiet else []
        rows = []
        for n, e in enumerate(drawn):
            rows += [(e, n * HAVING + k, 1.0, 1.0 / HAVING) for k in range(HAVING)]
            lacking = [c for c, clip in enumerate(clips) if not self.words[e] & self.told[clip]]
            close = [c for c in lacking if c // HAVING < len(drawn) and drawn[c // HAVING] in self.near[e]]
            chosen = [*close[: LACKING // 2], *self.rng.permutation(lacking)[:LACKING]][:LACKING]
            rows += [(e, int(c), 0.0, 1.0 / len(chosen)) for c in chosen]
        event, clip, truth, weight = map(np.array, zip(*rows))
        return (
            np.array(clips),
            event,
            clip,
            torch.tensor(truth, dtype=torch.float32),
            torch.tensor(weight / weight.sum(), dtype=torch.float32),
        )


def heard(
    model: AudioFlamingo, clips: ClipSet, chosen: np.ndarray, slot: int, rng: np.random.Generator, disturb: bool
) -> AudioMemory:
    """The clips `chosen` as the blocks read them, each as audio number `slot` of its sample."""
    slots = model.config.max_windows_per_audio
    features = torch.zeros(len(chosen), (slot + 1) * slots, clips.features.shape[1])
    mask = torch.zeros(features.shape[:2], dtype=torch.bool)
    for row, clip in enumerate(chosen):
        of = clips.of(int(clip))[:WINDOWS].astype(np.float32)
        of = torch.from_numpy(disturbed(of, rng) if disturb else of)
        features[row, slot * slots : slot * slots + len(of)] = of
        mask[row, slot * slots : slot * slots + len(of)] = True
    return model.remember_audio(features, mask)


class Matching:
    """The first block with a reading of the stream that it leaves (one number per position), and pairs to learn from.

    Read is one direction of the whole stream, as a later layer would, not of what the block adds: read so, the block learned to add
    2 to a stream of length 160 that itself varies by 4 along that direction, which no later layer could find in 300 steps."""

    def __init__(
        self,
        model: AudioFlamingo,
        tokenizer,
        clips: ClipSet,
        ids: np.ndarray,
        seed: int = 0,
        weights: Path | None = None,
    ):
        """ids: training clips; `weights`: a folder with the reading that `train` left there. Validation pairs are drawn from `clips` too, with the same names."""
        self.layer = min(model.config.cross_attention_layers)
        self.read = nn.Linear(model.config.text_config.hidden_size, 1)
        if weights and (weights / READING).exists():
            self.read.load_state_dict(load_file(weights / READING))
        self.model, self.clips, self.rng, self.seed = model, clips, np.random.default_rng(seed), seed
        self.block = decoder_layers(model.language_model)[self.layer].gated_cross_attn_layer
        labels = sorted({clips[i].label for i in ids if clips[i].label})
        self.events = sorted({*labels, *(event for i in ids for event in clips[i].events)})
        facts = Facts(self.rng, labels)
        texts, spans, named = wordings(self.events, facts, self.rng)
        self.states: list[list[Tensor]] = [[] for _ in self.events]
        for chosen, found in zip(named, hidden_at(model, tokenizer, texts, spans)):
            for e, state in zip(chosen, found):
                self.states[e].append(state)
        self.pairs = Pairs(clips, ids, self.events, facts, self.rng)
        validation = np.array([i for i in range(len(clips)) if clips[i].split == "validation" and clips[i].events])
        self.tested = Pairs(clips, validation, self.events, facts, np.random.default_rng(seed + 1)).draw(LOOKED_AT)

    def logits(self, event: np.ndarray, memory: AudioMemory, slot: int, rng: np.random.Generator) -> Tensor:
        """Events (B,), each in one of its wordings, and the audio of B clips → (B, AROUND) logits of "it is heard"."""
        hidden = torch.stack([self.states[e][rng.integers(len(self.states[e]))] for e in event])
        told = torch.full(hidden.shape[:2], slot + 1)
        written = self.block(hidden, memory.context(told), self.layer).float()
        return GAIN * F.linear(written, F.normalize(self.read.weight, dim=1))[..., 0] + self.read.bias

    def loss(self, events: int = EVENTS) -> Tensor:
        """Cross-entropy of one draw of pairs, in a slot of their own: the query's, whatever the number of shots."""
        chosen, event, clip, truth, weight = self.pairs.draw(events)
        slot = int(self.rng.integers(LONGEST)) if self.rng.random() < 0.5 else 0
        memory = heard(self.model, self.clips, chosen, slot, self.rng, True).select(torch.from_numpy(clip))
        logits = self.logits(event, memory, slot, self.rng)
        each = F.binary_cross_entropy_with_logits(logits, truth[:, None].expand_as(logits), reduction="none").mean(1)
        return (each * weight).sum()

    @torch.no_grad()
    def look(self) -> dict[str, float]:
        """Area under the curve on validation clips, of the right audio and of another clip's."""
        rng, (chosen, event, clip, truth, _) = np.random.default_rng(self.seed + 3), self.tested
        memory = heard(self.model, self.clips, chosen, 0, rng, False)
        found = {}
        for name, at in (("match", clip), ("match_other_audio", (clip + len(chosen) // 2) % len(chosen))):
            scores = self.logits(event, memory.select(torch.from_numpy(at)), 0, rng).mean(1)
            found[name] = round(area(scores[truth > 0.5].numpy(), scores[truth < 0.5].numpy()), 3)
        return found


def train(
    clips_folder: Path,
    encoder_folder: Path,
    weights: Path,
    out: Path,
    minutes: float,
    rank: int,
    peak: float = 1e-3,
    seed: int = 0,
) -> None:
    """Goes on from `weights` (low-rank updates of `rank`) for `minutes` and writes `out`; only the first block, the audio transformer and the front end change.

    `out/match.safetensors`: the reading, for training on (`Matching` beside the language model's loss); it does not ship."""
    torch.manual_seed(seed)
    clips = ClipSet(clips_folder)
    model, tokenizer = build_mini(encoder_folder, {}, weights, rank=rank)
    model.eval()
    ids = trained_clips(clips, seed)
    matching = Matching(model, tokenizer, clips, ids, seed)
    print(f"{len(matching.events)} events, {len(ids)} clips", flush=True)
    own = [*matching.block.parameters(), *matching.read.parameters()]
    of_audio = [*model.front_end.parameters(), *model.audio_transformer.parameters()]
    optimiser = torch.optim.AdamW(
        [{"params": own, "share": 1.0}, {"params": of_audio, "share": AUDIO_SHARE}],
        lr=peak,
        betas=(0.9, 0.98),
        weight_decay=0.05,
    )
    out.mkdir(parents=True, exist_ok=True)
    begin, step, losses, log = time.monotonic(), 0, [], open(out / "match.jsonl", "a")
    while (done := (time.monotonic() - begin) / 60 / minutes) < 1:
        for group in optimiser.param_groups:
            group["lr"] = peak * group["share"] * min(1, (step + 1) / 50) * (1 - 0.95 * done)
        with torch.autocast("cpu", torch.bfloat16):
            loss = matching.loss()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([*own, *of_audio], 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        losses.append(loss.item())
        step += 1
        if step % 100 == 0:
            row = {
                "step": step,
                "minutes": round((time.monotonic() - begin) / 60, 2),
                "loss": round(float(np.mean(losses)), 4),
                **matching.look(),
            }
            print(json.dumps(row), flush=True)
            print(json.dumps(row), file=log, flush=True)
            losses.clear()
    save_mini(model, out)
    save_file(matching.read.state_dict(), out / READING)
