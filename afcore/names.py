"""Names from outside as text: of files, folders, members of zips; none of them is used as a path.

Other systems write ``ü`` as two characters, hide files by a point or by a list of names, and give names in code pages
or in bytes that are no text at all.
"""

import os
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MAX_NAME = 200  # characters of a name that are shown
SYSTEM = {
    "__macosx",
    "@eadir",
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "system volume information",
    "lost+found",
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
}
"""Names, in lower case, of what systems put into everybody's folders; and whatever begins with a point."""
_JOINING = {
    "\u00ad",  # soft hyphen
    "\u034f",  # grapheme joiner
    "\u061c",  # Arabic letter mark
    "\u200c",  # zero width non-joiner
    "\u200d",  # zero width joiner
    "\u200e",  # left-to-right mark
    "\u200f",  # right-to-left mark
    "\u2060",  # word joiner
}


def is_shown(character: str) -> bool:
    """Whether a character may stand in a line of text: all scripts, with what joins their letters and emoji, and no
    controls, line ends, halves of characters, or marks that turn the order of what follows."""
    kind = unicodedata.category(character)
    if kind == "Cf":
        return character in _JOINING or 0xE0020 <= ord(character) <= 0xE007F  # tags of emoji flags
    return kind not in ("Cc", "Cs", "Zl", "Zp")


def is_text(text: str) -> bool:
    """Whether all of it can be shown on one line."""
    return all(map(is_shown, text))


def escaped(name: str) -> str:
    r"""A name with what is no text in it written out: ``caf\xe9.wav`` for bytes that are not UTF-8, ``\x1b`` for a
    control character."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace") if _has_halves(name) else name
    return "".join(c if is_shown(c) else c.encode("unicode_escape").decode() for c in text)


def normal(name: str) -> str:
    """Escaped, and every letter in its composed form (NFC), so that what looks the same is the same."""
    return unicodedata.normalize("NFC", escaped(name))


def shown_name(name: str) -> str:
    """The last part of a path of any system, to be shown: `normal`, of sensible length."""
    last = name.replace("\\", "/").rstrip("/").split("/")[-1] if not _has_halves(name) else os.path.basename(name)
    return normal(last)[:MAX_NAME] or "sound"


def shown_path(path: str) -> str:
    """A path within a folder or zip, with ``/``, to be shown and exported: `normal`."""
    return normal(path.replace(os.sep, "/"))


def is_hidden(path: str) -> bool:
    """Whether a path within a folder or zip, with ``/`` or a backslash, leads through anything hidden or of a
    system."""
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return any(part.startswith(".") or part.strip().lower() in SYSTEM for part in parts)


def label_of_folder(folder: str) -> str:
    """``steam_leak`` → ``steam leak``: the label that a folder's name gives."""
    return " ".join(normal(folder).replace("_", " ").split(" ")).strip()


@dataclass(frozen=True)
class Found:
    """What a folder holds: paths within it, as they are shown, to files, in order; and why others are left out."""

    files: dict[str, Path]
    left_out: dict[str, str]
    """Path within the folder -> a sentence."""


def files_in(folder: Path, allowed: Callable[[Path], bool] = lambda path: True) -> Found:
    """All files in a folder and the folders in it, but for hidden ones and those of systems.

    Links are followed where what they lead to is ``allowed`` (a resolved path), each folder once.
    """
    files: dict[str, Path] = {}
    left_out: dict[str, str] = {}
    seen: set[Path] = set()

    def look(at: Path, within: str) -> None:
        seen.add(at.resolve())
        try:
            entries = sorted(at.iterdir())
        except OSError as error:
            left_out[shown_path(within)] = f"The folder “{shown_path(within)}” cannot be read: {error.strerror}."
            return
        for entry in entries:
            if is_hidden(entry.name):
                continue
            path = f"{within}/{entry.name}" if within else entry.name
            shown = escaped(path)
            if not entry.exists():
                left_out[shown] = f"“{shown}” is a link to nothing, so it was left out."
            elif not allowed(entry.resolve()):
                left_out[shown] = f"“{shown}” is a link out of the folder, so it was left out."
            elif entry.is_dir():
                if entry.resolve() in seen:
                    left_out[shown] = f"“{shown}” is a link to a folder that is here already, so it was left out."
                else:
                    look(entry, path)
            elif entry.is_file():
                files[shown] = entry
            else:
                left_out[shown] = f"“{shown}” is not a file, so it was left out."

    look(folder, "")
    return Found(files, left_out)


def _has_halves(name: str) -> bool:
    """Whether it has bytes that could not be decoded, as Python keeps them in file names."""
    return any(0xD800 <= ord(c) <= 0xDFFF for c in name)
