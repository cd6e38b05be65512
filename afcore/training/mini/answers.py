"""What mini is taught to answer: whole sentences, from what is true of a clip and the table of classes
(`afcore.knowledge`).

One method of `Speaker` per kind of question. Answers to a person have a capital and a full stop; captions and labels
have neither, as in the published data sets. Where nothing is sure the answer says so and still names the likeliest;
what no sound tells is declined together with what can be heard.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from afcore.knowledge.table import (
    KINDS,
    PLACES,
    SoundClass,
    by_name,
    option_name,
    place_weights,
    related,
    without_article,
)
from afcore.knowledge.truth import Truth, above

EMPTY = {
    "silence": ("silence", "Nothing can be heard: the clip is silent."),
    "hum": ("a steady hum", "Only a steady hum, as of mains current."),
    "noise": ("nothing but noise", "Nothing but noise."),
}
NO_SOUND = "a sound that I cannot name"
MOST_TAGS = 5
ASKED_KINDS = {"animal": "an animal", "vehicle": "a vehicle", "instrument": "a musical instrument"}


class Speaker:
    """Draws the wording of answers with ``rng``."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng

    def pick(self, choices: Sequence[str]) -> str:
        return choices[int(self.rng.integers(len(choices)))]

    # parts of sentences

    def nouns(self, truth: Truth) -> str:
        return _and([event.noun for event in truth.events])

    def heard(self, truth: Truth, noise: str | None = None) -> str:
        """What can be heard, as the end of "I hear …"."""
        if not truth.events:
            return EMPTY[noise][0] if noise else NO_SOUND
        return self.nouns(truth) if truth.sure else f"what may be {_or([event.noun for event in truth.events])}"

    def clause(self, sound: SoundClass) -> str:
        """A sentence with subject and verb, mostly the first of the table."""
        return sound.phrases[0] if self.rng.random() < 0.75 else f"{sound.noun} can be heard"

    # whole clip

    def caption(self, truth: Truth, noise: str | None = None, behind: bool = False) -> str:
        """One sentence, every event once. ``behind``: the last event is much fainter than the first."""
        events = truth.events
        if not events:
            return EMPTY[noise][0] if noise else "a sound that is hard to name"
        if not truth.sure:
            return self.pick(("it may be {}", "perhaps {}", "a sound that may be {}")).format(
                _or([event.noun for event in events])
            )
        if len(events) == 1:
            return self.clause(events[0])
        first = events[0].phrases[0]
        if behind and len(events) == 2:
            return self.pick(("{} with {} in the background", "{}, and {} in the background")).format(
                first, events[1].noun
            )
        rest = _and([event.phrases[0] for event in events[1:]])
        if len(events) == 2:
            return self.pick(("{} and {}", "{} while {}", "{} as {}", "{}, and {}")).format(first, rest)
        return self.pick(("{} while {}", "{}, {}")).format(first, rest)

    def described(self, truth: Truth, noise: str | None, behind: bool) -> str:
        return sentence(self.caption(truth, noise, behind))

    def what(self, truth: Truth, noise: str | None = None) -> str:
        if not truth.events:
            return EMPTY[noise][1] if noise else "I hear a sound, but I cannot name it."
        if not truth.sure:
            return self.pick(("It may be {}.", "I am not sure, but it may be {}.", "Perhaps {}.")).format(
                _or([event.noun for event in truth.events])
            )
        if self.rng.random() < 0.3:
            return sentence(self.caption(truth))
        return self.pick(("I hear {}.", "That is {}.", "It sounds like {}.", "I can hear {}.", "This is {}.")).format(
            self.nouns(truth)
        )

    def source(self, truth: Truth, noise: str | None = None) -> str:
        if not truth.events:
            return self.what(truth, noise)
        sources = list(dict.fromkeys(event.source for event in truth.events))
        if not truth.sure:
            return f"I am not sure: perhaps {_or(sources)}."
        if len(sources) == 1 and self.rng.random() < 0.5:
            return sentence(self.pick(("it is made by {}", "{} makes it", "by the sound of it, {}")).format(sources[0]))
        return sentence(self.pick(("{}", "it is {}", "that is {}")).format(_and(sources)))

    def which(self, kind: str, truth: Truth, noise: str | None = None, likely: Sequence[SoundClass] = ()) -> str:
        """Which animal, vehicle or instrument it is. ``likely``: the strongest tags, from which the likeliest is named
        where nothing more is sure than that it is one."""
        found = truth.of_kind(kind)
        guess = next((one for one in likely if kind in one.kinds and not one.general), None)
        if kind == "instrument" and not found and any(_musical(event) for event in truth.events):
            if guess is None:
                return f"I hear {self.heard(truth)}, but I cannot tell which instrument."
            return f"I hear {self.heard(truth)}, perhaps {guess.noun}."
        if not found:
            return self.pick(("I hear no {0}, but {1}.", "That is no {0}: I hear {1}.")).format(
                without_article(ASKED_KINDS[kind]), self.heard(truth, noise)
            )
        special = [event for event in found if not event.general]
        if not special:
            if guess is None:
                return f"It is {ASKED_KINDS[kind]}, but I cannot tell which one."
            return self.pick(("It is {}, perhaps {}.", "It is {}, most likely {}.")).format(
                ASKED_KINDS[kind], guess.source
            )
        sources = list(dict.fromkeys(event.source for event in special))
        if not truth.sure:
            return f"It may be {_or(sources)}."
        if len(sources) == 1 and self.rng.random() < 0.15:
            return sentence(special[0].phrases[0])
        return sentence(
            self.pick(("it is {}", "that is {}", "I hear {}", "it sounds like {}", "{}")).format(_and(sources))
        )

    def kinds(self, truth: Truth, noise: str | None = None) -> str:
        events = truth.events
        if not events or not truth.sure:
            return f"One, as far as I can tell: {self.heard(truth, noise)}."
        if len(events) == 1:
            return self.pick(("One: {}.", "I hear one kind of sound, {}.", "Only one, {}.")).format(events[0].noun)
        number = ("Two", "Three")[len(events) - 2]
        return self.pick(("{0}: {1}.", "{0} kinds: {1}.", "I can make out {2}: {1}.")).format(
            number, self.nouns(truth), number.lower()
        )

    def where(self, truth: Truth, noise: str | None = None) -> str:
        if not truth.events:
            return f"{self.what(truth, noise)} That could be anywhere."
        weights: Counter[str] = Counter()
        for rank, event in enumerate(truth.events):
            for place, weight in place_weights(event).items():
                weights[place] += weight / (rank + 1)  # type: ignore[assignment]
        best = [place for place, _ in sorted(weights.items(), key=lambda item: -item[1])[:3]]
        if not best:
            return f"{self.what(truth)} That could be anywhere."
        said = [PLACES[place][0] for place in best[: int(self.rng.integers(1, 4))]]
        because = self.heard(truth)
        return self.pick(
            (
                "This could be {0}.",
                "Perhaps {0}.",
                "It could be {0}, since I hear {1}.",
                "I hear {1}, so it may be {0}.",
                "Probably {0}.",
            )
        ).format(_or(said), because)

    def in_or_out(self, truth: Truth, noise: str | None = None) -> str:
        if not truth.events:
            return f"I cannot tell: I hear {self.heard(truth, noise)}."
        sides = Counter(event.where for event in truth.events)
        inside, outside = sides["indoors"], sides["outdoors"]
        if inside == outside:
            return f"It could be either: {self.heard(truth)} can be heard indoors and outdoors."
        side = "indoors" if inside > outside else "outdoors"
        told = _and([event.noun for event in truth.events if event.where == side])
        return self.pick(
            ("Probably {0}: that is where one mostly hears {1}.", "{2}, I think, since I hear {1}.")
        ).format(side, told, side.capitalize())

    def yes(self, sound: SoundClass, truth: Truth) -> str:
        clause = next((event.phrases[0] for event in truth.events if _is(event, sound)), sound.phrases[0])
        return self.pick(("Yes.", "Yes, {0}.", "Yes, I hear {1}.")).format(clause, sound.noun)

    def no(self, asked: str, truth: Truth, noise: str | None = None) -> str:
        """``asked`` with its article."""
        return self.pick(
            ("No.", "No, I hear {1}.", "No, there is no {0}; I hear {1}.", "No, I do not hear {2}.")
        ).format(without_article(asked), self.heard(truth, noise), asked)

    def any_of(self, kind: str, truth: Truth, noise: str | None = None) -> str:
        found = truth.of_kind(kind)
        if found and truth.sure:
            return self.pick(("Yes.", "Yes, {}.", "Yes, I hear {}.")).format(_and([event.noun for event in found]))
        if found:
            return f"Perhaps: I hear {self.heard(truth)}."
        return self.no(f"a {kind}" if kind[0] not in "aeiou" else f"an {kind}", truth, noise)

    def other(self, truth: Truth, named: SoundClass | None, noise: str | None = None) -> str:
        """What else is heard beside ``named`` (beside the strongest where nothing was named)."""
        if not truth.events:
            return f"Nothing else: I hear {self.heard(truth, noise)}."
        first = named or truth.main
        rest = [event for event in truth.events if not _is(event, first)]
        if not rest or not truth.sure:
            if not truth.sure:
                return "Nothing else that I can make out."
            return self.pick(
                (
                    "Nothing else that I can make out.",
                    "I hear nothing besides {}.",
                    "No other sound that I could name, only {}.",
                )
            ).format(first.noun)
        return self.pick(("I also hear {}.", "There is also {}.", "Besides that, {}.")).format(
            _and([event.noun for event in rest])
        )

    def attention(self, truth: Truth, noise: str | None = None) -> str:
        if not truth.events:
            return f"No, I hear {self.heard(truth, noise)}."
        worst = max(truth.events, key=lambda event: ("none", "worth a look", "urgent").index(event.attention))
        maybe = "" if truth.sure else "If I hear it right, "
        if worst.attention == "none":
            return self.pick(("No, I hear {0}: nothing to worry about.", "No: I hear {0}, and {1}.")).format(
                self.heard(truth), _clause(worst.matters)
            )
        advice = f" {sentence(worst.advice)}" if worst.advice else ""
        if worst.attention == "urgent":
            return sentence(f"{maybe}yes: {_clause(worst.matters)}.") + advice
        return sentence(f"{maybe}it may be worth a look: {_clause(worst.matters)}.") + advice

    def mistaken(self, truth: Truth, noise: str | None = None, likely: Sequence[SoundClass] = ()) -> str:
        """``likely``: the strongest tags, of which another is named where the table has nothing."""
        if not truth.events:
            return self.what(truth, noise)
        event = truth.main
        others = [by_name()[name].noun for name in event.mistaken_for[:2]]
        if not others:
            others = [one.noun for one in likely if not (related(one, event) or one.general)][:1]
        if not others:
            return f"There is little that sounds like {event.noun}."
        return sentence(
            self.pick(
                (
                    "{0} can be mistaken for {1}",
                    "it could be taken for {1}",
                    "it could be mistaken for {1}",
                    "perhaps {1}",
                )
            ).format(event.noun, _or(others))
        )

    def sight(self, truth: Truth, noise: str | None = None) -> str:
        if not truth.events:
            return f"I cannot picture anything: I hear {self.heard(truth, noise)}."
        seen = ", and ".join(event.sight for event in truth.events[:2])
        return self.pick(("One would see {}.", "Probably {}.", "Picture {}.")).format(seen)

    def alt(self, truth: Truth, noise: str | None = None, behind: bool = False) -> str:
        if not truth.events:
            return f"Audio: {self.heard(truth, noise)}."
        if not truth.sure:
            return f"Audio: {self.heard(truth)}."
        said = _and([event.phrases[1] for event in truth.events])
        return sentence(self.pick(("sound of {}", "audio: {}", "{}")).format(said))

    def title(self, truth: Truth, noise: str | None = None) -> str:
        if not truth.events:
            return {"silence": "Silence", "hum": "Steady hum", "noise": "Noise"}.get(noise or "", "Unknown sound")
        named = _and([event.tag for event in truth.events[:2]])
        return named[:1].upper() + named[1:] + ("" if truth.sure else ", perhaps")

    def tags(self, truth: Truth, noise: str | None = None) -> str:
        if not truth.events:
            return {"silence": "silence", "hum": "hum, mains hum", "noise": "noise"}.get(noise or "", "unknown sound")
        wider = [by_name()[name].tag for event in truth.events for name in sorted(above(event), key=_depth)]
        found = dict.fromkeys([event.tag for event in truth.events] + wider[: 2 if len(truth.events) > 1 else 3])
        if len(found) == 1:  # a list has two: what makes the sound, or what kind it is
            event = truth.main
            maker = without_article(re.split(r",| or ", event.source)[0])
            found |= dict.fromkeys([maker if len(maker.split()) <= 3 else event.kind])
            found |= dict.fromkeys([event.kind] if len(found) == 1 else [])
        return ", ".join(list(found)[:MOST_TAGS])

    def speech_or_music(self, truth: Truth, noise: str | None = None) -> str:
        names = {name for event in truth.events for name in (event.name, *above(event))}
        speech, music = (
            "Speech" in names,
            "Music" in names or any(e.kind in ("music", "instrument") for e in truth.events),
        )
        if speech and music:
            return "Both: speech and music."
        if speech or music:
            others = [e.noun for e in truth.events if not {"Speech", "Music"} & {e.name, *above(e)} and not _musical(e)]
            kind = "Speech" if speech else "Music"
            return f"{kind}, with {_and(others)}." if others and truth.sure else f"{kind}."
        return self.pick(("Something else: {}.", "Neither: I hear {}.")).format(self.heard(truth, noise))

    # about the answer

    def confidence(self, truth: Truth, noise: str | None = None) -> str:
        if not truth.events:
            return f"I am sure only of this: I hear {self.heard(truth, noise)}."
        if truth.sure:
            return self.pick(("Quite sure: it sounds like {}.", "Yes, fairly sure that it is {}.")).format(
                self.nouns(truth)
            )
        return f"No. It may be {_or([event.noun for event in truth.events])}, or something like it."

    def why(self, tags: Mapping[int, float], names: Sequence[SoundClass], shots: int = 0) -> str:
        """From the strongest tags, and examples where there were any."""
        best = [names[i].tag for i in sorted(tags, key=lambda i: -tags[i])[:3]] or ["no class"]
        said = self.pick(
            (
                "Of the 527 sounds that I know by name, {} fit best.",
                "My tags for it are {}.",
                "It resembles {} most.",
            )
        ).format(_and(best))
        return said + (" The examples before it helped too." if shots else "")

    def declined(self, what: str | None, truth: Truth, noise: str | None = None) -> str:
        """What no sound tells; ``what`` where the question names it: "the price of the car"."""
        heard = self.heard(truth, noise)
        if what and self.rng.random() < 0.5:
            return self.pick(("A sound does not tell {0}. I hear {1}.", "I cannot hear {0}, only {1}.")).format(
                what, heard
            )
        return self.pick(
            (
                "That cannot be told from the sound. I hear {}.",
                "A sound does not tell that; I hear {}.",
                "I cannot tell that from the sound, only that I hear {}.",
            )
        ).format(heard)

    def order(self, truth: Truth, noise: str | None = None) -> str:
        if len(truth.events) < 2 or not truth.sure:
            return f"I hear one thing only, {self.heard(truth, noise)}." if truth.sure else self.what(truth, noise)
        return f"I cannot tell which comes first; I hear {self.nouns(truth)}."

    def count(self, truth: Truth, noise: str | None = None) -> str:
        return f"I cannot count them; I hear {self.heard(truth, noise)}."

    def loud(self, truth: Truth, noise: str | None = None) -> str:
        return f"I hear all clips at the same level, so I cannot tell; what I hear is {self.heard(truth, noise)}."


ABOUT_THE_APP = (
    (
        ("who are you", "what are you", "which model are you", "what is your name", "what model is this"),
        "I am mini, a small Audio Flamingo: a language model that hears a clip through gated cross-attention.",
    ),
    (
        ("what can you do", "how can you help me", "what can i ask you", "what are you able to do"),
        "I can say what is heard in a clip, describe it, tag it, compare it with examples, and learn new sounds from a "
        "few of them.",
    ),
    (
        ("how do you hear", "how do you work", "how does this work", "how do you listen"),
        "The clip is cut into windows of seven seconds; an encoder turns each into features, and I read them while I "
        "write.",
    ),
    (
        ("what are examples for", "what do the examples do", "how do examples help", "why are there examples"),
        "Examples are sounds with known answers that I hear before yours; they show me what the labels mean.",
    ),
    (
        ("can you learn new sounds", "how do i teach you a sound", "how can i teach you", "can i add my own sounds"),
        "Yes: on the Teach page, give each new label a few examples, and I use them at once.",
    ),
    (
        ("can you make mistakes", "are you always right", "can i trust you", "how good are you"),
        "I make mistakes, above all with rare sounds and with several at once; the model card has my scores.",
    ),
    (
        ("do you keep my recordings", "what happens to my sound", "is my recording stored"),
        "I do not know what the app keeps; its pages say what is kept where and for how long.",
    ),
    (
        ("do you understand speech", "can you write down what is said", "can you transcribe this"),
        "I can hear that somebody speaks, but I cannot write down the words.",
    ),
    (
        ("which languages do you speak", "do you speak german", "can you answer in french"),
        "I answer in English only.",
    ),
    (
        ("thank you", "thanks", "thanks a lot"),
        "You are welcome.",
    ),
    (
        ("hello", "hi", "good morning", "hey"),
        "Hello! Ask me what can be heard in this clip.",
    ),
)
"""Questions about the app itself, each with its answer."""


def sentence(text: str) -> str:
    """A clause with a capital and a full stop."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def option_names(sounds: Sequence[SoundClass]) -> list[str]:
    return [option_name(sound) for sound in sounds]


def _clause(text: str) -> str:
    """The first sentence of a text, without its full stop."""
    return text.split(". ")[0].rstrip(".")


def _is(event: SoundClass, sound: SoundClass) -> bool:
    return event == sound or sound.name in above(event)


def _musical(event: SoundClass) -> bool:
    return event.kind in ("music", "instrument")


def _depth(name: str) -> tuple[int, str]:
    """Classes far from the top first: a dog before an animal."""
    from afcore.knowledge.table import ancestors

    return -len(ancestors(name)), name


def _and(parts: Sequence[str]) -> str:
    return _listed(parts, "and")


def _or(parts: Sequence[str]) -> str:
    return _listed(parts, "or")


def _listed(parts: Sequence[str], word: str) -> str:
    parts = list(dict.fromkeys(parts))
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} {word} {parts[-1]}"


assert set(ASKED_KINDS) <= set(KINDS)
