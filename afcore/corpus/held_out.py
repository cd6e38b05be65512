"""Labels that the language side never meets in training, so that what shots alone can teach is measurable.

Chosen by hand before training, not by score. The stages up to `refine` were trained without `EARLIER_HELD_OUT`, some of
every kind; the last one, `speak`, without `LAST_HELD_OUT`, sounds that few would ask for. `HELD_OUT`, what is in both,
is what no stage has met, and what is judged as held out. A clip that has one of the labels, or whose tags or caption
say one of the words, is left out of a stage, mixtures included. The audio encoder and mini CLAP are not the language
side: they know these sounds, and so do the names of AudioSet's classes that the front end reads.
"""

from __future__ import annotations

import re

from afcore.corpus.clips import ClipInfo
from afcore.knowledge.table import table

EARLIER_HELD_OUT = (
    "gunshot",
    "machine gun",
    "gun reloading",
    "laser gun",
    "cannon",
    "missile launch",
    "sheep bleating",
    "crickets chirping",
    "wolf howling",
    "horse neighing",
    "screaming",
    "crowd chatter",
    "hand clap",
    "beeping",
    "whoosh",
    "jet engine",
    "helicopter",
    "blacksmith",
    "electric sparks",
    "sword clash",
    "metal clanging",
    "waterfall",
    "coins",
    "tom drum",
    "goat bleating",
    "ricochet",
    "fire whoosh",
)  # the last three because their names or tags say the others' words

# Words by which a caption, a label or a tag of AudioSet would give such a sound its name.
WORDS = re.compile(
    r"\b(\w*gun\w*|fusillade|artillery|cannons?|missiles?|lasers?|ricochet|sheep|bleat\w*|goat|crickets?|wol(f|ves)|howl\w*|canidae|"
    r"neigh\w*|whinny|scream\w*|chatter|hubbub|clap\w*|beep\w*|bleep|whoosh\w*|swoosh|jets?|helicopters?|blacksmith|anvil|sparks?|"
    r"swords?|clash\w*|clang\w*|clank\w*|waterfalls?|coins?|toms?)\b"
)


def is_held_out(clip: ClipInfo) -> bool:
    """Whether `clip` is left out of the earlier stages: it has one of their labels or is described by their words."""
    return clip.label in EARLIER_HELD_OUT or any(WORDS.search(text) for text in (clip.caption, *clip.events))


LAST_HELD_OUT = (
    "sword clash",
    "laser gun",
    "cannon",
    "missile launch",
    "gun reloading",
    "ricochet",
    "blacksmith",
    "electric sparks",
    "tom drum",
    "whoosh",
    "fire whoosh",
    "shaker",
    "bow and arrow",
    "whip cracking",
    "billiard balls",
    "card being dealt",
    "tree falling",
    "stone chiselling",
    "digging",
    "boing",
)
"""What the stage `speak` is trained without. Helicopter, gunshot, screaming, clapping, sheep, crickets, jet and beep
are given back to it: people ask for them first. `left_out` clips, texts that `says_left_out` finds and
`left_out_classes` stay out of every text and dialogue. Chosen by hand; among sounds as rarely asked for, those that the
test packages have."""

HELD_OUT = tuple(label for label in LAST_HELD_OUT if label in EARLIER_HELD_OUT)
"""What no stage has met."""

LAST_WORDS = re.compile(
    r"\b(swords?|swordfight\w*|clash\w*|lasers?|ray ?guns?|cannons?|artillery|missiles?|"
    r"(re)?load(ed|ing)? (a |the )?(\w+ )?guns?|reload\w*|ricochet\w*|blacksmith\w*|anvils?|"
    r"sparks?|sparking|toms?|tom-toms?|\w*whoosh\w*|swoosh\w*|swish\w*|shakers?|"
    r"maracas?|(burst|rush) of flames|arrows?|archer\w*|whips?|whipp(ed|ing)|billiards?|snooker|"
    r"cue balls?|pool (balls?|table)|cards?|"
    r"trees? (is |are )?(fall\w*|being felled)|falling trees?|timber|chisel\w*|dig|digs|digging|shovel\w*|boings?)\b",
    re.IGNORECASE,
)
"""Words by which a caption, a label or a tag of AudioSet would give such a sound its name."""


def says_left_out(text: str) -> bool:
    """Whether ``text`` has one of the words of `LAST_HELD_OUT`."""
    return bool(LAST_WORDS.search(text))


def left_out(clip: ClipInfo) -> bool:
    """Whether ``clip`` has a label of `LAST_HELD_OUT` or is described by one of its words."""
    return clip.label in LAST_HELD_OUT or any(map(says_left_out, (clip.caption, *clip.events)))


def left_out_classes() -> frozenset[str]:
    """AudioSet's classes that are one of these sounds: none of their names, clauses or facts is ever said in
    training."""
    return frozenset(sound.name for sound in table() if any(map(says_left_out, (sound.name, sound.noun, sound.source))))
