"""Which sounds train, which tune and which judge: decided before anything else looked at a sound.

A package of Debian or PyPI is wholly in one split, so no source (recordist, microphone, file-name stem) stands on two
sides. Of five sets of everyday sounds (`BY_RECORDING`) a quarter of the recordings validates, a quarter tests and the
rest trains, chosen by a hash of the recording's name; all other sets train. File names and manifests tell what one
recording is:

- noise_of_life: "Cough_cough-012.ogg" names a class and a number only. Cuts of one source follow one another, so runs
  of ten numbers of a class count as one recording.
- emogator: "000336-01-2.ogg" is speaker, emotion, take: all bursts of a speaker are one recording.
- donateacry: "hungry_UUID-time-….ogg": the UUID is the phone that recorded, so all cries on it are one recording.
- ambient_freesound, luanti_sounds: the manifest's source where it names one sound of a site (freesound, SoundBible),
  else the file's name without its number of a take or piece ("_02", ".1", "_p3").

A sound whose near-duplicate lies in a stricter split is dropped from the looser one (`dropped`); near-duplicates are
looked for over packages and sets together.
"""

from __future__ import annotations

import re

from afcore.hashing import number_of

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
btanks-data freeorion-data crrcsim-data sound-theme-freedesktop atanks-data triplea gigalomania-data lomiri-sounds
pychess kolf
""".split()
)
BY_RECORDING = frozenset("noise_of_life emogator ambient_freesound luanti_sounds donateacry".split())
STRICT = {"train": 0, "validation": 1, "test": 2}
ONE_SOUND = re.compile(r"freesound\.org/(?:s|people/[^/]+/sounds)/(\d+)|soundbible\.com/(\d+)")


def split_of(package: str) -> str:
    """ "train", "validation" or "test" of a package or a whole set; raises ValueError for a set split by
    recording."""
    if package in BY_RECORDING:
        raise ValueError(f"{package} is split by recording: ask split_of_clip.")
    return "test" if package in TEST else "validation" if package in VALIDATION else "train"


def recording_of(collection: str, path: str, source: str = "") -> str:
    """The recording that a clip of one of `BY_RECORDING` was cut from; `source` as its manifest says it."""
    stem = path.rsplit("/", 1)[-1].removesuffix(".ogg")
    if collection == "noise_of_life":
        name, number = stem.rsplit("-", 1)
        return f"{collection}/{name}-{int(number) // 10}"
    if collection == "emogator":
        return f"{collection}/{stem.split('-')[0]}"
    if collection == "donateacry":
        child = re.search(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", stem.lower())
        return f"{collection}/{child.group() if child else stem}"  # a file that names no child stands for itself
    if known := ONE_SOUND.search(source):
        return f"freesound/{known[1]}" if known[1] else f"soundbible/{known[2]}"
    return f"{collection}/" + re.sub(r"([_.]p?\d+)+$", "", stem.lower())


def split_of_clip(collection: str, path: str, source: str = "") -> str:
    """ "train", "validation" or "test" of one clip, of packages and sets alike."""
    if collection not in BY_RECORDING:
        return split_of(collection)
    quarter = number_of(recording_of(collection, path, source)) % 4
    return ("validation", "test", "train", "train")[quarter]


def dropped(packages: list[str], clusters: list[int], splits: list[str] | None = None) -> list[bool]:
    """For each sound: whether a near-duplicate (same cluster, −1 for none) lies in a stricter split. `splits`: of
    each sound, those of its package where not given."""
    splits = [split_of(package) for package in packages] if splits is None else splits
    strictest: dict[int, int] = {}
    for split, cluster in zip(splits, clusters, strict=True):
        if cluster >= 0:
            strictest[cluster] = max(strictest.get(cluster, 0), STRICT[split])
    return [c >= 0 and STRICT[s] < strictest[c] for s, c in zip(splits, clusters, strict=True)]
