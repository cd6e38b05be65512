"""The hashes of a folder of weights, written beside them as ``sha256sum`` writes them, and whether they still hold."""

from __future__ import annotations

from pathlib import Path

from afcore.hashing import sha256_of_file
from afcore.published.weights import NO_WEIGHTS

NAME = "SHA256SUMS"
SUFFIXES = (".safetensors", ".json")


def record(folder: Path) -> None:
    """Writes the hashes of the weights and settings in ``folder`` that lie there now."""
    files = (file for file in sorted(folder.iterdir()) if file.suffix in SUFFIXES and file.name not in NO_WEIGHTS)
    lines = [f"{sha256_of_file(file)}  {file.name}\n" for file in files]
    (folder / NAME).write_text("".join(lines), encoding="utf-8")


def differing(folder: Path) -> list[str]:
    """A sentence for each file that is not as `record` saw it; none where nothing was recorded."""
    if not (folder / NAME).is_file():
        return []
    found = []
    for line in (folder / NAME).read_text(encoding="utf-8").splitlines():
        known, _, name = line.partition("  ")
        file = folder / name
        if not file.is_file():
            found.append(f"{name} is missing.")
        elif sha256_of_file(file) != known:
            found.append(f"{name} is not the file that was recorded: it is damaged, or another.")
    return found
