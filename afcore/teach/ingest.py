"""Sounds go into a project: files, a zip, a folder of the server, examples of a bank; and a long recording becomes
segments.

Each sound is saved, file first and row second, before the next is read. So a stop, a kill or a full disk in the middle
leaves exactly the sounds that were reported, and adding the same again goes on from there.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from sqlite3 import Connection
from typing import TYPE_CHECKING

from afcore.audio.recording import MAX_BYTES, open_recording
from afcore.errors import AudioError, BadRequest
from afcore.hashing import sha256_of
from afcore.names import files_in, is_hidden, label_of_folder, shown_name, shown_path
from afcore.safe_files import MAX_MEMBERS, Source, TooMuch, Unpacking, is_unsafe, member_name, opened_zip
from afcore.teach.changes import (
    INTO_SEGMENTS,
    RELABELLED,
    RESTORED,
    bump,
    check_label,
    check_who,
    item,
    new_id,
    record,
    update_clip,
)
from afcore.teach.media import keep_sound
from afcore.teach.project import Project
from afcore.teach.schema import (
    CUT,
    EXAMPLE,
    GONE,
    NONE,
    OPEN,
    SKIPPED,
    TEST,
    Changed,
    NoSpace,
    ProjectClip,
    notices_json,
    now,
)

if TYPE_CHECKING:
    from afcore.retrieval.bank import Bank

Progress = Callable[[int, int], None]
"""Hears (sounds done, sounds in all)."""
SHORTEST = 0.05  # seconds of a segment
ADDED = "added"


@dataclass
class Added:
    """What became of the sounds that were given."""

    clips: list[int] = field(default_factory=list)
    """Ids of those that went in."""
    known: list[str] = field(default_factory=list)
    """A sentence for each that was there already."""
    refused: list[str] = field(default_factory=list)
    """A sentence for each that cannot be taken."""


@dataclass(frozen=True)
class _Entry:
    name: str
    read: Callable[[], Source]
    label: str | None = None
    source: str = ""
    group_key: str = ""
    truth: str | None = None
    path: str = ""


def _given(sound: Source) -> Callable[[], Source]:
    return lambda: sound


class _Known(Exception):
    """Says that a sound is in the project already."""


def add_files(
    project: Project,
    sounds: Sequence[tuple[str, Source]],
    who: str,
    label: str | None = None,
    test: bool = False,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Added:
    """``sounds``: (name, bytes, path or open file) each. With ``label`` they are examples, or with ``test`` test clips;
    without they join the queue. ``stop`` ends it between two sounds.

    Raises BadRequest for a label that the project does not have, NoSpace; a sound that cannot be read is named in what
    it returns.
    """
    entries = [_Entry(shown_name(name), _given(sound), label) for name, sound in sounds]
    return _add(project, entries, len(entries), who, test, progress, stop)


def add_zip(
    project: Project,
    source: Source,
    who: str,
    label: str | None = None,
    folders_are_labels: bool = False,
    test: bool = False,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
    name: str = "The zip",
    code_page: str = "cp437",
) -> Added:
    """The sounds of a zip, by content whatever they are called. ``code_page``: of names that are not UTF-8, see
    `safe_files.member_name`. ``folders_are_labels``: each sound is labelled by the folder that it stands in, and labels
    that the project lacks are added. Raises as `add_files`, and BadRequest for what is no zip or a monstrous one."""
    added = Added()
    with opened_zip(source, name) as opened:
        unpacking = Unpacking(opened, name)
        entries = []
        for info in opened.infolist():
            path = member_name(info, code_page)
            if info.is_dir() or is_hidden(path):
                continue
            if is_unsafe(path):
                added.refused.append(f"“{shown_name(path)}” points out of the zip, so it was left out.")
            else:
                own = _folder_label(path) if folders_are_labels else label
                read = partial(unpacking.read, info, MAX_BYTES)
                entries.append(_Entry(shown_name(path), read, own, path=shown_path(path)))
        return _add(project, entries, len(entries), who, test, progress, stop, folders_are_labels, added)


def allowed_folders() -> list[Path]:
    """Folders of the server that people may add from: the variable AFCORE_SERVER_FOLDERS, separated as in PATH."""
    named = os.environ.get("AFCORE_SERVER_FOLDERS", "").split(os.pathsep)
    return [Path(folder).expanduser().resolve() for folder in named if folder.strip()]


def add_folder(
    project: Project,
    folder: str | Path,
    who: str,
    label: str | None = None,
    folders_are_labels: bool = False,
    test: bool = False,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Added:
    """The sounds of a folder of this server and of the folders in it; otherwise as `add_zip`. Raises BadRequest also
    where it is not in one of the `allowed_folders`."""
    root, allowed = Path(folder).expanduser().resolve(), allowed_folders()
    if not any(root.is_relative_to(one) for one in allowed):
        raise BadRequest("This folder may not be read from here: the server's AFCORE_SERVER_FOLDERS says which may.")
    # A link may lead elsewhere.
    if not root.is_dir():
        raise BadRequest(f"There is no folder {root}.")
    found = files_in(root, lambda path: any(path.is_relative_to(one) for one in allowed))
    added = Added(refused=list(found.left_out.values()))
    entries = [
        _Entry(
            shown_name(file.name),
            _given(file),
            _folder_label(name) if folders_are_labels else label,
            path=shown_path(name),
        )
        for name, file in found.files.items()
    ]
    if len(entries) > MAX_MEMBERS:
        raise BadRequest(f"There are {len(entries)} files in {root}; {MAX_MEMBERS} is the most at once.")
    return _add(project, entries, len(entries), who, test, progress, stop, folders_are_labels, added)


def add_from_bank(
    project: Project,
    bank: Bank,
    example_ids: Iterable[int],
    who: str,
    label: str | None = None,
    own_labels: bool = False,
    test: bool = False,
    truth: str | None = None,
) -> Added:
    """Copies sounds of a bank. ``own_labels``: labelled as in the bank, not with ``label``. ``truth``: what they are,
    kept as `ProjectClip.truth` and hidden from the reviewer, for whom they have no label."""
    entries = []
    for example in map(bank.example, example_ids):
        own = example.label if own_labels else label
        source = ", ".join(part for part in (f"{example.package} {example.version}".strip(), example.licence) if part)
        name = shown_name(example.path or f"{example.label}.ogg")
        entries.append(_Entry(name, partial(bank.audio_path, example.id), own, source, example.group_key, truth))
    return _add(project, entries, len(entries), who, test, None, None, own_labels)


def cut(project: Project, clip_id: int, spans: Sequence[tuple[float, float]], who: str) -> Added:
    """A recording that waits in the queue is replaced there by its segments, (start, end) each in seconds from the
    start of the file; all or none. Taken back by `Project.undo_change`. Raises BadRequest."""
    who, added = check_who(who), Added()
    with project.db.write("the segments") as db:
        clip = item(db, clip_id)
        if clip.state not in (OPEN, SKIPPED):
            raise BadRequest(f"“{clip.name}” cannot be cut any more: it is {clip.state}.")
        if not spans:
            raise BadRequest("Give at least one segment.")
        for start, end in spans:
            if not (clip.start <= start and start + SHORTEST <= end <= clip.start + clip.seconds + 0.01):
                raise BadRequest(f"“{clip.name}” has no segment from {start:g} to {end:g} s.")
            key = _key(clip.sha256, start, end - start)
            old = db.execute("SELECT id, state FROM clip WHERE key = ?", (key,)).fetchone()
            if old is None:
                values = (
                    key,
                    clip.sha256,
                    clip.name,
                    start,
                    end - start,
                    clip.source,
                    clip.group_key,
                    clip.path,
                    clip.notices_json,
                )
                added.clips.append(_insert(db, who, OPEN, None, None, values))
            elif old[1] == GONE:
                update_clip(db, item(db, old[0]), who, RESTORED, {"state": OPEN, "label": None})
                added.clips.append(old[0])
            else:
                added.known.append(f"The segment of “{clip.name}” from {start:g} s is there already.")
        update_clip(db, clip, who, INTO_SEGMENTS, {"state": CUT, "label": None})
    return added


def add_stretch(project: Project, clip: ProjectClip, start: float, end: float, label: str | None, who: str) -> int:
    """The stretch from ``start`` to ``end``, in seconds of ``clip``'s file, as an example of ``label`` (None: none of
    these); ``clip`` itself stays as it is. Returns its id. Raises BadRequest for times outside the file."""
    who, state = check_who(who), NONE if label is None else EXAMPLE
    with project.db.write("the stretch") as db:
        check_label(db, label)
        if not (start >= 0 and start + SHORTEST <= end <= _length(db, clip) + 0.05):
            raise BadRequest(f"“{clip.name}” has nothing from {start:g} to {end:g} s.")
        key = _key(clip.sha256, start, end - start)
        old = db.execute("SELECT id FROM clip WHERE key = ?", (key,)).fetchone()
        if old is not None:
            update_clip(db, item(db, old[0]), who, RELABELLED, {"state": state, "label": label})
            return old[0]
        values = (key, clip.sha256, clip.name, start, end - start, clip.source, clip.group_key, clip.path)
        return _insert(db, who, state, label, None, (*values, clip.notices_json))


def _length(db: Connection, clip: ProjectClip) -> float:
    """The end in seconds of what the project knows of a file."""
    return db.execute("SELECT max(start + seconds) FROM clip WHERE sha256 = ?", (clip.sha256,)).fetchone()[0]


def _add(
    project: Project,
    entries: Sequence[_Entry],
    total: int,
    who: str,
    test: bool,
    progress: Progress | None,
    stop: threading.Event | None,
    new_labels: bool = False,
    added: Added | None = None,
) -> Added:
    who, added = check_who(who), added or Added()
    if not new_labels:
        known = [label.name for label in project.labels]
        for label in {entry.label for entry in entries if entry.label is not None}:
            if label not in known:
                raise BadRequest(f"There is no label “{label}” in this project.")
    for done, entry in enumerate(entries):
        if stop is not None and stop.is_set():
            break
        try:
            added.clips.append(_add_one(project, entry, who, test, new_labels))
        except NoSpace as error:
            said = f"The disk is full: {done} of {total} sounds were gone through and are safe, the rest was not saved."
            raise NoSpace(said) from error
        except TooMuch as error:
            added.refused.append(str(error))
            break
        except (AudioError, BadRequest) as error:
            added.refused.append(str(error))
        except _Known as known:
            added.known.append(str(known))
        if progress is not None:
            progress(done + 1, total)
    return added


def _add_one(project: Project, entry: _Entry, who: str, test: bool, new_labels: bool) -> int:
    label, truth = entry.label, entry.truth
    if label == "" or (test and label is None):
        raise BadRequest(
            f"“{entry.name}” stands in no folder, so it has no label." if new_labels else "A test clip needs a label."
        )
    recording = open_recording(entry.read(), entry.name, project.settings.channels)
    sha256 = keep_sound(project.folder, recording.data)
    if label is not None and new_labels:
        label = project.add_labels([label], who)[label]
    state = TEST if test else OPEN if label is None else EXAMPLE
    with project.db.write(f"“{entry.name}”") as db:
        check_label(db, label)
        old = db.execute("SELECT id FROM clip WHERE key = ?", (sha256,)).fetchone()
        if old is not None:
            return _again(db, item(db, old[0]), entry.name, who, state, label)
        span, told = (0.0, recording.duration), notices_json(recording.notices)
        values = (sha256, sha256, entry.name, *span, entry.source, entry.group_key, entry.path, told)
        return _insert(db, who, state, label, truth, values)


def _again(db: Connection, clip: ProjectClip, name: str, who: str, state: str, label: str | None) -> int:
    """The same content once more: a clip that was discarded or cut up comes back, a waiting one takes the label;
    nothing else is changed."""
    if clip.state in (GONE, CUT):
        update_clip(db, clip, who, RESTORED, {"state": state, "label": label})
        return clip.id
    if clip.state in (OPEN, SKIPPED) and state == EXAMPLE:
        update_clip(db, clip, who, RELABELLED, {"state": state, "label": label})
        return clip.id
    as_what = f" as “{clip.name}”" if clip.name != name else ""
    if state in (EXAMPLE, TEST) and (clip.state, clip.label) != (state, label):
        of_label = {TEST: f"a test clip of “{clip.label}”", EXAMPLE: f"an example of “{clip.label}”"}
        now_is = of_label.get(clip.state, clip.state)
        raise Changed(f"“{name}” is in the project already{as_what}, {now_is}, so it was left as it is.")
    raise _Known(f"“{name}” is in the project already{as_what}.")


def _insert(db: Connection, who: str, state: str, label: str | None, truth: str | None, values: tuple) -> int:
    """``values``: key, sha256, name, start, seconds, source, group_key, path, notices."""
    columns = "key, sha256, name, start, seconds, source, group_key, path, notices, state, label, truth, who, at"
    filled = (*values, state, label, truth, who, now())
    clip_id = new_id(db.execute(f"INSERT INTO clip ({columns}) VALUES ({', '.join('?' * 14)})", filled))
    if state == EXAMPLE:
        bump(db)
    record(db, who, ADDED, clip_id, {}, {"state": state, "label": label})
    return clip_id


def _key(sha256: str, start: float, seconds: float) -> str:
    """Names a stretch of a file."""
    return sha256_of(f"{sha256} {start:.4f} {seconds:.4f}")


def _folder_label(path: str) -> str:
    """``a/steam_leak/1.wav`` → ``steam leak``; '' for a file in no folder."""
    parts = path.split("/")
    return label_of_folder(parts[-2]) if len(parts) > 1 else ""
