"""An auxiliary loss: what the model itself answers is judged, and right answers become likelier, wrong ones less so.

Not in the paper. Texts to be repeated teach which answers there are; which of them is true of this sound is only a
small part of their likelihood, since each question has many wordings and most of a wording's tokens say nothing of the
sound. So the model is asked, its answers are drawn, and `afcore.evaluation.grading` says of each, from what is true of
the clip, what it is worth; the gradient is that of the expected worth, less the mean of a question's other draws
(REINFORCE with a leave-one-out baseline: Kool et al., 2019; Ahmadian et al., ACL 2024).

Beside these questions stand some for a label among several (`choices`), whose right answer is known.

Only training clips and training wordings are asked about (`talk`). The questions that mini is evaluated by are worded
apart from these, but judged by the same rules: how its answers read is for a person to say
(`python -m afcore evaluate transcripts`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from afcore import prompts
from afcore.audio.windows import pad_audios
from afcore.corpus.held_out import says_left_out
from afcore.errors import BadRequest
from afcore.evaluation.grading import PARTLY, RIGHT, Question, grade, named_in, side_of
from afcore.evaluation.truth import Truth, closure
from afcore.knowledge.table import option_name, related, table
from afcore.knowledge.truth import Truth as Known
from afcore.model import AudioFlamingo, AudioFlamingoConfig
from afcore.model.generation import GenerationSettings, drawn, end_tokens, text_of
from afcore.training.mini import choices
from afcore.training.mini.answers import ASKED_KINDS
from afcore.training.mini.choices import Choice
from afcore.training.mini.talk import About, ChangedClip, Talk
from afcore.training.mini.wordings import question
from afcore.training.recipe.network import AnswerLoss
from afcore.training.recipe.sources import AuxiliaryLoss, DataSource
from afcore.training.recipe.texts import TrainingSample

KINDS = {  # how often each kind is asked
    "what": 12,
    "caption": 14,
    "source": 6,
    "which": 8,
    "kinds": 5,
    "where": 4,
    "in_or_out": 7,
    "is_there": 14,
    "which_of": 12,
    "what_else": 9,
    "attention": 5,
    "mistaken_for": 6,
    "sight": 5,
    "alt_text": 5,
    "title": 7,
    "tags": 8,
    "kind_of_sound": 3,
}
WORDED_AS = {
    "caption": "describe",
    "what_else": "else",
    "mistaken_for": "mistaken",
    "alt_text": "alt",
    "kind_of_sound": "speech_or_music",
}
"""Kinds whose wordings have another name."""
TELL_ALL = frozenset(("what", "caption", "alt_text", "title", "tags"))
"""Kinds whose answer is worth more, the more of what is heard it names."""
WORTH = {RIGHT: 1.0, PARTLY: 0.3}
LEFT_OUT = 0.5  # of a right answer's worth hangs on how much of what is heard it names, where it is asked to tell all
TRIED = 100  # sounds for a kind of question
LATER = 0.25  # share of the questions that are asked as a second turn
ALONE = 0.3  # share that are asked as the foundation model is, in no dialogue
SHOTS = 0.2  # share that are asked after examples
MOST_SHOTS = 3
LEARNED = 2  # draws of a question that are learned from at most: those that say most
CHOICES = 0.15  # of the labels' cross-entropy, whose gradient is several times that of the answers
LONGEST = 24  # tokens of an answer


@dataclass(frozen=True)
class Asked:
    """A question about a sound, and what is needed to judge its answers."""

    prompt: prompts.Prompt
    sounds: tuple[ChangedClip, ...]
    question: Question
    shown: tuple[str, ...] = ()
    """Captions of its examples."""


class Examiner:
    """Draws questions from what `talk` knows of its clips."""

    def __init__(self, talk: Talk):
        self.talk = talk
        self.kinds, weights = zip(*KINDS.items(), strict=True)
        self.weights = np.cumsum(weights) / sum(weights)

    def draw(self, rng: np.random.Generator) -> Asked:
        """One question; ``rng`` alone decides which."""
        self.talk.rng = rng
        while True:
            kind = self.kinds[int(np.searchsorted(self.weights, rng.random(), side="right"))]
            shots, one = (bool(rng.random() < share) for share in (SHOTS, 0.5))
            for _ in range(TRIED):  # another sound, not another kind, or answers that are rare stay rare
                about = self.talk.about(change=not shots)
                if not (about.truth.events and about.truth.sure):
                    continue
                asked = self._question(kind, about, one)
                if asked is not None and not says_left_out(asked.text):
                    return self._ask(asked, about, shots)

    def _question(self, kind: str, about: About, one: bool) -> Question | None:
        """A question of a kind; None where it cannot be asked of this sound. ``one``: which of two answers shall be
        right, where there are two."""
        rng, known, truth = self.talk.rng, about.truth, judged_by(about.truth, about.label)
        if kind == "which":
            there = [asked for asked in ASKED_KINDS if any(not event.general for event in known.of_kind(asked))]
            if not there:
                return None
            asked = there[int(rng.integers(len(there)))]
            return Question(f"which_{asked}", question(asked, rng), truth)
        if kind == "is_there":
            thing = self.talk.named(known) if one else next(iter(self.talk.absent(known, 1)), None)
            if thing is None:
                return None
            return Question(kind, question(kind, rng, self.talk.article(thing)), truth, thing=thing.name)
        if kind == "which_of":
            return self._which_of(known, truth)
        if kind == "what_else":
            if one and len(truth.groups()) < 2:
                return None  # nothing is left
            said = f"I hear {known.main.noun}." if one else self.talk.speaker.what(known)
            return Question(kind, question("else", rng), truth, earlier=((question("what", rng), said),))
        if kind == "in_or_out" and side_of(truth) != ("indoors" if one else "outdoors"):
            return None
        if kind == "mistaken_for" and not known.main.mistaken_for:
            return None
        return Question(kind, question(WORDED_AS.get(kind, kind), rng), truth)

    def _which_of(self, known: Known, truth: Truth) -> Question | None:
        rng = self.talk.rng
        others = self.talk.absent(known, int(rng.integers(2, 5)))
        event = known.events[int(rng.integers(len(known.events)))]
        offered = [event, *(sound for sound in others if not related(sound, event))]
        named = dict[str, str]()
        for sound in offered:
            named.setdefault(option_name(sound), sound.name)
        if len(named) < 2:
            return None
        words = [list(named)[int(k)] for k in rng.permutation(len(named))]
        text = question("which_of", rng, f"{', '.join(words[:-1])} or {words[-1]}")
        return Question("which_of", text, truth, options=tuple((word, named[word]) for word in words))

    def _ask(self, asked: Question, about: About, shots: bool) -> Asked:
        """The question in one of the forms that the app has."""
        rng, talk, turns = self.talk.rng, self.talk, list(asked.earlier)
        before: list[int] = []
        if shots:
            before = talk.nearest(about.sound.clip, int(rng.integers(1, MOST_SHOTS + 1)))
        texts = [(prompts.CAPTION, talk.clips[i].caption) for i in before]
        sounds, shown = (*(ChangedClip(i) for i in before), about.sound), tuple(said for _, said in texts)
        if not turns and rng.random() < ALONE:
            yes_no = prompts.asks_yes_or_no(asked.text)
            alone = asked.kind == "caption" and rng.random() < 0.7
            said = prompts.CAPTION if alone else prompts.instruction(asked.text, yes_no)
            return Asked(prompts.with_shots(said, prompts.task_of(said), texts), sounds, asked, shown)
        if not turns and rng.random() < LATER:
            turns = [talk.turn("what", about)]
        return Asked(prompts.chat(turns, asked.text, shots=texts), sounds, asked, shown)


def judged_by(known: Known, label: str | None) -> Truth:
    """What training knows of a clip, as judges of answers take it."""
    core = tuple(event.name for event in known.events)
    heard = closure(core)
    return Truth(label or "", (), core, heard, closure(table()[i].name for i in known.possible) - heard)


def worth(asked: Question, said: str, shown: Sequence[str] = ()) -> float:
    """Of an answer, 0 to 1; nothing where it is the caption of an example, word for word."""
    if _plain(said) in map(_plain, shown):
        return 0.0
    value, truth = WORTH.get(grade(asked, said), 0.0), asked.truth
    if asked.kind not in TELL_ALL:
        return value
    true, groups = named_in(said, truth).true, truth.groups()
    told = sum(any(truth.hits(one, group) for one in true) for group in groups) / len(groups)
    return value * (1 - LEFT_OUT * (1 - told))


def _plain(text: str) -> str:
    return text.lower().strip(" .")


def advantages(worths: np.ndarray) -> np.ndarray:
    """(n,) how much more each draw is worth than the mean of the others."""
    n = len(worths)
    result: np.ndarray = (worths - worths.mean()) * n / (n - 1)
    return result


@runtime_checkable
class HasTalk(Protocol):
    """A dataset of clips that are spoken about."""

    maker: Talk

    def features(self, sample: TrainingSample, rng: np.random.Generator | None) -> list[np.ndarray]:
        """What is heard of each sound of a sample, (windows, E) float32."""
        ...


def spoken(source: DataSource | HasTalk, what: str) -> HasTalk:
    """``source``, where it is of clips that are spoken about. ``what``: is done with these. Raises BadRequest."""
    if not isinstance(source, HasTalk) or not isinstance(source.maker, Talk):
        raise BadRequest(f"{what} of clips that are spoken about: the dataset must be one of these.")
    return source


@contextmanager
def speaking(model: AudioFlamingo) -> Iterator[None]:
    """As the model answers: without dropout, with the attention that is quickest forwards."""
    language, trains = model.language_model, model.training
    attention = language.config._attn_implementation
    model.eval()
    language.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        language.set_attn_implementation(attention)
        model.train(trains)


class Rewards(AuxiliaryLoss):
    """``questions`` of each draw, each answered ``draws`` times at ``temperature``, and as many ``labels``, questions
    for a label."""

    def __init__(
        self,
        config: AudioFlamingoConfig,
        questions: int = 16,
        draws: int = 5,
        temperature: float = 0.9,
        labels: int = 0,
    ):
        super().__init__()
        self.slots, self.questions, self.draws, self.labels = config.max_windows_per_audio, questions, draws, labels
        self.settings = GenerationSettings(max_new_tokens=LONGEST, temperature=temperature, guidance=1.0)
        self.worths, self.mixed, self.found = list[float](), list[float](), list[float]()

    def trains(self, name: str) -> bool:
        """Nothing alone: without texts to repeat beside it, answers would come to sound alike."""
        return False

    def prepare(
        self, model: AudioFlamingo, tokenizer: PreTrainedTokenizerBase, source: DataSource | HasTalk, seed: int = 0
    ) -> None:
        """Raises BadRequest where the dataset is not of clips that are spoken about."""
        self.source = spoken(source, "Answers are judged")
        self.tokenizer, self.ends = tokenizer, end_tokens(model, tokenizer)
        self.eoc = int(model.config.endofchunk_token_id or 0)
        self.examiner = Examiner(self.source.maker)

    def forward(self, model: AudioFlamingo, rng: np.random.Generator) -> Tensor:
        """Minus the expected worth's gradient, per token that is learned from, and the labels' cross-entropy."""
        return self.judged(model, rng) + self.chosen(model, rng)

    def chosen(self, model: AudioFlamingo, rng: np.random.Generator) -> Tensor:
        """`CHOICES` of the mean cross-entropy of the right label."""
        loss, end = torch.zeros((), device=model.device, requires_grad=True), self.eoc
        for _ in range(self.labels):
            asked = choices.draw(self.examiner.talk, rng)
            own = self.inputs(asked, rng, model.device)
            tokens = [self.tokenizer(option, add_special_tokens=False).input_ids for option in asked.options]
            sums, counts = AnswerLoss(model, None)(batch_of([(own, (*some, end)) for some in tokens]))
            self.found.append(float((sums / counts).argmin() == 0))
            loss = loss + CHOICES * choices.loss(sums, counts) / self.labels
        return loss

    def judged(self, model: AudioFlamingo, rng: np.random.Generator) -> Tensor:
        """Of its own answers."""
        asked = sorted((self.examiner.draw(rng) for _ in range(self.questions)), key=lambda one: len(one.prompt.text))
        inputs = [self.inputs(one, rng, model.device) for one in asked]
        kept: list[tuple[dict[str, Tensor], tuple[int, ...], float]] = []
        settings = replace(self.settings, seed=int(rng.integers(1 << 31)))
        half = max(1, len(asked) // 2)
        with speaking(model):
            said = [
                row
                for start in range(0, len(asked), half)
                for row in drawn(model, self.tokenizer, inputs[start : start + half], settings, self.draws)
            ]
        for one, own, answers in zip(asked, inputs, said, strict=True):
            kept += [(own, tokens, value) for tokens, value in self.learned(one, answers)]
        loss, total, half = torch.zeros((), device=model.device, requires_grad=True), 0, (len(kept) + 1) // 2
        for some in (kept[:half], kept[half:]):  # the shorter prompts apart from the longer
            if some:
                sums, counts = AnswerLoss(model, None)(batch_of([(own, tokens) for own, tokens, _ in some]))
                loss = loss + (torch.tensor([value for *_, value in some], device=sums.device) * sums).sum()
                total += int(counts.sum())
        return loss / max(1, total)

    def learned(self, asked: Asked, answers: list[tuple[int, ...]]) -> list[tuple[tuple[int, ...], float]]:
        """Those draws of one question that are learned from, each once, with its advantage, or that of all that say the
        same."""
        texts = [text_of(self.tokenizer, tokens, self.ends).strip() for tokens in answers]
        worths = np.array([worth(asked.question, text, asked.shown) for text in texts])
        self.worths.append(float(worths.mean()))
        self.mixed.append(float(worths.std() > 0))
        found: dict[tuple[int, ...], float] = {}
        for tokens, text, value in zip(answers, texts, advantages(worths).tolist(), strict=True):
            if value and not says_left_out(text):
                found[tokens] = found.get(tokens, 0.0) + value
        return sorted(found.items(), key=lambda item: -abs(item[1]))[:LEARNED]

    def inputs(self, asked: Asked | Choice, rng: np.random.Generator, device: torch.device) -> dict[str, Tensor]:
        """What the model's forward pass takes."""
        heard = self.source.features(TrainingSample(((asked.prompt.text, False),), asked.sounds), rng)
        silence = torch.zeros(heard[0].shape[1])
        embeds, mask = pad_audios([torch.from_numpy(one) for one in heard], silence, self.slots)
        ids = self.tokenizer(asked.prompt.text, return_tensors="pt").input_ids
        found = {"input_ids": ids, "audio_embeds": embeds[None], "audio_mask": mask[None]}
        return {name: value.to(device) for name, value in found.items()}

    def look(self, model: AudioFlamingo) -> dict[str, float]:
        """Nothing: what is not trained on is asked by `python -m afcore evaluate questions`."""
        return {}

    def seen(self) -> dict[str, float]:
        """`worth`: the answers' mean; `mixed`: for what share of the questions it differed; `found`: for what share the
        right label was the likeliest."""
        kept = {"worth": self.worths, "mixed": self.mixed, "found": self.found}
        found = {name: float(np.mean(values)) for name, values in kept.items() if values}
        for values in kept.values():
            values.clear()
        return found


def batch_of(rows: list[tuple[dict[str, Tensor], tuple[int, ...]]]) -> dict[str, Tensor]:
    """Prompts, as `Rewards.inputs`, with what follows them, padded on the right; labels are what follows."""
    asked, follows = [], []
    for inputs, tokens in rows:
        asked.append(inputs["input_ids"][0])
        follows.append(asked[-1].new_tensor(tokens))
    ids = [torch.cat(pair) for pair in zip(asked, follows, strict=True)]
    labels = [torch.cat((torch.full_like(a, -100), b)) for a, b in zip(asked, follows, strict=True)]
    return {
        "input_ids": pad_sequence(ids, True),
        "labels": pad_sequence(labels, True, -100),
        "attention_mask": pad_sequence([torch.ones_like(row) for row in ids], True),
        **{
            name: pad_sequence([inputs[name][0] for inputs, _ in rows], True) for name in ("audio_embeds", "audio_mask")
        },
    }
