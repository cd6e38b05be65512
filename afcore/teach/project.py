"""One project: its labels, settings, clips and history, all in one SQLite file.

Nothing is cached: what a property returns was read just now, so threads and processes see each other's work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from sqlite3 import Connection
from typing import Any

from afcore import prompts
from afcore.errors import AudioError
from afcore.teach import changes
from afcore.teach.changes import check_labels, check_name, check_settings, check_who, meta, put_meta, record
from afcore.teach.embeddings import Derived
from afcore.teach.media import sound_file
from afcore.teach.schema import (
    CLIP_COLUMNS,
    EXAMPLE,
    GONE,
    NONE,
    OPEN,
    SKIPPED,
    TEST,
    WAIT,
    Change,
    Changed,
    Counts,
    Database,
    Label,
    ProjectClip,
    Settings,
    Summary,
    now,
)


class Project(Derived):
    """A project's folder. One object may be used by any number of threads. ``wait``: seconds for another's
    transaction."""

    def __init__(self, folder: Path, create: bool = False, wait: float = WAIT):
        self.folder = Path(folder)
        self.db = Database(self.folder / "project.sqlite", create, wait)

    @property
    def id(self) -> str:
        """The folder's name."""
        return self.folder.name

    def close(self) -> None:
        """Closes the connection."""
        self.db.close()

    # What the whole project has: name, labels, settings, revision

    def begin(self, name: str, labels: list[Label], settings: Settings, who: str) -> None:
        """Fills a new, empty project."""
        check_settings(settings)
        values = {
            "name": name,
            "labels": [asdict(label) for label in labels],
            "settings": asdict(settings),
            "revision": 0,
        }
        with self.db.write("the project") as db:
            for key, value in values.items():
                db.execute("INSERT INTO meta VALUES (?, ?, 1, ?, ?)", (key, changes.as_json(value), who, now()))
            record(db, who, "created", None, {}, {"name": name})

    @property
    def name(self) -> str:
        """What people call it."""
        return self._meta("name")[0]

    @property
    def labels(self) -> list[Label]:
        """In the order of the keys 1–9."""
        return [Label(**label) for label in self._meta("labels")[0]]

    @property
    def settings(self) -> Settings:
        """How predictions are made."""
        return Settings(**self._meta("settings")[0])

    @property
    def revision(self) -> int:
        """Grows whenever the set of examples changes."""
        return self._meta("revision")[0]

    def version(self, key: str) -> int:
        """Of "name", "labels" or "settings": to be given back as ``expect``."""
        return self._meta(key)[1]

    def basis(self, model: str, settings: Settings | None = None) -> str:
        """Names all that a prediction by ``model`` depends on beside the clip; another basis makes it stale."""
        with self.db.read() as db:
            settings = settings or Settings(**meta(db, "settings")[0])
            parts = [model + settings.mark, settings.method, f"labels {meta(db, 'labels')[1]}"]
            if settings.method == "lm-shots":
                parts.append(f"k {settings.k}")
            if settings.method in ("lm-shots", "clap-nn"):
                parts.append(f"examples {meta(db, 'revision')[0]}")
        return ", ".join(parts)

    def rename(self, name: str, who: str, expect: int | None = None) -> None:
        """Raises BadRequest for an empty name, Changed as `set_labels`."""
        self._set_meta("name", check_name(name), who, expect)

    def set_labels(self, labels: Iterable[Label | str], who: str, expect: int | None = None) -> None:
        """Raises BadRequest where a label is missing that clips have, or two are alike; Changed where they are no
        longer of version ``expect``."""
        self._set_meta("labels", [asdict(label) for label in check_labels(labels)], who, expect)

    def add_labels(self, names: Iterable[str], who: str) -> dict[str, str]:
        """Adds labels that are not there yet; returns for each name the label as the project has it ("Dog" → "dog")."""
        who = check_who(who)
        with self.db.write("the labels") as db:
            old = meta(db, "labels")[0]
            by_answer = {prompts.answer_of(label["name"]): label["name"] for label in old}
            found = {name: by_answer.setdefault(prompts.answer_of(name), name.strip()) for name in names}
            known = {label["name"] for label in old}
            new = old + [asdict(Label(name)) for name in dict.fromkeys(found.values()) if name not in known]
            if new != old:
                check_labels(Label(**label) for label in new)
                put_meta(db, "labels", old, new, who)
        return found

    def rename_label(self, old: str, new: str, who: str) -> None:
        """Everywhere at once: in the set and on the clips."""
        who, new = check_who(who), new.strip()
        with self.db.write("the label") as db:
            changes.check_label(db, old)
            labels = meta(db, "labels")[0]
            changed = [{**label, "name": new} if label["name"] == old else label for label in labels]
            check_labels(Label(**label) for label in changed)
            db.execute(
                "UPDATE clip SET label = ?, version = version + 1, who = ?, at = ? WHERE label = ?",
                (new, who, now(), old),
            )
            db.execute("UPDATE clip SET truth = ? WHERE truth = ?", (new, old))
            put_meta(db, "labels", labels, changed, who, changes.LABEL_RENAMED)
            changes.bump(db)

    def set_settings(self, settings: Settings, who: str, expect: int | None = None) -> None:
        """Raises BadRequest for settings that cannot be, Changed as `set_labels`."""
        check_settings(settings)
        anew = settings.channels != self.settings.channels
        self._set_meta("settings", asdict(settings), who, expect)
        if anew:  # what was silent may not be so by another rule
            with self.db.write("this") as db:
                db.execute("UPDATE clip SET fault = NULL")

    def _meta(self, key: str) -> tuple[Any, int]:
        with self.db.read() as db:
            return meta(db, key)

    def _set_meta(self, key: str, value: Any, who: str, expect: int | None) -> None:
        who = check_who(who)
        with self.db.write(f"the {key}") as db:
            old, version = meta(db, key)
            if expect is not None and expect != version:
                (by,) = db.execute("SELECT who FROM meta WHERE key = ?", (key,)).fetchone()
                raise Changed(
                    f"{by} changed the {key} of this project meanwhile, so yours were not saved; look at theirs first."
                )
            if value != old:
                put_meta(db, key, old, value, who)

    # Clips

    def items(self, *states: str) -> list[ProjectClip]:
        """Clips in these states, by default all but those cut up or discarded, in the order in which they were
        added."""
        states = states or (OPEN, EXAMPLE, NONE, SKIPPED, TEST)
        marks = ", ".join("?" * len(states))
        with self.db.read() as db:
            rows = db.execute(
                f"SELECT {CLIP_COLUMNS} FROM clip WHERE state IN ({marks}) ORDER BY id", states
            ).fetchall()
        return [ProjectClip(*row) for row in rows]

    def item(self, clip_id: int) -> ProjectClip:
        """Raises BadRequest where there is none of that id."""
        with self.db.read() as db:
            return changes.item(db, clip_id)

    def sound_path(self, clip: ProjectClip) -> Path:
        """The whole file that ``clip`` is (a stretch of). Raises AudioError where it is gone."""
        file = sound_file(self.folder, clip.sha256)
        if not file.exists():
            raise AudioError(f"The sound of “{clip.name}” is missing from this project's folder.")
        return file

    def relabel(self, clip_id: int, label: str, who: str, version: int) -> ProjectClip:
        """Another label for a clip: one that has been judged, or is in the test set, where it stays."""
        state = TEST if self.item(clip_id).state == TEST else EXAMPLE
        return self.change_clip(clip_id, who, changes.RELABELLED, version, state, label)

    def discard(self, clip_id: int, who: str, version: int) -> ProjectClip:
        """Takes a clip out of the project; it stays in the history and can be brought back by `undo_change`."""
        return self.change_clip(clip_id, who, changes.DISCARDED, version, GONE, None)

    def change_clip(
        self,
        clip_id: int,
        who: str,
        action: str,
        version: int | None,
        state: str,
        label: str | None,
        check: Callable[[Connection, ProjectClip], None] = lambda db, clip: None,
    ) -> ProjectClip:
        """Sets state and label of a clip, with its line of history. Raises Changed where the clip is no longer of
        ``version``, BadRequest for a label that the project does not have, and what ``check`` raises."""
        who = check_who(who)
        with self.db.write("this") as db:
            clip = changes.item(db, clip_id)
            if version is not None and clip.version != version:
                as_what = f" (it is “{clip.label}” now)" if clip.label else ""
                raise Changed(f"{clip.who} changed “{clip.name}” meanwhile{as_what}, so nothing was overwritten.")
            check(db, clip)
            changes.update_clip(db, clip, who, action, {"state": state, "label": label})
            return changes.item(db, clip_id)

    # History

    def history(self, limit: int = 100, clip_id: int | None = None) -> list[Change]:
        """Who changed what, the latest first."""
        with self.db.read() as db:
            rows = db.execute(
                "SELECT * FROM change WHERE ? IS NULL OR clip_id = ? ORDER BY id DESC LIMIT ?",
                (clip_id, clip_id, limit),
            ).fetchall()
        return [changes.change_of(row) for row in rows]

    def undo_change(self, change_id: int, who: str) -> Change:
        """Takes one change back, where nobody has changed the same since. Raises Changed, BadRequest."""
        who = check_who(who)
        with self.db.write("this") as db:
            return changes.undo(db, change_id, who)

    def note(self, who: str, action: str) -> None:
        """A line of history about the project as a whole."""
        with self.db.write("this") as db:
            record(db, who, action, None, {}, {})

    def counts(self) -> Counts:
        """How far it is."""
        with self.db.read() as db:
            return changes.counts(db)

    def summary(self) -> Summary:
        """A line for the list of projects."""
        with self.db.read() as db:
            at, who, action = db.execute("SELECT at, who, action FROM change ORDER BY id DESC LIMIT 1").fetchone()
            labels = tuple(label["name"] for label in meta(db, "labels")[0])
            return Summary(self.id, meta(db, "name")[0], labels, changes.counts(db), who, action, at)
