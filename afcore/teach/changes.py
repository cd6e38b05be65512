"""What every change to a project does inside its transaction: check, write, take a line of history; and take it back.

The functions with ``db`` are called within `Database.write` (or ``read`` where they change nothing).
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable
from sqlite3 import Connection, Cursor, Row
from typing import Any

from afcore import prompts
from afcore.audio.channels import check_rule
from afcore.errors import BadRequest
from afcore.names import is_text
from afcore.teach.schema import (
    CLIP_COLUMNS,
    CUT,
    EXAMPLE,
    GONE,
    OPEN,
    Change,
    Changed,
    Counts,
    Label,
    ProjectClip,
    Settings,
    now,
)

METHODS = {
    "lm-shots": "The model, with the most similar examples",
    "lm-zero": "The model, without examples",
    "clap-nn": "The label of the most similar example (CLAP)",
    "clap-text": "The label whose name fits best (zero-shot CLAP)",
}
"""What can make predictions, with a sentence for people."""

ORDERS = ("margin", "entropy")
MAX_LABELS, MAX_K = 200, 256
ACCEPTED, NONE_OF_THESE, SKIP, RELABELLED, DISCARDED, RESTORED = (
    "accepted",
    "none of these",
    "skipped",
    "relabelled",
    "discarded",
    "restored",
)
JUDGEMENTS = (ACCEPTED, NONE_OF_THESE, SKIP)
"""Actions of a reviewer at the queue."""
UNDONE, LABEL_RENAMED, INTO_SEGMENTS = "undone", "label renamed", "cut into segments"
_CLIP_ACTIONS, _ASPECTS = (*JUDGEMENTS, RELABELLED, DISCARDED, RESTORED, INTO_SEGMENTS), ("name", "labels", "settings")
UNDOABLE = (*_CLIP_ACTIONS, *_ASPECTS)
"""Actions that `undo` takes back."""


# Checks


def check_who(who: str) -> str:
    """A reviewer's name, without white space around it."""
    who = who.strip()
    if not who:
        raise BadRequest("Say who you are first, so that others can see who changed what.")
    return _printable(who, 60, "name")


def check_name(name: str) -> str:
    """A project's name."""
    if not name.strip():
        raise BadRequest("Give the project a name.")
    return _printable(name.strip(), 120, "project's name")


def check_labels(labels: Iterable[Label | str]) -> list[Label]:
    """Labels without white space around them; raises BadRequest for an empty one, two alike, or too many. No labels
    will do."""
    found = [Label(label) if isinstance(label, str) else label for label in labels]
    found = [Label(_printable(label.name.strip(), 100, "label"), label.description.strip()[:500]) for label in found]
    if found:
        prompts.check_labels([label.name for label in found])
    if len(found) > MAX_LABELS:
        raise BadRequest(f"A project has at most {MAX_LABELS} labels.")
    return found


def check_settings(settings: Settings) -> None:
    """Raises BadRequest for settings that mean nothing."""
    if settings.method not in METHODS:
        raise BadRequest(f"There is no method “{settings.method}”: choose {', '.join(METHODS)}.")
    if isinstance(settings.k, bool) or not isinstance(settings.k, int) or not 1 <= settings.k <= MAX_K:
        raise BadRequest(f"The number of examples in a prompt is from 1 to {MAX_K}.")
    if settings.reject_below is not None and not 0 <= settings.reject_below <= 1:
        raise BadRequest("The threshold for “none of these” is from 0 to 1.")
    if settings.reject_similarity is not None and not -1 <= settings.reject_similarity <= 1:
        raise BadRequest("The similarity below which a clip is “none of these” is from -1 to 1.")
    if settings.order not in ORDERS:
        raise BadRequest(f"The queue is ordered by {' or '.join(ORDERS)}.")
    try:
        check_rule(settings.channels)
    except ValueError as error:
        raise BadRequest("The channel that is heard is auto, one, mix or a number.") from error


def _printable(text: str, most: int, what: str) -> str:
    text = unicodedata.normalize("NFC", text)
    if len(text) > most or not is_text(text):
        raise BadRequest(f"A {what} is one line of at most {most} characters.")
    return text


# Reading


def meta(db: Connection, key: str) -> tuple[Any, int]:
    """(value, version) of "name", "labels", "settings" or "revision"."""
    value, version = db.execute("SELECT value, version FROM meta WHERE key = ?", (key,)).fetchone()
    return json.loads(value), version


def item(db: Connection, clip_id: int) -> ProjectClip:
    """Raises BadRequest where there is none of that id."""
    row = db.execute(f"SELECT {CLIP_COLUMNS} FROM clip WHERE id = ?", (clip_id,)).fetchone()
    if row is None:
        raise BadRequest(f"This project has no clip {clip_id}.")
    return ProjectClip(*row)


def change_of(row: Row | tuple) -> Change:
    """From a whole row of the table ``change``."""
    number, at, who, action, clip_id, before, after, undone_by = row
    return Change(number, at, who, action, clip_id, json.loads(before), json.loads(after), undone_by)


def counts(db: Connection) -> Counts:
    """Clips by state; what cannot be heard is counted apart."""
    rows = db.execute(
        "SELECT CASE WHEN fault IS NULL THEN state ELSE 'faulty' END, count(*) FROM clip "
        "WHERE state NOT IN (?, ?) GROUP BY 1",
        (GONE, CUT),
    ).fetchall()
    predicted = db.execute("SELECT count(*) FROM prediction").fetchone()[0]
    return Counts(**dict(rows), predicted=predicted)


# Writing


def as_json(value: Any) -> str:
    """As stored."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def record(db: Connection, who: str, action: str, clip_id: int | None, before: dict, after: dict) -> int:
    """A line of history; returns its number."""
    return new_id(
        db.execute(
            "INSERT INTO change (at, who, action, clip_id, before, after) VALUES (?, ?, ?, ?, ?, ?)",
            (now(), who, action, clip_id, as_json(before), as_json(after)),
        )
    )


def new_id(inserted: Cursor) -> int:
    """The id of the row that was just inserted."""
    assert inserted.lastrowid is not None, "after an INSERT"
    return inserted.lastrowid


def put_meta(db: Connection, key: str, old: Any, new: Any, who: str, action: str | None = None) -> int:
    """Sets "name", "labels" or "settings"; raises BadRequest where clips have a label that would go."""
    if key == "labels":
        names = [label["name"] for label in new]
        marks = ", ".join("?" * len(names))
        used = db.execute(
            f"SELECT label, count(*) FROM clip WHERE label IS NOT NULL AND label NOT IN ({marks}) GROUP BY label", names
        ).fetchone()
        if used:
            raise BadRequest(
                f"The label “{used[0]}” cannot go: {used[1]} clips have it, so relabel those or rename it instead."
            )
    db.execute(
        "UPDATE meta SET value = ?, version = version + 1, who = ?, at = ? WHERE key = ?",
        (as_json(new), who, now(), key),
    )
    return record(db, who, action or key, None, {key: old}, {key: new})


def bump(db: Connection) -> None:
    """The set of examples has changed."""
    db.execute("UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'revision'")


def check_label(db: Connection, label: str | None) -> None:
    """Raises BadRequest for a label that the project does not have."""
    if label is not None and label not in [known["name"] for known in meta(db, "labels")[0]]:
        raise BadRequest(f"There is no label “{label}” in this project.")


def update_clip(db: Connection, clip: ProjectClip, who: str, action: str, values: dict[str, Any]) -> int:
    """Sets ``state`` and ``label`` of a clip, ends its lease, takes a line of history and returns its number."""
    check_label(db, values.get("label"))
    db.execute(
        "UPDATE clip SET state = ?, label = ?, version = version + 1, who = ?, at = ? WHERE id = ?",
        (values["state"], values["label"], who, now(), clip.id),
    )
    db.execute("DELETE FROM lease WHERE clip_id = ?", (clip.id,))
    was, will_be = (
        (clip.label if clip.state == EXAMPLE else None),
        (values["label"] if values["state"] == EXAMPLE else None),
    )
    if was != will_be:
        bump(db)
    return record(db, who, action, clip.id, {"state": clip.state, "label": clip.label}, values)


def undo(db: Connection, change_id: int, who: str) -> Change:
    """Takes a change back and returns it. Raises Changed where somebody has changed the same thing since, BadRequest
    where it cannot be taken back."""
    row = db.execute("SELECT * FROM change WHERE id = ?", (change_id,)).fetchone()
    if row is None:
        raise BadRequest(f"The history has no change {change_id}.")
    change = change_of(row)
    if change.undone_by is not None:
        raise BadRequest("This was taken back already.")
    if change.action in _CLIP_ACTIONS:
        assert change.clip_id is not None, "it is about a clip"
        clip = item(db, change.clip_id)
        _check_latest(db, change, "clip_id = ? AND action != ?", (clip.id, UNDONE), f"“{clip.name}”")
        number = update_clip(db, clip, who, UNDONE, change.before)
        if change.action == INTO_SEGMENTS:  # its segments go, but for those that have been judged
            for (segment,) in db.execute(
                "SELECT id FROM clip WHERE sha256 = ? AND id != ? AND state = ? AND start >= ? AND "
                "start + seconds <= ?",
                (clip.sha256, clip.id, OPEN, clip.start, clip.start + clip.seconds + 0.01),
            ).fetchall():
                update_clip(db, item(db, segment), who, DISCARDED, {"state": GONE, "label": None})
    elif change.action in _ASPECTS:
        key = change.action
        _check_latest(db, change, "action IN (?, ?)", (key, LABEL_RENAMED if key == "labels" else key), f"the {key}")
        number = put_meta(db, key, change.after[key], change.before[key], who, UNDONE)
    else:
        raise BadRequest(f"“{change.action}” cannot be taken back.")
    db.execute("UPDATE change SET undone_by = ? WHERE id = ?", (number, change.id))
    return change


def _check_latest(db: Connection, change: Change, where: str, values: tuple, what: str) -> None:
    number, who = db.execute(
        f"SELECT id, who FROM change WHERE {where} AND undone_by IS NULL ORDER BY id DESC LIMIT 1", values
    ).fetchone()
    if number != change.id:
        raise Changed(f"{who} changed {what} after that, so it was not taken back.")
