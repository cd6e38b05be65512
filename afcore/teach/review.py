"""The review queue: who gets which clip next, and what they say about it.

A clip is leased to one reviewer at a time. A lease that has run out is free for anybody; a judgement that comes after
that still counts if nobody else has the clip or has changed it.
"""

from __future__ import annotations

from collections.abc import Callable
from sqlite3 import Connection

from afcore.errors import BadRequest
from afcore.teach.changes import (
    ACCEPTED,
    JUDGEMENTS,
    NONE_OF_THESE,
    RESTORED,
    SKIP,
    check_who,
    item,
    meta,
    undo,
    update_clip,
)
from afcore.teach.project import Project
from afcore.teach.schema import CLIP_COLUMNS, EXAMPLE, NONE, OPEN, SKIPPED, Changed, ProjectClip, now

LEASE_SECONDS = 600.0

_WAITING = "clip.state = 'open' AND clip.fault IS NULL"
# Clips without a prediction come last, in the order in which they were added.
_ORDER = {
    "margin": "prediction.margin IS NULL, prediction.margin, clip.id",
    "entropy": "prediction.entropy IS NULL, prediction.entropy DESC, clip.id",
}
_COLUMNS = ", ".join(f"clip.{column.strip()}" for column in CLIP_COLUMNS.split(","))


class ReviewQueue:
    """A project's clips that wait for a label, the most uncertain first."""

    def __init__(self, project: Project):
        self.project = project

    def next_clip(self, who: str) -> ProjectClip | None:
        """The clip that ``who`` has in their hands, else the first that nobody has; from now theirs for 10 minutes.
        None where there is nothing left for them."""
        who = check_who(who)
        with self.project.db.write("this") as db:
            # Given out when the clock was ahead: or nobody would get the clip for as long as it was.
            db.execute("DELETE FROM lease WHERE until > ?", (now() + LEASE_SECONDS,))
            found = _query(db, "AND lease.reviewer = ? AND lease.until > ?", (who, now()), 1) or _query(
                db, "AND (lease.clip_id IS NULL OR lease.until <= ?)", (now(),), 1
            )
            for clip in found:
                _lease(db, clip.id, who)
            return found[0] if found else None

    def upcoming(self, limit: int = 20) -> list[ProjectClip]:
        """The clips that nobody has, as they would come."""
        with self.project.db.read() as db:
            return _query(db, "AND (lease.clip_id IS NULL OR lease.until <= ?)", (now(),), limit)

    def stale(self, basis: str, limit: int | None) -> list[ProjectClip]:
        """Of the clips in somebody's hands and the next ``limit`` (None: all) those whose prediction has another basis,
        or that have none; the ones in hands first."""
        with self.project.db.read() as db:
            fresh = {i for (i,) in db.execute("SELECT clip_id FROM prediction WHERE basis = ?", (basis,))}
            held = _query(db, "AND lease.until > ?", (now(),), -1)
            free = _query(
                db, "AND (lease.clip_id IS NULL OR lease.until <= ?)", (now(),), -1 if limit is None else limit
            )
        return [clip for clip in (*held, *free) if clip.id not in fresh]

    def in_hands(self) -> list[tuple[ProjectClip, str]]:
        """(clip, reviewer) of what is being judged now."""
        with self.project.db.read() as db:
            held = dict(db.execute("SELECT clip_id, reviewer FROM lease WHERE until > ?", (now(),)).fetchall())
            return [(item(db, clip_id), reviewer) for clip_id, reviewer in held.items()]

    def waiting(self) -> int:
        """How many clips wait, those in somebody's hands included."""
        with self.project.db.read() as db:
            return db.execute(f"SELECT count(*) FROM clip WHERE {_WAITING}").fetchone()[0]

    def release(self, who: str) -> None:
        """Gives back what ``who`` has, unjudged."""
        who = check_who(who)
        with self.project.db.write("this") as db:
            db.execute("DELETE FROM lease WHERE reviewer = ?", (who,))

    def accept(self, clip_id: int, label: str | None, who: str, version: int) -> ProjectClip:
        """``who`` says that the clip is ``label``, and it becomes an example; None: it is none of the labels.

        ``version`` is that of the `ProjectClip` they saw. Raises Changed, naming who was faster or has the clip now;
        BadRequest.
        """
        action, state = (NONE_OF_THESE, NONE) if label is None else (ACCEPTED, EXAMPLE)
        return self.project.change_clip(clip_id, who, action, version, state, label, _free_for(who))

    def skip(self, clip_id: int, who: str, version: int) -> ProjectClip:
        """Puts the clip aside until `restore_skipped`; raises as `accept`."""
        return self.project.change_clip(clip_id, who, SKIP, version, SKIPPED, None, _free_for(who))

    def restore_skipped(self, who: str) -> int:
        """Brings back all clips that were put aside; returns how many."""
        who = check_who(who)
        with self.project.db.write("this") as db:
            ids = [i for (i,) in db.execute("SELECT id FROM clip WHERE state = ?", (SKIPPED,))]
            for clip_id in ids:
                update_clip(db, item(db, clip_id), who, RESTORED, {"state": OPEN, "label": None})
        return len(ids)

    def undo(self, who: str) -> ProjectClip:
        """Takes back the last judgement of ``who``, and the clip is in their hands again.

        Raises BadRequest where there is none, Changed where somebody has changed the clip since.
        """
        who = check_who(who)
        with self.project.db.write("this") as db:
            row = db.execute(
                "SELECT id FROM change WHERE who = ? AND action IN (?, ?, ?) AND undone_by IS NULL "
                "ORDER BY id DESC LIMIT 1",
                (who, *JUDGEMENTS),
            ).fetchone()
            if row is None:
                raise BadRequest("There is nothing of yours to take back.")
            change = undo(db, row[0], who)
            assert change.clip_id is not None, "a judgement is about a clip"
            db.execute("DELETE FROM lease WHERE reviewer = ?", (who,))  # what came next goes back to the queue
            _lease(db, change.clip_id, who)
            return item(db, change.clip_id)


def _query(db: Connection, where: str, values: tuple, limit: int) -> list[ProjectClip]:
    order = _ORDER[meta(db, "settings")[0]["order"]]
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM clip LEFT JOIN prediction ON prediction.clip_id = clip.id "
        f"LEFT JOIN lease ON lease.clip_id = clip.id WHERE {_WAITING} {where} ORDER BY {order} LIMIT ?",
        (*values, limit),
    ).fetchall()
    return [ProjectClip(*row) for row in rows]


def _lease(db: Connection, clip_id: int, who: str) -> None:
    db.execute("INSERT OR REPLACE INTO lease VALUES (?, ?, ?)", (clip_id, who, now() + LEASE_SECONDS))


def _free_for(who: str) -> Callable[[Connection, ProjectClip], None]:
    """A check for `Project.change_clip`: the clip waits, and nobody else has it in their hands."""

    def check(db: Connection, clip: ProjectClip) -> None:
        if clip.state not in (OPEN, SKIPPED):
            raise BadRequest(f"“{clip.name}” does not wait for a label.")
        row = db.execute("SELECT reviewer FROM lease WHERE clip_id = ? AND until > ?", (clip.id, now())).fetchone()
        if row is not None and row[0] != who.strip():
            raise Changed(
                f"{row[0]} is judging “{clip.name}” just now, so your label was not saved; take the next clip."
            )

    return check
