"""An auxiliary loss: the first cross-attention block learns to tell, where a text names a sound, whether that sound is
heard.

Not in the paper: the matching task of ALBEF (Li et al., 2021) at the depth where mini's text meets its audio first.
Learned through the whole language model from answers alone, "is there a dog?" stayed at chance for some 6,000
questions: a product of word and sound gives no gradient while either factor is noise. Below the first block the
language model hears nothing, so its hidden states at the words are computed once, and a step, of many hundreds of
pairs, costs the audio side alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from afcore import prompts
from afcore.corpus.clips import ClipSet
from afcore.errors import BadRequest
from afcore.model import AudioFlamingo, AudioFlamingoConfig
from afcore.model.cache import AudioMemory
from afcore.model.flamingo import block_of, decoder_layers
from afcore.training.mini.facts import Facts, words_in
from afcore.training.mini.samples import OFFERED, PRESENT, listed
from afcore.training.recipe.config import Disturbance
from afcore.training.recipe.disturbance import disturbed
from afcore.training.recipe.progress import area
from afcore.training.recipe.sources import AuxiliaryLoss, DataSource

EVENTS = 64  # of a step, each with `HAVING` clips that have it
HAVING = 2
LACKING = (
    4  # clips of the step that an event is held against without being in them; together they weigh as much as `HAVING`
)
WINDOWS = 2  # of a clip, at most
WORDINGS = 6  # prompts that each event is read in
LOOKED_AT = 200  # events of the validation pairs
GAIN = 0.12  # of the reading; the smaller, the more the block must write
AROUND = 2  # positions of an event: its last token and the one after it
LONGEST = 8  # slots that a clip may stand in: that of the query after so many shots, less one
NEAR_MISS = 0.3  # share of draws of an event that bring one of the same category too


class _Reached(Exception):
    """The hidden states that the first block would read."""


@torch.no_grad()
def hidden_at(
    model: AudioFlamingo,
    tokenizer: PreTrainedTokenizerBase,
    texts: list[str],
    spans: list[list[tuple[int, int]]],
    batch: int = 32,
) -> list[Tensor]:
    """What the first cross-attention block reads at named sounds. spans: per text, (first, last + 1) character of each
    name.

    Returns, per text, (names, AROUND, H) float32: at the name's last token and at the one after it."""
    first = decoder_layers(model.language_model)[min(model.config.cross_attention_layers)]

    def stop(module, args, kwargs):
        raise _Reached(args[0] if args else kwargs["hidden_states"])

    device = model.get_input_embeddings().weight.device
    hook, found = first.register_forward_pre_hook(stop, with_kwargs=True), []
    try:
        for start in range(0, len(texts), batch):
            tokens = tokenizer(
                texts[start : start + batch],
                return_tensors="pt",
                padding=True,
                padding_side="right",
                return_offsets_mapping=True,
                add_special_tokens=False,
            )
            try:
                model.language_model(
                    input_ids=tokens.input_ids.to(device), attention_mask=tokens.attention_mask.to(device)
                )
            except _Reached as reached:
                hidden = reached.args[0].float()
            for row, names in enumerate(spans[start : start + batch]):
                ends = tokens.offset_mapping[row, :, 1]
                at = [int((ends >= end).nonzero()[0]) for _, end in names]
                found.append(torch.stack([hidden[row, n : n + AROUND] for n in at]))
    finally:
        hook.remove()
    return found


def wordings(
    events: list[str], facts: Facts, rng: np.random.Generator
) -> tuple[list[str], list[list[tuple[int, int]]], list[list[int]]]:
    """Prompts that name `events`: questions whether each is there, lists of options, "which of these". Returns the
    texts, where in each the names stand, and which events they are."""
    texts, spans, named = [], [], []

    def add(build: Callable[[list[str]], str], chosen: list[int], phrased: bool) -> None:
        names = [facts.phrase(events[e]) if phrased else events[e] for e in chosen]
        text, at, places = build(names), 0, []
        for name in names:
            at = text.index(name, at)
            places.append((at, at + len(name)))
            at += len(name)
        texts.append(text)
        spans.append(places)
        named.append(chosen)

    def ask(form):
        return lambda names: (
            prompts.single(prompts.instruction(form.format(*names), True), prompts.QUESTION_ANSWERING).text
        )

    def told(form):
        return lambda names: prompts.chat([], form.format(*names).capitalize()).text

    for e in range(len(events)):
        for _ in range(WORDINGS // 2 - 1):
            add(ask(PRESENT[rng.integers(len(PRESENT))]), [e], bool(rng.random() < 0.5))
        add(told(PRESENT[rng.integers(len(PRESENT))]), [e], bool(rng.random() < 0.5))

    def offered(names):
        return prompts.chat([], OFFERED[0].format(listed(names)).capitalize()).text

    def options(names):
        return prompts.single(prompts.CLASSIFY, prompts.EVENTS, names).text

    for n in range(WORDINGS - WORDINGS // 2):
        order = rng.permutation(len(events)).tolist()
        for start in range(0, len(order), 8):
            add(options if n % 3 < 2 else offered, order[start : start + 8], n % 3 == 2)
    return texts, spans, named


class Pairs:
    """Draws (event, clip, truth, weight). An event is as often absent as present, and so is a clip's part in it: those
    without an event are there for another one. So neither the name nor the clip alone tells."""

    def __init__(self, clips: ClipSet, ids: np.ndarray, events: list[str], facts: Facts):
        number = {name: n for n, name in enumerate(events)}
        self.words = [set(name.split()) for name in events]
        self.having: list[list[int]] = [[] for _ in events]
        self.told: dict[int, set[str]] = {}  # words of all that may be in a clip
        for i in map(int, ids):
            info = clips[i]
            named = {*info.events, info.label} if info.label else set(info.events)
            for name in named & number.keys():
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

    def draw(
        self, rng: np.random.Generator, events: int = EVENTS
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, Tensor, Tensor]:
        """Clips of a step (C,); per pair its event, which of the clips, truth 0 or 1, and weight (sum over pairs:
        1)."""
        drawn: list[int] = []
        while len(drawn) < events:  # some beside a near miss, so that the near ones are held against each other
            e = int(rng.choice(self.usable, p=self.weights))
            drawn += [e, int(rng.choice(self.near[e]))] if self.near[e] and rng.random() < NEAR_MISS else [e]
        clips = [int(rng.choice(self.having[e])) for e in drawn for _ in range(HAVING)]
        clips += [int(i) for i in rng.choice(self.quiet, 4)] if self.quiet else []
        rows = []
        for n, e in enumerate(drawn):
            rows += [(e, n * HAVING + k, 1.0, 1.0 / HAVING) for k in range(HAVING)]
            lacking = [c for c, clip in enumerate(clips) if not self.words[e] & self.told[clip]]
            close = [c for c in lacking if c // HAVING < len(drawn) and drawn[c // HAVING] in self.near[e]]
            chosen = [*close[: LACKING // 2], *rng.permutation(lacking)[:LACKING]][:LACKING]
            rows += [(e, int(c), 0.0, 1.0 / len(chosen)) for c in chosen]
        event, clip, truth, weight = map(np.array, zip(*rows, strict=True))
        return (
            np.array(clips),
            event,
            clip,
            torch.tensor(truth, dtype=torch.float32),
            torch.tensor(weight / weight.sum(), dtype=torch.float32),
        )


def remembered(
    model: AudioFlamingo,
    clips: ClipSet,
    chosen: np.ndarray,
    slot: int,
    rng: np.random.Generator,
    disturbance: Disturbance,
) -> AudioMemory:
    """The clips `chosen` as the blocks read them, each as audio number `slot` of its sample."""
    slots = model.config.max_windows_per_audio
    features = torch.zeros(len(chosen), (slot + 1) * slots, clips.features.shape[1])
    mask = torch.zeros(features.shape[:2], dtype=torch.bool)
    embedding = model.config.feature_width - model.config.tag_count
    for row, clip in enumerate(chosen):
        of = disturbed(clips.of(int(clip))[:WINDOWS].astype(np.float32), disturbance, embedding, rng)
        features[row, slot * slots : slot * slots + len(of)] = torch.from_numpy(of)
        mask[row, slot * slots : slot * slots + len(of)] = True
    device = model.get_input_embeddings().weight.device
    return model.remember_audio(features.to(device), mask.to(device))


@runtime_checkable
class HasClips(Protocol):
    """`ids`: numbers of the training clips among `clips`; `disturb`: how training disturbs them."""

    clips: ClipSet
    ids: np.ndarray

    @property
    def disturb(self) -> Disturbance: ...


class Matching(AuxiliaryLoss):
    """A reading of the stream that the first block leaves (one number per position), and pairs to learn from.

    Read is one direction of the whole stream, as a later layer would, not of what the block adds: read so, the block
    learned to add 2 to a stream of length 160 that itself varies by 4 along that direction, which no later layer could
    find in 300 steps."""

    def __init__(self, config: AudioFlamingoConfig, events: int = EVENTS):
        """`events`: in each draw."""
        super().__init__()
        self.layer, self.drawn = min(config.cross_attention_layers), events
        self.read = nn.Linear(config.text_config.hidden_size, 1)
        self.events: list[str] = []
        self.states: list[list[Tensor]] = []

    def trains(self, name: str) -> bool:
        """The first block, the audio transformer and the front end; later blocks and the language model stay."""
        own = f".{self.layer}.gated_cross_attn_layer."
        return name.startswith(("audio_transformer.", "front_end.")) or own in name

    def _is_below(self, name: str) -> bool:
        """Whether the parameter `name` is of a decoder layer below the first block."""
        number = re.search(r"\.(\d+)\.decoder_layer\.", name)
        return number is not None and int(number[1]) < self.layer

    def prepare(
        self, model: AudioFlamingo, tokenizer: PreTrainedTokenizerBase, source: DataSource | HasClips, seed: int = 0
    ) -> None:
        """Computes what the language model reads at the name of every event, which training must not change. Validation
        pairs are drawn from the clips too, with the same names. Raises BadRequest where a layer below the first block
        is trained, or the dataset is not of clips."""
        if not isinstance(source, HasClips):
            raise BadRequest("The matching loss learns from clips: its dataset must be one of clips.")
        if any(p.requires_grad and self._is_below(name) for name, p in model.named_parameters()):
            raise BadRequest(
                f"The matching loss wants the language model's layers below number {self.layer} left as they are."
            )
        clips, ids, rng = source.clips, source.ids, np.random.default_rng(seed)
        self.clips, self.disturb, self.seed = clips, source.disturb, seed
        labels = sorted({label for i in ids if (label := clips[i].label)})
        self.events = sorted({*labels, *(event for i in ids for event in clips[i].events)})
        facts = Facts(rng, labels)
        texts, spans, named = wordings(self.events, facts, rng)
        self.states = [[] for _ in self.events]
        for chosen, found in zip(named, hidden_at(model, tokenizer, texts, spans), strict=True):
            for e, state in zip(chosen, found, strict=True):
                self.states[e].append(state)
        self.pairs = Pairs(clips, ids, self.events, facts)
        validation = np.array([i for i in range(len(clips)) if clips[i].split == "validation" and clips[i].events])
        tested = Pairs(clips, validation, self.events, facts)
        self.tested = tested.draw(np.random.default_rng(seed + 1), LOOKED_AT)

    def logits(
        self, model: AudioFlamingo, event: np.ndarray, memory: AudioMemory, slot: int, rng: np.random.Generator
    ) -> Tensor:
        """Events (B,), each in one of its wordings, and the audio of B clips → (B, AROUND) logits of "it is heard"."""
        hidden = torch.stack([self.states[e][rng.integers(len(self.states[e]))] for e in event])
        told = torch.full(hidden.shape[:2], slot + 1, device=hidden.device)
        block = block_of(decoder_layers(model.language_model)[self.layer])
        assert block is not None, "the config says so"
        written = block(hidden, memory.context(told), self.layer).float()
        return GAIN * F.linear(written, F.normalize(self.read.weight, dim=1))[..., 0] + self.read.bias

    def forward(self, model: AudioFlamingo, rng: np.random.Generator) -> Tensor:
        """Cross-entropy of one draw of pairs, in a slot of their own: the query's, whatever the number of shots."""
        chosen, event, clip, truth, weight = self.pairs.draw(rng, self.drawn)
        slot = int(rng.integers(LONGEST)) if rng.random() < 0.5 else 0
        memory = remembered(model, self.clips, chosen, slot, rng, self.disturb)
        device = memory.mask.device
        logits = self.logits(model, event, memory.select(torch.from_numpy(clip).to(device)), slot, rng)
        truth = truth.to(device)[:, None].expand_as(logits)
        each = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean(1)
        return (each * weight.to(device)).sum()

    @torch.no_grad()
    def look(self, model: AudioFlamingo) -> dict[str, float]:
        """Area under the curve on validation clips, of the right audio and of another clip's."""
        rng, (chosen, event, clip, truth, _) = np.random.default_rng(self.seed + 3), self.tested
        memory = remembered(model, self.clips, chosen, 0, rng, Disturbance())
        found = {}
        for name, at in (("match", clip), ("match_other_audio", (clip + len(chosen) // 2) % len(chosen))):
            rows = torch.from_numpy(at).to(memory.mask.device)
            scores = self.logits(model, event, memory.select(rows), 0, rng).mean(1).cpu()
            found[name] = round(area(scores[truth > 0.5].numpy(), scores[truth < 0.5].numpy()), 3)
        return found
