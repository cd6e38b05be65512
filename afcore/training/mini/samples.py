"""Mini's texts: turns described clips into plain, interleaved and dialogue samples (reference sections 7 to 9).

A sample (`afcore.training.recipe.texts.TrainingSample`) has the numbers of the clips for its sounds. Loss is on answers
only. In interleaved samples shots are nearest neighbours or random; in some of them the labels are renamed, so that the
answer can come from the shots alone: this is what teaches the model to read its examples.

Clips whose making says more of them (`ClipInfo.extra` of instruments, voices and scenes) are also asked about that, as
far as the encoder carries it (`scenes.CARRIED`); the same questions about clips that lack such a thing are declined.
"""

from __future__ import annotations

import numpy as np

from afcore import prompts
from afcore.corpus.clips import ClipInfo, ClipSet
from afcore.training.mini.facts import NEAR, Facts, Turn, words_in
from afcore.training.mini.shots import NOISE, Shots
from afcore.training.recipe.texts import TrainingSample, loss_pieces

NOTHING = "i cannot make out any particular sound."
EMPTY = {"silence": "silence, nothing can be heard.", "hum": "a steady hum.", "noise": "nothing but noise."}
UNKNOWN = "i cannot tell that from the sound."
UNANSWERABLE = ("what is the {} of the {}?", "can you tell me the {} of the {}?", "do you know the {} of the {}?")
INAUDIBLE = (
    "name",
    "colour",
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
)
ABOUT = {
    "animals": ("animal", ("what animal is it?", "which animal do you hear?", "what animal makes this sound?")),
    "vehicles": ("vehicle", ("what vehicle is it?", "which vehicle do you hear?")),
    "music": ("instrument", ("what instrument is playing?", "which instrument do you hear?")),
    "weapons": ("weapon", ("what weapon is it?", "which weapon do you hear?")),
}
HEAR = (
    "What do you hear?",
    "What can you hear in this clip?",
    "What is this sound?",
    "Describe the sound.",
    "What is going on here?",
)
MAKES = (
    "what is making this sound?",
    "what sound is this?",
    "what do you hear?",
    "name the sound.",
    "what can be heard?",
)
KINDS = ("is this speech, music or something else?", "is it speech, music, or another kind of sound?")
PRESENT = ("is there {}?", "can you hear {}?", "does this contain {}?", "is {} part of this sound?")
ELSE = ("what else can you hear?", "what else is there?", "is there another sound?", "and what other sound?")
MAKES_IT = ("What makes the sound?", "What makes this sound?", "And what makes it?")
OFFERED = ("which of these do you hear: {}?", "which one is it: {}?")
FACTS = 0.45  # share of a clip's questions that are about its facts, where it has any
MIXED = 0.12  # share of a mixture's questions that ask, beyond the usual ones, whether an event is in it
OWN_NAME = 0.6  # share of yes/no questions that name a clip's label rather than any of its events
QUIZ = 0.6  # share of dialogues whose answers only the sound tells, not an earlier answer
MISSING = 0.02  # share of all questions that ask about a voice, instrument or sound that is not there


class SampleMaker(Shots, Facts):
    """Draws samples over `ids`, the training clips of `clips`. `neighbours` (M, 32): each clip's nearest clips from
    other packages."""

    def __init__(self, clips: ClipSet, ids: np.ndarray, neighbours: np.ndarray, seed: int = 0):
        self.clips, self.ids, self.neighbours = clips, ids, neighbours
        self.labelled = np.array([i for i in ids if clips[i].label])
        self.by_label: dict[str, list[int]] = {}
        for i in self.labelled:
            self.by_label.setdefault(self.clips.label_of(i), []).append(int(i))
        super().__init__(np.random.default_rng(seed), sorted(self.by_label))
        self.noise = [int(i) for i in ids if clips[i].extra.get("noise")]
        self.category = {clips[i].label: clips[i].category for i in self.labelled}
        self.weights = self._weights(ids)
        self.labelled_weights = self._weights(self.labelled)

    def _weights(self, ids: np.ndarray) -> np.ndarray:
        """Rare labels more often: (count of the clip's label)^-0.6, as for the student."""
        names = [self.clips[i].events[0] if self.clips[i].events else "" for i in ids]
        counts = {n: names.count(n) for n in set(names)}
        weights = np.array([counts[n] ** -0.6 for n in names])
        return np.cumsum(weights / weights.sum())

    def _draw(self, ids: np.ndarray, cumulative: np.ndarray) -> int:
        return int(ids[min(int(np.searchsorted(cumulative, self.rng.random())), len(ids) - 1)])

    def _any(self) -> int:
        """A clip that a question or dialogue is about."""
        if self.noise and self.rng.random() < NOISE:
            return self._choice(self.noise)
        return self._draw(self.ids, self.weights)

    def draw(self, form: str, rng: np.random.Generator) -> TrainingSample:
        """One training sample of a form: "" about one sound, "shots" interleaved, "dialogues". `rng` alone decides
        which."""
        self.rng = rng
        if form == "shots":
            return self.interleaved()
        if form == "dialogues":
            return self.quiz() if self.rng.random() < QUIZ else self.dialogue()
        return self.plain()

    # one sound
    def plain(self) -> TrainingSample:
        clip = self._any()
        question, answer, task, options = self.ask(clip)
        prompt = prompts.single(question, task, options)
        return self.finish(prompt, answer, [clip])

    def ask(self, clip: int) -> tuple[str, str, str, list[str] | None]:
        """A question about `clip`: (question, answer, task, options)."""
        c, roll = self.clips[clip], self.rng.random()
        if not c.events:
            return self.of_nothing(clip)
        if (facts := self.facts(c)) and self.rng.random() < FACTS:
            return self.asked(*self._choice(facts)())
        if c.extra.get("groups") and self.rng.random() < MIXED:
            return self.asked(*self.is_there(clip))
        if roll < 0.18:
            return prompts.CLASSIFY, self.name(clip), prompts.EVENTS, None
        if roll < 0.38 and c.label:
            return prompts.CLASSIFY, c.label, prompts.EVENTS, self.options(c.label)
        if roll < 0.54:
            return prompts.CAPTION, c.caption, prompts.CAPTIONING, None
        if roll < 0.57:
            question = self._choice(UNANSWERABLE).format(
                self._choice(INAUDIBLE),
                self._choice((self._choice(c.events), self._choice(self.labels), "recording", "place")),
            )
            return prompts.instruction(question), UNKNOWN, prompts.QUESTION_ANSWERING, None
        if roll < 0.61 and c.label and c.extra.get("fine"):
            return self.about(clip)
        if roll < 0.86:
            return self.asked(*self.is_there(clip))
        if roll < 0.88 and c.category:
            return prompts.instruction(self._choice(KINDS)), c.category, prompts.QUESTION_ANSWERING, None
        if roll < 0.88 + MISSING and (missing := self.missing(c)):
            return self.asked(*self._choice(missing)())
        return prompts.instruction(self._choice(MAKES)), " and ".join(c.events[:2]), prompts.QUESTION_ANSWERING, None

    def of_nothing(self, clip: int) -> tuple[str, str, str, list[str] | None]:
        """A question about noise, silence or a clip in which nobody finds anything."""
        roll, said = self.rng.random(), self.empty(clip)
        if roll < 0.35:
            return prompts.CAPTION, said, prompts.CAPTIONING, None
        if roll < 0.6:
            return prompts.CLASSIFY, said, prompts.EVENTS, None
        if roll < 0.8 or not self.clips[clip].extra.get("noise"):
            return prompts.instruction(self._choice(MAKES)), said, prompts.QUESTION_ANSWERING, None
        return self.asked(*self.is_there(clip))

    def empty(self, clip: int) -> str:
        """What is said of a clip without events."""
        return EMPTY.get(self.clips[clip].extra.get("noise", ""), NOTHING)

    def about(self, clip: int) -> tuple[str, str, str, list[str] | None]:
        """Which animal, vehicle, instrument or weapon it is, and as often such a question about a sound that is
        none."""
        c = self.clips[clip]
        fine = c.extra["fine"] if c.extra["fine"] in ABOUT and self.rng.random() < 0.6 else self._choice(tuple(ABOUT))
        noun, questions = ABOUT[fine]
        other = f"i cannot hear {'an' if noun[0] in 'aeiou' else 'a'} {noun}."
        answer = self.clips.label_of(clip) if fine == c.extra["fine"] else other
        return prompts.instruction(self._choice(questions)), answer, prompts.QUESTION_ANSWERING, None

    def name(self, clip: int) -> str:
        return self.clips[clip].label or " and ".join(self.clips[clip].events[:2])

    def options(self, label: str) -> list[str]:
        """2 to 12 labels with the true one among them, some of its own category."""
        count = int(self.rng.integers(1, 10))
        near = [n for n in self.labels if self.category[n] == self.category[label] and n != label]
        pool = list(self.rng.permutation(near))[: count // 2] if near else []
        far = [n for n in self.rng.permutation(self.labels)[: count * 2 + 2] if n != label and n not in pool]
        options = [*(pool + far)[:count], label]
        return [str(n) for n in self.rng.permutation(options)]

    def present(self, clip: int) -> tuple[str, str]:
        """An event and whether `clip` has it, yes and no equally often. What is absent is mostly drawn as what is there
        is, from another clip, so that the event's name alone never tells the answer."""
        c = self.clips[clip]
        if c.events and self.rng.random() < 0.5:
            return self._event(c), "yes"
        near = self.alike(c.events) if self.rng.random() < NEAR else ()
        if near:
            return str(self._choice(near)), "no"
        words = words_in(c)
        for _ in range(20):
            event = self._event(self.clips[self._draw(self.ids, self.weights)])
            if event and not words & set(event.split()):
                return event, "no"
        return self.absent(c), "no"

    def _event(self, c: ClipInfo) -> str:
        """A clip's label or one of its events; "" where it has none."""
        if not c.events:
            return ""
        return c.label if c.label and self.rng.random() < OWN_NAME else self._choice(c.events)

    def is_there(self, clip: int) -> Turn:
        """Whether an event is in the clip."""
        return self._there(*self.present(clip))

    def _there(self, event: str, truth: str) -> Turn:
        return self._choice(PRESENT).format(self.phrase(event) if self.rng.random() < 0.5 else event), truth, True, None

    # several turns
    def dialogue(self) -> TrainingSample:
        clip = self._any()
        c = self.clips[clip]
        if not c.events:
            turns = [(self._choice(HEAR), self.empty(clip))]
            if c.extra.get("noise"):
                turns += [self._turn(*self.is_there(clip)) for _ in range(self.rng.integers(0, 2))]
        else:
            turns = [(self._choice(HEAR), c.caption if self.rng.random() < 0.7 else " and ".join(c.events[:2]))]
            more = [self._turn(*self.is_there(clip)), (self._choice(MAKES_IT), c.events[0])]
            for chance, makers in ((0.6, self.facts(c)), (0.1, self.missing(c))):
                if makers and self.rng.random() < chance:
                    more.append(self._turn(*self._choice(makers)()))
            named = [event for event in c.events if event in self.by_label]
            if named and self.rng.random() < 0.6:
                more.append(self._which(c, self._choice(named)))
            if c.extra.get("groups") and len(c.events) > 1 and self.rng.random() < 0.5:  # one sound at a time
                a, b = (c.events[i] for i in self.rng.permutation(len(c.events))[:2])
                turns, more[1] = [(turns[0][0], a)], (self._choice(ELSE).capitalize(), b)
            if c.category and self.rng.random() < 0.4:
                more.append((self._choice(KINDS).capitalize(), c.category))
            more.append(self._turn(*self.is_there(clip)))
            if self.rng.random() < 0.25:
                more.append(
                    (
                        self._choice(UNANSWERABLE).format(self._choice(INAUDIBLE), self._choice(c.events)).capitalize(),
                        UNKNOWN,
                    )
                )
            turns += [more[i] for i in self.rng.permutation(len(more))[: self.rng.integers(1, 4)]]
        *earlier, (question, answer) = turns
        return self.finish(prompts.chat(earlier, question), answer, [clip])

    def quiz(self) -> TrainingSample:
        """Four to seven questions about one clip, nothing named by an earlier answer but what was asked about: a
        dialogue that opens with a caption teaches to answer from the caption. More answers per token than any other
        sample."""
        clip, turns = self._any(), []
        c = self.clips[clip]
        named = [event for event in c.events if event in self.by_label]
        said, known = {"yes": 0, "no": 0}, set()
        for _ in range(self.rng.integers(4, 10)):
            if named and self.rng.random() < 0.2:
                turns.append(self._which(c, event := self._choice(named)))
                known |= set(event.split())
                continue
            event, truth = self.present(clip)
            if not known & set(event.split()) and said["no"] <= said["yes"] + (truth == "yes"):
                said[truth] += 1
                known |= set(event.split())
                turns.append(self._turn(*self._there(event, truth)))
        if not turns:
            return self.dialogue()
        if c.events and self.rng.random() < 0.3:
            turns.append((self._choice(HEAR), c.caption))
        *earlier, (question, answer) = turns
        return self.finish(prompts.chat(earlier, question), answer, [clip])

    def _which(self, c: ClipInfo, event: str) -> tuple[str, str]:
        """Which of up to four sounds the clip has; `event` is the answer."""
        offered = self.rng.permutation([event, *dict.fromkeys(self.absent(c) for _ in range(3))])
        return self._choice(OFFERED).format(listed([self.phrase(str(label)) for label in offered])).capitalize(), event

    @staticmethod
    def _turn(question: str, answer: str, yes_no: bool, _options: list[str] | None) -> tuple[str, str]:
        """A question and its answer as turns of a dialogue."""
        return question.capitalize(), f"{answer}." if yes_no else answer

    @staticmethod
    def finish(prompt: prompts.Prompt, answer: str, clips: list[int], earlier_count: bool = True) -> TrainingSample:
        """The whole sample, with the loss on its answers, or on the last one alone."""
        pieces = loss_pieces(prompts.completed(prompt, answer), prompt.kind)
        last = max(n for n, (_, counts) in enumerate(pieces) if counts)
        kept = tuple((text, counts and (earlier_count or n == last)) for n, (text, counts) in enumerate(pieces))
        return TrainingSample(kept, tuple(clips))


def listed(parts: list[str]) -> str:
    """ "a, b or c"."""
    return f"{', '.join(parts[:-1])} or {parts[-1]}" if len(parts) > 1 else parts[0]
