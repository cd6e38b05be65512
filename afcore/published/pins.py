"""Which revision and which content of the hub's files this machine has taken: later downloads must be the same.

The hub was not at hand when this was written, so no hash could be put into the code: the first download records what
came (`FILE` in the folder of published files), and every later one is asked for at that revision and must have that
SHA-256. Whoever wants newer files removes the entry.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from afcore.checkpoints import Broken
from afcore.hashing import sha256_of_file
from afcore.published.folders import home
from afcore.safe_files import write_json

FILE = "pins.json"


def revision(repository: str, name: str) -> str:
    """The commit that the file was taken from before; '' for a file that was not."""
    return str(_read().get(repository, {}).get(name, {}).get("revision", ""))


def check(repository: str, name: str, file: Path, revision: str) -> None:
    """Records what came the first time; raises Broken where ``file`` is not what came then, and removes nothing."""
    known, sha256 = _read(), sha256_of_file(file)
    entry = known.setdefault(repository, {}).get(name)
    if entry is None:
        known[repository][name] = {"revision": revision, "sha256": sha256, "bytes": file.stat().st_size}
        home().mkdir(parents=True, exist_ok=True)
        write_json(home() / FILE, known)
    elif entry["sha256"] != sha256:
        raise Broken(
            f"{name} of {repository} is not the file that came the first time (SHA-256 {sha256[:12]}… instead of "
            f"{entry['sha256'][:12]}…): it is damaged or was changed. To take it all the same, remove its entry in "
            f"{home() / FILE}."
        )


def _read() -> dict[str, Any]:
    file = home() / FILE
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if all(isinstance(e["sha256"], str) for files in content.values() for e in files.values()):
            return dict(content)
    except (ValueError, TypeError, KeyError, AttributeError):
        pass
    raise Broken(f"{file} is damaged: remove it, and the next download records its files anew.")
