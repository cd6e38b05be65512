"""Where the published models' files lie. Imports next to nothing, so that a page can look whether they are there."""

from __future__ import annotations

from pathlib import Path

from afcore import paths

MINI, LAION = "mini", "laion"
"""Names of CLAPs that find neighbours, see `afcore.published.finders`."""
KINDS = ("chat", "foundation")
LAION_FILE = "630k-audioset-fusion-best.pt"  # the paper's; another LAION-CLAP checkpoint in its place is taken too


def name_of(kind: str) -> str:
    """The engine's name, for one of `KINDS`."""
    return f"audio-flamingo-{kind}"


NAMES = tuple(map(name_of, KINDS))


def home() -> Path:
    """The folder of everything here."""
    return paths.DATA / "published"


def folder_of(kind: str) -> Path:
    """Where the converted model of a kind lies."""
    return home() / name_of(kind)


def is_ready(kind: str) -> bool:
    """Whether the model of that kind was fetched and converted."""
    from afcore.published.convert import CLAPCAP

    return (folder_of(kind) / "config.json").is_file() and (folder_of(kind) / CLAPCAP).is_file()


def downloads() -> Path:
    """Where downloads lie that are converted."""
    return home() / "downloads"


def laion_folder() -> Path:
    """Where LAION-CLAP's checkpoint lies."""
    return home() / "laion-clap"


def claps() -> list[str]:
    """CLAPs on this machine by which neighbours can be found: names for `afcore.published.finders.clap_of`.

    Beside mini's these are the checkpoints of LAION-CLAP in `laion_folder` and the folders in ``claps``, each a CLAP of
    `transformers`.
    """
    usual, others = laion_file(), sorted(laion_folder().glob("*.pt"))
    folders = sorted(file.parent for file in (home() / "claps").glob("*/config.json"))
    return [MINI, *([LAION] if usual.is_file() else []), *(str(p) for p in (*others, *folders) if p != usual)]


def laion_file() -> Path:
    """LAION-CLAP's checkpoint: the paper's, or else any other that lies in its folder."""
    usual, others = laion_folder() / LAION_FILE, sorted(laion_folder().glob("*.pt"))
    return usual if usual.is_file() or not others else others[0]
