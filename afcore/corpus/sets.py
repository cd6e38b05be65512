"""Step `sets`: further sounds beside those of packages, decoded into the same form.

A folder of sets has a folder per set, with Opus files and `manifest.csv` (path, label, source, author, licence,
seconds). What lies in DIR/sounds afterwards: `audio.i16` and `index.jsonl` as `afcore.corpus.extract` writes them,
`package` being the set; a line has `label`, `source`, `author` and `licence` of the manifest too.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from afcore.corpus.extract import RATE, SAY, active_seconds, decode, group_key
from afcore.corpus.fingerprint import fingerprint
from afcore.hashing import sha256_of


def decode_sets(sets: Path, out: Path, progress: Callable[[str], None] = SAY) -> None:
    """Writes `out/audio.i16` and `out/index.jsonl`; `progress` hears a line about each set. Raises
    av.error.FFmpegError or ValueError for a file that cannot be read."""
    out.mkdir(parents=True, exist_ok=True)
    rows, offset = [], 0
    with (out / "audio.tmp").open("wb") as audio:
        for folder in sorted(p.parent for p in sets.glob("*/manifest.csv")):
            with (folder / "manifest.csv").open(newline="") as manifest:
                listed = list(csv.DictReader(manifest))
            for line in listed:
                pieces, _, rate = decode((folder / line["path"]).read_bytes())
                x = pieces[0][1]
                rows.append(
                    {
                        "id": f"{folder.name}:{line['path']}",
                        "package": folder.name,
                        "path": line["path"],
                        "label": line["label"],
                        "source": line["source"],
                        "author": line["author"],
                        "licence": line["licence"],
                        "seconds": round(len(x) / RATE, 3),
                        "offset": offset,
                        "length": len(x),
                        "peak": int(np.abs(x.astype(np.int32)).max()),
                        "active": round(active_seconds(x), 2),
                        "sha256": sha256_of(x.tobytes()),
                        "group": group_key(folder.name, line["path"]),
                        "fingerprint": fingerprint(x),
                        "source_rate": rate,
                    }
                )
                audio.write(x.tobytes())
                offset += len(x)
            progress(f"{folder.name}: {len(listed)} sounds, {offset / RATE / 3600:.2f} h so far")
    os.replace(out / "audio.tmp", out / "audio.i16")
    (out / "index.tmp").write_text("".join(json.dumps(row) + "\n" for row in rows))
    os.replace(out / "index.tmp", out / "index.jsonl")


SAID = {
    "noise_of_life": {
        "baby cry": "baby crying",
        "dishes": "dishes clattering",
        "door clapping": "door slamming",
        "electrical shaver": "electric shaver",
        "female cry": "woman crying",
        "female scream": "woman screaming",
        "hands clapping": "clapping",
        "keyboard": "computer keyboard",
        "keys": "keys jingling",
        "laugh": "laughing",
        "male scream": "man screaming",
        "paper": "paper rustling",
        "water": "running water",
    }
}
"""What a set's labels are called as people say it, where its file names say it otherwise."""


def said_as(collection: str, label: str | None) -> str:
    """A label of a set or package as people say it; '' for none."""
    return SAID.get(collection, {}).get(label, label) if label else ""
