"""What happened in a project, in words."""

import time

from afcore.teach.project import Project
from afcore.teach.schema import Change


def ago(at: float) -> str:
    """``12 s ago``, ``3 min ago``; ``at`` in seconds since 1970."""
    seconds = max(0.0, time.time() - at)
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def change_text(project: Project, change: Change) -> str:
    """Who did what to which clip, and when: ``Mara · labelled “a.wav” as “dog”, 5 s ago``."""
    what = f" “{project.item(change.clip_id).name}”" if change.clip_id is not None else ""
    label = change.after.get("label")
    taken_back = ", taken back since" if change.undone_by else ""
    return f"{change.who} · {change.action}{what}{f' as “{label}”' if label else ''}{taken_back}, {ago(change.at)}"
