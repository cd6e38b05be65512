"""Where a person's own models lie. Imports next to nothing, so that a page can list them."""

from __future__ import annotations

from pathlib import Path

from afcore import paths

FILE = "engine.json"
"""In the folder of every saved model; `afcore.engine.model_folder` says what it holds."""


def home() -> Path:
    """The folder of those that are offered by their name alone."""
    return paths.DATA / "models"


def names() -> list[str]:
    """Those in `home`, by the alphabet."""
    return sorted(file.parent.name for file in home().glob(f"[!.]*/{FILE}"))


def find(name: str) -> Path | None:
    """The folder of the model ``name``: one of `names`, or the path of a folder. None where there is no such folder;
    whether it is whole is seen when it is read."""
    if not name:
        return None
    by_name = home() / name
    if Path(name).name == name and (by_name / FILE).is_file():
        return by_name
    by_path = Path(name).expanduser()
    return by_path.resolve() if by_path.is_dir() else None


def name_of(folder: Path) -> str:
    """What the model in ``folder`` is called, as `find` takes it."""
    folder = folder.resolve()
    return folder.name if folder.parent == home().resolve() else str(folder)
