"""Labels that the language side never meets in training, so that what shots alone can teach is measurable.

Chosen by hand before training, some of every kind, guns among them; not by score. A clip that has one of the labels, or whose
tags or caption say one of the words, is left out of every stage of language-side training, mixtures included. The audio encoder
and mini CLAP are not the language side: they know these sounds, and so do the names of AudioSet's classes that the front end reads.
"""

from __future__ import annotations

import re

from afcore.corpus.clips import ClipInfo

HELD_OUT = (
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
    """Whether `clip` has a held-out label or is described by one of its words."""
    return clip.label in HELD_OUT or any(WORDS.search(text) for text in (clip.caption, *clip.events))
