"""Which sounds train, which tune and which judge: decided by package before anything else looked at a sound.

A package is wholly in one split, so no source (recordist, microphone, file-name stem) stands on two sides. A sound whose
near-duplicate lies in a stricter split is dropped from the looser one (`dropped`).
"""

from __future__ import annotations

TEST = frozenset(
    """
scratch redeclipse-data lincity-ng-data simutrans-pak64 openttd-opensfx brainparty-data micropolis-data caveexpress-data
boswars-data freeciv-data unknown-horizons hydrogen-data lugaru-data wordwarvi-sound netpanzer-data freedroid-data
epiphany-data gnome-audio oxygen-sounds searchandrescue-data trackballs-data plee-the-bear-data etw-data tuxfootball
foobillardplus-data zaz-data pushover-data
""".split()
)
VALIDATION = frozenset(
    """
minetest-data minetest-mod-homedecor minetest-mod-mesecons scorched3d-data supertuxkart-data wims-help krank warmux-data
btanks-data freeorion-data crrcsim-data sound-theme-freedesktop atanks-data triplea gigalomania-data lomiri-sounds pychess kolf
""".split()
)
STRICT = {"train": 0, "validation": 1, "test": 2}


def split_of(package: str) -> str:
    """ "train", "validation" or "test"."""
    return "test" if package in TEST else "validation" if package in VALIDATION else "train"


def dropped(packages: list[str], clusters: list[int]) -> list[bool]:
    """For each sound: whether a near-duplicate (same cluster, −1 for none) lies in a stricter split."""
    strictest: dict[int, int] = {}
    for package, cluster in zip(packages, clusters):
        if cluster >= 0:
            strictest[cluster] = max(strictest.get(cluster, 0), STRICT[split_of(package)])
    return [c >= 0 and STRICT[split_of(p)] < strictest[c] for p, c in zip(packages, clusters)]
