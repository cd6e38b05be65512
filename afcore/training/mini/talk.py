"""Mini's training samples: questions that people ask, answers from what is true of a clip (`answers`, `truth`).

Three forms: one question about one sound, dialogues of several turns, and questions after shots. So that the model
reads its tags for all 527 classes, and not only for those that have clips, the class of a sound is often changed for
another one: the logits of both are exchanged in the features and the embedding, which would contradict, is left out
(`ChangedClip.changes`). What is held out of training is kept out of every text by its words (`says_left_out`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from afcore import prompts
from afcore.corpus.clips import ClipInfo, ClipSet
from afcore.corpus.held_out import left_out, left_out_classes, says_left_out
from afcore.corpus.spoken import BEHIND
from afcore.knowledge.table import (
    KINDS,
    SoundClass,
    by_name,
    option_name,
    options_near,
    related,
    table,
    without_article,
)
from afcore.knowledge.truth import BEHIND as BACK
from afcore.knowledge.truth import LABELLED, NOTHING, VAGUE, Truth, above, named_class, truth_of
from afcore.training.mini.answers import ABOUT_THE_APP, ASKED_KINDS, EMPTY, Speaker, sentence
from afcore.training.mini.shots import Shots
from afcore.training.mini.wordings import finished, question
from afcore.training.recipe.texts import TrainingSample, loss_pieces

T = TypeVar("T")

CHANGED = 0.35  # share of the sounds whose class is changed for another
NOISE = 0.04  # share of the sounds that are noise, hum or silence
NAMELESS = 0.02  # share of the sounds in which nothing is found: the answer is a guess
BLENDS_MORE = 1.8  # how often two sounds at once are drawn, beside what their number would give
KNOWN = 0.6  # share of the classes drawn by chance that everybody knows
PEOPLE = 0.5  # share of the captions in people's own words, where there are any
UNSURE = 0.4  # how often a sound that one can only guess is drawn, beside one that is known
NONE_OF_THEM = 0.03  # share of the questions "which of" in which nothing that is offered is heard
NEAREST = 0.25  # and in which what is nearest to what is heard is offered in its place
NOT_ASKED = 0.6  # share of the sounds without an animal, vehicle or instrument that are not asked which it is
WINDOWS, READ = 2, 8  # windows of a sound that are read, and tags of each that the front end gives on as words
UNREAD = 0.07  # probability of what the teacher hears and the features do not say: no event, and never denied
APART = 12  # times that a caption is drawn anew which is word for word one of its shots'
TOLD = 0.1  # probability of a held-out class from which on a clip is not trained on
PLAIN_YES = 0.6  # share of the answers to questions with the options yes and no that are one word
INAUDIBLE = (
    "name",
    "colour",
    "color",
    "price",
    "brand",
    "age",
    "owner",
    "weight",
    "address",
    "maker",
    "date",
    "telephone number",
    "nationality",
    "size",
    "smell",
    "temperature",
    "model",
    "exact place",
    "year",
    "country",
    "birthday",
    "height",
    "shape",
    "value",
    "registration number",
    "serial number",
    "nickname",
    "surname",
    "profession",
    "family",
    "history",
    "title",
    "taste",
    "pattern",
    "speed in miles per hour",
    "material",
    "manufacturer",
    "home town",
    "email address",
    "eye colour",
    "hair colour",
    "postcode",
    "licence plate",
    "cost",
    "future",
)
KIND_OF_QUESTION = {  # how often each kind is asked
    "classify": 14,
    "caption": 14,
    "what": 12,
    "describe": 5,
    "source": 6,
    "which": 12,
    "kinds": 3,
    "where": 6,
    "in_or_out": 5,
    "is_there": 16,
    "any_of": 4,
    "which_of": 10,
    "else": 9,
    "attention": 6,
    "mistaken": 5,
    "sight": 4,
    "alt": 4,
    "title": 4,
    "tags": 7,
    "speech_or_music": 3,
    "sure": 1,
    "why": 2,
    "order": 1,
    "count": 1,
    "loud": 0.5,
    "unknown": 4,
    "untold": 6,
    "app": 1.5,
}
FIRST = ("what", "what", "what", "describe", "describe", "source", "which", "caption")  # of a dialogue
DIALOGUE_ONLY = ("sure", "else", "order")
ANY_OF = {"person": "a person", "animal": "an animal", "vehicle": "a vehicle", "instrument": "an instrument"}


Sentences = dict[tuple[frozenset[str], bool], list[str]]
"""People's sentences by the classes that they name, and whether the last of these is in the background."""


class ChangedClip(NamedTuple):
    """A sound of a sample: the number of its clip, and which tag logits take the values of which others."""

    clip: int
    changes: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class About:
    """What questions are drawn from."""

    sound: ChangedClip
    truth: Truth
    noise: str | None = None
    behind: bool = False
    label: str | None = None
    tags: tuple[tuple[int, float], ...] = ()


class Talk(Shots):
    """Draws samples over ``ids``, the training clips of ``clips``. ``neighbours`` (M, 32): each clip's nearest clips
    from other packages. ``sentences``: people's own, by the classes that they name."""

    def __init__(
        self,
        clips: ClipSet,
        ids: np.ndarray,
        neighbours: np.ndarray,
        sentences: Sentences,
        seed: int = 0,
    ):
        self.clips, self.neighbours, self.sentences = clips, neighbours, sentences
        self.rng = np.random.default_rng(seed)
        self.truths = {int(i): truth_of_clip(clips[int(i)]) for i in ids}
        heard = [i for i, truth in self.truths.items() if truth.events]
        for i in heard:
            clips[i].extra = readable(clips[i].extra, clips.of(i)[:WINDOWS])
            self.truths[i] = truth_of_clip(clips[i])
        told = [i for i in heard if self.truths[i].events]
        for i, truth in self.truths.items():
            if not (truth.events or clips[i].extra.get("noise")):
                self.truths[i] = guessed(clips.of(i)[:WINDOWS])
        self.noise = [i for i in self.truths if clips[i].extra.get("noise")]
        self.nameless = sorted(set(self.truths) - set(self.noise) - set(told))
        self.ids = np.array(told)
        self.weights = self._weights(self.ids)
        self.by_label: dict[str, list[int]] = {}
        for i in map(int, self.ids):
            known = set(clips[i].extra["classes"]) if "parts" not in clips[i].extra else set()
            if not known & {event.index for event in self.truths[i].events}:  # "guardian death" says nothing
                alone = self.truths[i].sure and "parts" not in clips[i].extra
                clips[i].label = option_name(self.truths[i].main) if alone else None
            label = clips[i].label
            if label:
                self.by_label.setdefault(prompts.answer_of(label), []).append(i)
        for label, found in self.by_label.items():
            for i in found:
                clips[i].label = label
        self.labels = sorted(self.by_label)
        self.category = {label: self.truths[found[0]].main.kind for label, found in self.by_label.items()}
        self.labelled = np.array([i for found in self.by_label.values() for i in found])
        self.labelled_weights = self._weights(self.labelled)
        for i, truth in self.truths.items():  # what shots say of it
            clips[i].caption = self.captioned(truth, clips[i].extra.get("noise"), _behind(clips[i]))

    def _weights(self, ids: np.ndarray) -> np.ndarray:
        """Rare classes more often: (count of the clip's strongest event)^-0.6."""
        names = [self.truths[int(i)].main.name for i in ids]
        counts = {name: names.count(name) for name in set(names)}
        sure = [1.0 if self.truths[int(i)].sure else UNSURE for i in ids]
        more = [BLENDS_MORE if "parts" in self.clips[int(i)].extra else 1.0 for i in ids]
        weights = np.array([counts[name] ** -0.6 for name in names]) * sure * more
        return np.cumsum(weights / weights.sum())

    def _choice(self, options: Sequence[T]) -> T:
        return options[int(self.rng.integers(len(options)))]

    def _draw(self, ids: np.ndarray, cumulative: np.ndarray) -> int:
        return int(ids[min(int(np.searchsorted(cumulative, self.rng.random())), len(ids) - 1)])

    @property
    def speaker(self) -> Speaker:
        return Speaker(self.rng)

    # which sound

    def about(self, clip: int | None = None, change: bool = True) -> About:
        """A clip that is asked about, by chance, with another class where ``change`` allows it."""
        if clip is None:
            roll = self.rng.random()
            if self.noise and roll < NOISE:
                clip = int(self._choice(self.noise))
            elif self.nameless and roll < NOISE + NAMELESS:
                clip = int(self._choice(self.nameless))
            else:
                clip = self._draw(self.ids, self.weights)
        info = self.clips[clip]
        truth, tags = self.truths[clip], dict(info.extra["tags"])
        sound, label = ChangedClip(clip), info.label
        if change and truth.events and truth.sure and self.rng.random() < CHANGED:
            event = self._choice(truth.events)
            sound = ChangedClip(clip, changes(event, self.another()))
            truth, label = changed(info, sound.changes), None
            tags = _changed(tags, sound.changes)
        strongest = tuple(sorted(tags.items(), key=lambda item: -item[1])[:5])
        return About(sound, truth, info.extra.get("noise"), _behind(info), label, strongest)

    def draw(self, form: str, rng: np.random.Generator) -> TrainingSample:
        """One training sample of a form: "" about one sound, "shots" after examples, "dialogues". ``rng`` alone decides
        which."""
        self.rng = rng
        make = {"": self.plain, "shots": self.after_shots, "dialogues": self.dialogue}[form]
        for _ in range(20):
            sample = make()
            if not says_left_out(sample.text):
                return sample
        raise RuntimeError("Twenty samples in a row named a sound that is held out.")

    # one sound

    def plain(self) -> TrainingSample:
        about = self.about()
        asked, answer, options = self.ask(about)
        return self.finish(prompts.single(asked, prompts.task_of(asked), options), answer, [about.sound])

    def ask(self, about: About, without: tuple[str, ...] = DIALOGUE_ONLY) -> tuple[str, str, list[str] | None]:
        """A question in the foundation model's form: (prompt, answer, options)."""
        kind = self.kind(about, without)
        if kind == "classify":
            return self.classified(about)
        if kind == "caption":
            return prompts.CAPTION, self.captioned(about.truth, about.noise, about.behind), None
        asked, answer = self.turn(kind, about)
        yes_no = prompts.asks_yes_or_no(asked)
        if yes_no:
            said = answer.split(",")[0].split(":")[0].rstrip(".").lower()
            answer = said if said in ("yes", "no") and self.rng.random() < PLAIN_YES else answer
        return prompts.instruction(asked, yes_no), answer, None

    def kind(self, about: About, without: tuple[str, ...] = ()) -> str:
        """A kind of question."""
        kinds, weights = zip(*KIND_OF_QUESTION.items(), strict=True)
        total = np.cumsum(weights)
        while True:
            kind = kinds[int(np.searchsorted(total, self.rng.random() * total[-1], side="right"))]
            if kind not in without:
                return kind

    def classified(self, about: About) -> tuple[str, str, list[str] | None]:
        truth = about.truth
        if not truth.events:
            return prompts.CLASSIFY, EMPTY[about.noise][0] if about.noise else "unknown sound", None
        name = self.name(truth.main) if about.label is None or self.rng.random() < 0.4 else about.label
        if len(truth.events) > 1 and about.label is None and self.rng.random() < 0.3:
            return prompts.CLASSIFY, " and ".join(event.tag.lower() for event in truth.events), None
        options = None
        if self.rng.random() < 0.3:
            others = [self.name(sound) for sound in self.absent(truth, int(self.rng.integers(1, 10)))]
            options = list(dict.fromkeys([name, *others]))
            options = [options[int(k)] for k in self.rng.permutation(len(options))]
        return prompts.CLASSIFY, name, options

    def name(self, sound: SoundClass) -> str:
        """One of the short names of a class, as a label would have it."""
        shown = sound.name.split(",")[0].split("(")[0].strip()
        return prompts.answer_of(
            self._choice((sound.tag, option_name(sound), shown, without_article(sound.phrases[1])))
        )

    def captioned(self, truth: Truth, noise: str | None = None, behind: bool = False) -> str:
        named = frozenset(event.name for event in truth.events) if truth.sure else frozenset()
        said = self.sentences.get((named, behind)) or self.sentences.get((named, False))
        if said and self.rng.random() < PEOPLE:
            return self._choice(said)
        return self.speaker.caption(truth, noise, behind)

    def absent(self, truth: Truth, count: int) -> list[SoundClass]:
        """Classes that are surely not heard, some of them near what is."""
        near = list(options_near(truth.main.name, 4)) if truth.events and self.rng.random() < 0.6 else []
        found: list[SoundClass] = []
        for _ in range(60):
            if len(found) == count:
                break
            other = near.pop(0) if near else self.another()
            if truth.has(other) is False and other not in found:
                found.append(other)
        return found

    def another(self) -> SoundClass:
        """Any class that may be named, mostly one that everybody knows."""
        every = spoken_classes()
        return self._choice(tuple(s for s in every if s.common) if self.rng.random() < KNOWN else every)

    def named(self, truth: Truth) -> SoundClass:
        """One of the events, at times as what stands above it."""
        event = self._choice(truth.events)
        wider = [by_name()[name] for name in sorted(above(event))]
        return self._choice(wider) if wider and self.rng.random() < 0.25 else event

    def article(self, sound: SoundClass) -> str:
        """A class as it is asked about, with its article: "a barking dog", "a dog", "dogs barking"."""
        roll = self.rng.random()
        if roll < 0.45:
            return sound.noun
        return (
            sound.source if roll < 0.75 and sound.kind in ASKED_KINDS else sound.phrases[1] if roll < 0.9 else sound.tag
        )

    def turn(self, kind: str, about: About) -> tuple[str, str]:
        """A question of a kind as a person asks it, and its answer."""
        truth, noise, say, rng = about.truth, about.noise, self.speaker, self.rng
        likely = [table()[i] for i, _ in about.tags]
        if kind == "caption":
            return question("describe", rng), sentence(self.captioned(truth, noise, about.behind))
        if kind == "describe":
            return question("describe", rng), sentence(self.captioned(truth, noise, about.behind))
        if kind == "which":
            there = [asked for asked in ASKED_KINDS if truth.of_kind(asked)]
            if not there and rng.random() < NOT_ASKED:  # or most answers would say that there is none
                return question("source", rng), say.source(truth, noise)
            asked = self._choice(there) if there and rng.random() < 0.85 else self._choice(tuple(ASKED_KINDS))
            return question(asked, rng), say.which(asked, truth, noise, likely)
        if kind == "is_there":
            if truth.sure and truth.events and rng.random() < 0.5:
                named = self.named(truth)
                return question(kind, rng, self.article(named)), say.yes(named, truth)
            other = self.absent(truth, 1)
            if other:
                asked = self.article(other[0])
                return question(kind, rng, asked), say.no(other[0].noun, truth, noise)
            kind = "what"
        if kind == "any_of":
            there = [asked for asked in ANY_OF if truth.of_kind(asked)]
            asked = self._choice(there) if there and rng.random() < 0.5 else self._choice(tuple(ANY_OF))
            if not truth.of_kind(asked) and any(asked in table()[i].kinds for i in truth.possible):
                return question("what", rng), say.what(truth, noise)  # it may be there: not to be denied
            return question(kind, rng, ANY_OF[asked]), say.any_of(asked, truth, noise)
        if kind == "which_of":
            return self.which_of(about)
        if kind == "else":
            return question(kind, rng), say.other(truth, None, noise)
        if kind == "why":
            return question(kind, rng), say.why(dict(about.tags), table())
        if kind == "unknown":
            what = self._choice(INAUDIBLE)
            of = without_article(self._choice(truth.events).source if truth.events else "recording")
            return question(kind, rng, what, of), say.declined(f"the {what} of the {of}", truth, noise)
        if kind == "untold":
            return question(kind, rng), say.declined(None, truth, noise)
        if kind == "app":
            wordings, answer = self._choice(ABOUT_THE_APP)
            return finished(self._choice(wordings) + ("?" if rng.random() < 0.8 else ""), rng), answer
        if kind == "sure":
            return question(kind, rng), say.confidence(truth, noise)
        if kind == "mistaken":
            return question(kind, rng), say.mistaken(truth, noise, likely)
        if kind == "alt":
            return question(kind, rng), say.alt(truth, noise)
        answered = {
            "what": say.what,
            "source": say.source,
            "kinds": say.kinds,
            "where": say.where,
            "in_or_out": say.in_or_out,
            "attention": say.attention,
            "sight": say.sight,
            "title": say.title,
            "tags": say.tags,
            "speech_or_music": say.speech_or_music,
            "order": say.order,
            "count": say.count,
            "loud": say.loud,
        }[kind]
        return question(kind, rng), answered(truth, noise)

    def which_of(self, about: About) -> tuple[str, str]:
        """Which of up to five sounds the clip has. Whoever offers sounds mostly knows that it is one: where what
        is heard is not offered, the answer is what is nearest to it."""
        truth, rng = about.truth, self.rng
        others = self.absent(truth, int(rng.integers(1, 5)))
        if not others:
            return question("what", rng), self.speaker.what(truth, about.noise)
        if not truth.events or rng.random() < NONE_OF_THEM:
            offered = [sound.noun for sound in others]
            answer = f"None of them: I hear {self.speaker.heard(truth, about.noise)}."
        else:
            event, sure = self._choice(truth.events), truth.sure
            near = near_classes(event)
            if near and rng.random() < NEAREST:
                event, sure = self._choice(near), False
                others = [sound for sound in others if sound != event and not related(sound, event)]
                others = others or [self.another()]
            form = int(rng.integers(3))
            own, *rest = [sound.tag if form == 2 else sound.noun for sound in (event, *others)]
            offered = [own, *(other for other in dict.fromkeys(rest) if other != own)]
            said = ("{}", "it is {}", "I hear {}") if sure else ("{}", "most likely {}", "I think it is {}")
            answer = sentence(self._choice(said).format(own))
        offered = [offered[int(k)] for k in rng.permutation(len(offered))]
        listed = f"{', '.join(offered[:-1])} or {offered[-1]}" if len(offered) > 1 else offered[0]
        return question("which_of", rng, listed), answer

    # several turns

    def dialogue(self) -> TrainingSample:
        about = self.about()
        *earlier, (asked, answer) = self.turns(about, int(self.rng.integers(2, 7)))
        return self.finish(prompts.chat(earlier, asked), answer, [about.sound])

    def turns(self, about: About, count: int) -> list[tuple[str, str]]:
        """``count`` questions and answers about one sound, each kind once."""
        truth, rng, turns = about.truth, self.rng, []
        asked_kinds: list[str] = []
        if len(truth.events) > 1 and truth.sure and rng.random() < 0.6:  # one sound at a time
            first = truth.main
            turns = [(question("what", rng), self._choice(("I hear {}.", "It sounds like {}.")).format(first.noun))]
            turns.append((question("else", rng), self.speaker.other(truth, first)))
            asked_kinds = ["what", "else"]
        elif rng.random() < 0.75:
            kind = self._choice(FIRST)
            turns, asked_kinds = [self.turn(kind, about)], [kind]
        while len(turns) < count:
            kind = self.kind(about, (*asked_kinds, "classify", "caption", *(() if turns else DIALOGUE_ONLY)))
            if kind == "else" and len(truth.events) > 1:  # which were named before is not known here
                asked_kinds.append(kind)
                continue
            turns.append(self.turn(kind, about))
            if kind not in ("is_there", "which_of", "untold"):
                asked_kinds.append(kind)
        return turns

    # with shots

    def after_shots(self) -> TrainingSample:
        """Labels after labelled examples as `Shots` draws them, or any question after examples with captions, as the
        app shows them."""
        if self.rng.random() < 0.5:
            return self.interleaved()
        about = self.about(change=False)
        count = int(self._choice((1, 2, 3, 4, 4, 4)))
        similar = bool(self.rng.random() < 0.7)
        shots = self.nearest(about.sound.clip, count) if similar else []
        if not shots:
            shots = [self._draw(self.labelled, self.labelled_weights) for _ in range(count)]
            similar = False
        texts = [(prompts.CAPTION, self.clips[i].caption) for i in shots]
        sounds = [*(ChangedClip(i) for i in shots), about.sound]
        if self.rng.random() < 0.3:
            *earlier, (asked, answer) = self.turns(about, int(self.rng.integers(1, 4)))
            prompt = prompts.chat(earlier, asked, shots=texts, similar=similar)
            return self.finish(prompt, answer, sounds)
        asked, answer, options = self.ask(about)
        if asked == prompts.CLASSIFY:
            asked, options = prompts.CAPTION, None
        if asked == prompts.CAPTION:
            answer = self.caption_apart(about.sound.clip, [caption for _, caption in texts])
        prompt = prompts.with_shots(asked, prompts.task_of(asked), texts, options, similar=similar)
        return self.finish(prompt, answer, sounds, earlier_count=False)

    def caption_apart(self, clip: int, shown: Sequence[str]) -> str:
        """Where captions of the same class are often the same, repeating a shot's is often right, and is learned."""
        info, truth = self.clips[clip], self.truths[clip]
        for _ in range(APART):
            said = self.captioned(truth, info.extra.get("noise"), _behind(info))
            if said not in shown:
                break
        return said

    def empty(self, clip: int) -> str:
        """What is said of a clip without events."""
        return EMPTY[self.clips[clip].extra["noise"]][0] if self.clips[clip].extra.get("noise") else "unknown sound"

    def options(self, label: str) -> list[str]:
        """2 to 12 labels with the true one among them, some of its own kind."""
        count = int(self.rng.integers(1, 10))
        near = [n for n in self.labels if self.category[n] == self.category[label] and n != label]
        pool = [near[int(k)] for k in self.rng.permutation(len(near))[: count // 2]]
        far = [self._choice(self.labels) for _ in range(count * 2)]
        options = list(dict.fromkeys([label, *[n for n in pool + far if n != label][:count]]))
        return [options[int(k)] for k in self.rng.permutation(len(options))]

    @staticmethod
    def finish(prompt: prompts.Prompt, answer: str, sounds: list, earlier_count: bool = True) -> TrainingSample:
        """The whole sample, with the loss on its answers, or on the last one alone."""
        pieces = loss_pieces(prompts.completed(prompt, answer), prompt.kind)
        last = max(n for n, (_, counts) in enumerate(pieces) if counts)
        kept = tuple((text, counts and (earlier_count or n == last)) for n, (text, counts) in enumerate(pieces))
        return TrainingSample(kept, tuple(s if isinstance(s, ChangedClip) else ChangedClip(int(s)) for s in sounds))


def trained(clips: ClipSet, seed: int = 0) -> np.ndarray:
    """Numbers of the training clips in which nothing held out is heard."""
    gone = {by_name()[name].index for name in left_out_classes()}
    return np.array(
        [
            i
            for i in range(len(clips))
            if clips[i].split == "train"
            and not left_out(clips[i])
            and not any(c in gone and p >= TOLD for c, p in clips[i].extra["tags"])
        ]
    )


def readable(extra: dict[str, Any], features: np.ndarray) -> dict[str, Any]:
    """What the teacher knows of a clip, as far as the ``features`` (windows, 911) that are read carry it.

    The student hears a third of the teacher's best tags otherwise. An answer that nothing in the features says can only
    be learned as a guess, and "is there a …?" as a coin's toss: so a tag of the teacher counts where it is among the
    student's strongest of a window. The others, and what the student alone hears, are neither told nor denied.
    """
    strongest = {int(c) for row in features for c in np.argsort(-row[-len(table()) :].astype(np.float32))[:READ]}

    def told(tags: Iterable[tuple[int, float]]) -> list[tuple[int, float]]:
        known = dict(tags)
        found = {c: p if c in strongest else min(p, UNREAD) for c, p in known.items()}
        found |= {c: UNREAD for c in strongest if known.get(c, 0.0) < UNREAD}
        return sorted(found.items(), key=lambda item: -item[1])

    new = {**extra, "tags": told(extra["tags"])}
    if "classes" in extra:
        new["classes"] = [c for c in extra["classes"] if c in strongest]
    if "parts" in extra:
        new["parts"] = [(part, [c for c in classes if c in strongest]) for part, classes in extra["parts"]]
    return new


def guessed(features: np.ndarray) -> Truth:
    """What is said of a sound that the teacher cannot name, or whose tags the student misses: the student's strongest
    tag that names more than a group, as a guess. ``features``: (windows, 911)."""
    strength = features[:, -len(table()) :].astype(np.float32).max(axis=0)
    specific = (table()[int(c)] for c in np.argsort(-strength))
    found = next(sound for sound in specific if not (sound.general or sound.kind in BACK or sound.name in VAGUE))
    return Truth((found,), False, frozenset(range(len(table()))))


def truth_of_clip(info: ClipInfo) -> Truth:
    """What is true of a clip that `afcore.corpus.spoken` described."""
    return changed(info, ())


def changed(info: ClipInfo, how: tuple[tuple[int, int], ...]) -> Truth:
    """What is true of a clip with changed tags."""
    if info.extra.get("noise"):
        return NOTHING
    if "parts" not in info.extra:
        return truth_of(_changed(dict(info.extra["tags"]), how), _moved(info.extra["classes"], how))
    tags = _changed(dict(info.extra["tags"]), how)
    # What each part is by itself, so that its label counts for it.
    named = [c for part, classes in info.extra["parts"] if (c := named_class(dict(part), classes)) is not None]
    lifted = {c: max(tags.get(c, 0.0), LABELLED) for c in _moved(named, how)}
    return truth_of(dict(sorted({**tags, **lifted}.items(), key=lambda item: -item[1])))


def _moved(classes: list[int], how: tuple[tuple[int, int], ...]) -> list[int]:
    gone = {source for _, source in how}
    return [c for c in classes if c not in gone]


def _changed(tags: dict[int, float], how: tuple[tuple[int, int], ...]) -> dict[int, float]:
    new = dict(tags)
    for to, source in how:
        new[to] = tags.get(source, 0.0)
    return {c: p for c, p in sorted(new.items(), key=lambda item: -item[1]) if p > 0}


@cache
def spoken_classes() -> tuple[SoundClass, ...]:
    """The classes that training may name: none that is held out, nor rooms and recordings."""
    gone = left_out_classes()
    return tuple(s for s in table() if s.name not in gone and s.kind not in ("room", "recording"))


def changes(event: SoundClass, other: SoundClass) -> tuple[tuple[int, int], ...]:
    """Which logits take whose values so that ``other`` is heard in the place of ``event``, and what stands above it
    likewise: pairs of class index and the one whose value it takes."""
    old, new = _line(event, other), _line(other, event)
    pairs = [(b, old[min(n, len(old) - 1)]) for n, b in enumerate(new)] if old else []
    pairs += [(a, new[min(n, len(new) - 1)]) for n, a in enumerate(old)] if new else []
    return tuple(pairs)


def _line(sound: SoundClass, without: SoundClass) -> list[int]:
    """A class and those above it, nearest first, but for those of another class."""
    gone = {without.name, *above(without)}
    return [by_name()[name].index for name in (sound.name, *sorted(above(sound))) if name not in gone]


@cache
def near_classes(event: SoundClass) -> tuple[SoundClass, ...]:
    """Of the classes that may be named those, no whole groups, that are taken for it or may be true beside it."""
    return tuple(
        sound
        for sound in spoken_classes()
        if sound != event and not sound.general and (sound.name in event.mistaken_for or related(sound, event))
    )


def _behind(info: ClipInfo) -> bool:
    return info.extra.get("behind", 0.0) >= BEHIND


def read_sentences(file: Path | None) -> Sentences:
    """People's sentences, from lines with ``sentence``, ``classes`` and ``relation``; those that say an order are left
    out, since the encoder does not carry it."""
    found: Sentences = {}
    if file is None:
        return found
    for row in map(json.loads, file.read_text(encoding="utf-8").splitlines()):
        if row["relation"] != "then" and not says_left_out(row["sentence"]):
            key = frozenset(row["classes"]), row["relation"] == "background"
            found.setdefault(key, []).append(row["sentence"])
    return found


assert set(ANY_OF) <= set(KINDS)
