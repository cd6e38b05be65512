"""Thumbs on answers, kept with the exact prompt on this server: what was asked, what was said, what people thought."""

from __future__ import annotations

import csv
import io
import json
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from afcore.teach.exports import guarded

COLUMNS = ("at", "thumb", "sound", "sha256", "start", "model", "question", "answer", "right", "prompt")
_lock = threading.Lock()


@dataclass(frozen=True)
class Thumb:
    """What somebody thought of an answer."""

    thumb: str
    """"up" or "down"."""
    sound: str
    """The recording's name."""
    sha256: str
    start: float
    """Where the heard part begins, in seconds."""
    model: str
    question: str
    answer: str
    prompt: str
    """The exact text that the model read."""
    right: str = ""
    """What would have been right, where it was said."""
    at: float = field(default_factory=time.time)
    """Seconds since 1970."""


class Feedback:
    """A file with a line of JSON for each thumb; the last one about the same answer to the same sound counts."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def add(self, thumb: Thumb) -> None:
        """Keep one. Raises OSError."""
        with _lock:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a", encoding="utf-8") as out:
                out.write(json.dumps(asdict(thumb), ensure_ascii=False) + "\n")

    def all(self) -> list[Thumb]:
        """Those that count, the oldest first."""
        if not self.file.exists():
            return []
        found: dict[tuple[str, ...], Thumb] = {}
        for line in self.file.read_text(encoding="utf-8").splitlines():
            try:
                thumb = Thumb(**json.loads(line))
            except (ValueError, TypeError):  # a line that was cut off when the machine went down
                continue
            key = (thumb.sha256, str(thumb.start), thumb.model, thumb.prompt, thumb.answer)
            found.pop(key, None)
            found[key] = thumb
        return list(found.values())

    def to_csv(self) -> str:
        """All that count as CSV; what a spreadsheet would take for a formula is quoted."""
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerow(COLUMNS)
        for thumb in self.all():
            values = asdict(thumb) | {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(thumb.at))}
            writer.writerow([guarded(str(values[name])) for name in COLUMNS])
        return out.getvalue()

    def clear(self) -> None:
        """Forget all."""
        with _lock:
            self.file.unlink(missing_ok=True)
