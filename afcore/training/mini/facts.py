"""Questions whose answer the making of a clip gives (`ClipInfo.extra` of instruments, voices and scenes), sounds that a
clip lacks, and the same questions where there is nothing to answer.

Only what the encoder carries is asked (`scenes.CARRIED`). A question is a `Turn`: (question, answer, whether it is yes
or no, options).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np

from afcore import prompts
from afcore.corpus.clips import ClipInfo
from afcore.corpus.instruments import FAMILIES
from afcore.corpus.labels import read_names
from afcore.corpus.scenes import CARRIED, TIMES

T = TypeVar("T")
Turn = tuple[str, str, bool, list[str] | None]
INSTRUMENT = ("what instrument is playing?", "which instrument do you hear?")
FAMILY = (
    "which family of instruments is it?",
    "what family does the instrument belong to?",
    "what kind of instrument is playing?",
)
SOURCE = ("is the instrument acoustic or electronic?", "is it an acoustic or an electronic instrument?")
TEMPO = ("is it slow or fast?", "is the tempo slow or fast?")
VOICE = ("is the speaker a man or a woman?", "is a man or a woman speaking?", "is it a man's or a woman's voice?")
SPEAKING = ("is anyone speaking?", "can you hear someone talking?", "is there a voice?")
LOUDER = ("which is louder, {} or {}?", "what is louder: {} or {}?")
FIRST = ("which comes first, {} or {}?", "what do you hear first: {} or {}?")
COUNT = ("how many times do you hear {}?", "how often can {} be heard?")
NOBODY, NO_INSTRUMENT, ABSENT = "i cannot hear anyone speaking.", "i cannot hear an instrument.", "i cannot hear {}."
# Words of labels and tags from which on nobody may say that there is no voice, or no instrument.
VOICED = re.compile(
    "speech|speak|narration|conversation|sing|voice|vocal|choir|chant|rap|shout|yell|laugh|child|baby|crowd|"
    r"man\b|male|people|human|grunt|groan|cough|radio|television"
)
MUSICAL = re.compile(
    "music|guitar|drum|piano|percussion|synth|sing|song|bell|cymbal|chime|organ|horn|flute|string|beat|tone|"
    "jingle|instrument|gong|choir|whistl|alarm"
)
# Much else may be in them.
GENERIC = frozenset(("music", "drum beat", "ringtone", "electronic sound effect", "crash", "monster growling"))
NEAR = 0.3  # share of absent events that sound alike, where the clip's own names are known to be all


def words_in(c: ClipInfo) -> set[str]:
    """The words of all that may be in a clip."""
    return {word for event in (*c.events, *c.maybe) for word in event.split()}


class Facts:
    """Draws questions with `rng`; `labels`: all that may be named as absent."""

    def __init__(self, rng: np.random.Generator, labels: list[str]):
        self.rng, self.labels = rng, labels
        self.names = read_names()
        self._near: dict[tuple[str, ...], tuple[str, ...]] = {}

    def _choice(self, options: Sequence[T]) -> T:
        return options[int(self.rng.integers(len(options)))]

    def absent(self, c: ClipInfo) -> str:
        """A label that nothing known of the clip shares a word with; often one of the same category as what is in
        it."""
        said = words_in(c)
        near = self.alike(c.events) if self.rng.random() < NEAR else ()
        for k in range(40):
            other = self._choice(near if near and k < 20 else self.labels)
            if not said & set(other.split()):
                break
        return str(other)

    def alike(self, events: Iterable[str]) -> tuple[str, ...]:
        """Near misses of a clip with `events`: labels of their categories that share no class of AudioSet with any of
        them."""
        key = tuple(events)
        if key not in self._near:
            known = [self.names[e] for e in key if e in self.names]
            classes, kinds = {part for n in known for part in n.audioset}, {n.category for n in known}
            named = [self.names[label] for label in self.labels if label in self.names and label not in GENERIC]
            complete = len(known) == len(key) and not GENERIC & set(key)
            self._near[key] = tuple(
                n.label for n in named if complete and n.category in kinds and not classes & set(n.audioset)
            )
        return self._near[key]

    def phrase(self, label: str) -> str:
        """ "a dog barking" for "dog barking"; what has no phrase stays as it is."""
        return self.names[label].phrase if label in self.names else label

    def asked(
        self, question: str, answer: str, yes_no: bool, options: list[str] | None
    ) -> tuple[str, str, str, list[str] | None]:
        """A `Turn` as (prompt, answer, task, options)."""
        return prompts.instruction(question, yes_no), answer, prompts.QUESTION_ANSWERING, options

    def facts(self, c: ClipInfo) -> list[Callable[[], Turn]]:
        """Makers of questions about what is exactly known of the clip and carried by the encoder."""
        known = c.extra

        def some():
            return list(map(str, self.rng.permutation(FAMILIES))) if self.rng.random() < 0.5 else None

        def plain(questions, answer, *about):
            return (
                self._choice(questions).format(*map(self.phrase, about)),
                answer,
                False,
                None,
            )

        found = {
            "instrument": lambda: plain(INSTRUMENT, known["instrument"]),
            "family": lambda: (self._choice(FAMILY), known["family"], False, some()),
            "source": lambda: plain(SOURCE, known["source"]),
            "tempo": lambda: plain(TEMPO, known["tempo"]),
            "voice": lambda: self._voice(VOICE, f"a {known['voice']}", "yes"),
            "louder": lambda: plain(LOUDER, known["louder"], *self._swapped(known["louder"], known["fainter"])),
            "first": lambda: plain(FIRST, known["first"], *self._swapped(known["first"], known["then"])),
            "count": lambda: plain(COUNT, TIMES[known["count"]], c.events[0]),
        }
        return [make for kind, make in found.items() if kind in CARRIED and known.get(kind) is not None]

    def _voice(self, questions: tuple[str, ...], answer: str, speaking: str) -> Turn:
        """Whose voice it is, or simply whether there is one."""
        asks_whose = self.rng.random() < 0.65
        return (
            (self._choice(questions), answer, False, None)
            if asks_whose
            else (self._choice(SPEAKING), speaking, True, None)
        )

    def missing(self, c: ClipInfo) -> list[Callable[[], Turn]]:
        """Makers of questions about a voice, an instrument or a second sound that the clip lacks; only of kinds that
        other clips are asked about, or refusing would be all there is to learn."""
        texts = " ".join((c.caption, *c.events, *c.maybe))
        made: list[Callable[[], Turn]] = []
        voiceless = c.category == "something else" and c.extra.get("fine") != "people" and not VOICED.search(texts)
        if "voice" in CARRIED and voiceless:
            made.append(lambda: self._voice(VOICE, NOBODY, "no"))
        if c.category in ("something else", "speech") and not MUSICAL.search(texts):
            asked = [
                q for kind, questions in (("family", FAMILY), ("source", SOURCE)) if kind in CARRIED for q in questions
            ]
            made += [lambda: (self._choice(asked), NO_INSTRUMENT, False, None)] if asked else []
        for kind, questions in (("louder", LOUDER), ("first", FIRST)):
            if kind in CARRIED:
                made.append(partial(self._compared, c, questions))
        return made

    def _compared(self, c: ClipInfo, questions: tuple[str, ...]) -> Turn:
        """A sound of the clip against one that is not in it."""
        gone = self.absent(c)
        pair = self._swapped(self._choice(c.events), gone)
        return self._choice(questions).format(*map(self.phrase, pair)), ABSENT.format(self.phrase(gone)), False, None

    def _swapped(self, a: str, b: str) -> tuple[str, str]:
        return (a, b) if self.rng.random() < 0.5 else (b, a)
