"""A whole project as one zip: ``project.json`` and ``audio/<sha256>``, out and safely in again.

What people did is in it: labels, settings, clips, judgements, history. What models made of the clips is not, since it
is made again. Opening one is reading a stranger's file: no name in it is used as a path, sizes have limits, the JSON is
held to a schema, every sound to its hash, and the project appears only when all of it is on the disk.
"""

from __future__ import annotations

import json
import os
import uuid
import zipfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from sqlite3 import IntegrityError
from typing import Any, BinaryIO

from afcore import safe_files
from afcore.audio.channels import AUTO, MIX, ONE
from afcore.audio.notices import Notice
from afcore.audio.recording import MAX_BYTES
from afcore.errors import BadRequest
from afcore.names import shown_name, shown_path
from afcore.safe_files import read_description
from afcore.teach import changes, media
from afcore.teach.changes import METHODS, ORDERS, check_labels, check_name, check_settings, check_who
from afcore.teach.project import Project
from afcore.teach.schema import CLIP_COLUMNS, EXAMPLE, STATES, TEST, Label, ProjectClip, Settings, now, storage
from afcore.teach.store import Store

FORMAT, FORMAT_VERSION = "audio-flamingo-project", 1
MAX_JSON = 256 * 2**20  # bytes
_JSON, _AUDIO = "project.json", "audio/"
_SINCE_2 = {"path": "", "notices": "[]"}
"""What files of older versions do not have."""
_CLIP = CLIP_COLUMNS.split(", ")
_CHANGE = "id, at, who, action, clip_id, before, after, undone_by"


def export_project(project: Project, target: str | Path | BinaryIO) -> None:
    """Writes the project as it is at this moment into a file, whole or not at all, or into an open one. Raises
    NoSpace."""
    with project.db.read() as db:
        clips = [
            dict(zip(_CLIP, row, strict=False)) for row in db.execute(f"SELECT {CLIP_COLUMNS} FROM clip ORDER BY id")
        ]
        rows = db.execute(f"SELECT {_CHANGE} FROM change ORDER BY id").fetchall()
        meta = {
            key: {"value": json.loads(value), "version": version, "who": who, "at": at}
            for key, value, version, who, at in db.execute("SELECT * FROM meta")
        }
    changes = [dict(zip(_CHANGE.split(", "), row, strict=False)) for row in rows]
    for change in changes:
        change["before"], change["after"] = json.loads(change["before"]), json.loads(change["after"])
    sounds = {clip["sha256"]: media.sound_file(project.folder, clip["sha256"]) for clip in clips}
    head = {"format": FORMAT, "version": FORMAT_VERSION, "id": project.id}
    content = {**head, "meta": meta, "clips": clips, "changes": changes}
    text = json.dumps(content, ensure_ascii=False).encode()
    if len(sounds) >= safe_files.MAX_MEMBERS or len(text) > MAX_JSON:
        raise BadRequest(
            f"This project is too large for one file: {safe_files.MAX_MEMBERS} sounds are the most; "
            "copy its folder instead."
        )

    def write(out: BinaryIO) -> None:
        with zipfile.ZipFile(out, "w") as file:
            file.writestr(zipfile.ZipInfo(_JSON), text, zipfile.ZIP_DEFLATED)
            for sha256 in sorted(sounds):
                # Stored, being compressed or noisy already; immutable once its row is there, so no lock is held.
                file.write(sounds[sha256], _AUDIO + sha256, zipfile.ZIP_STORED)

    try:
        with storage("the project's file"):
            if isinstance(target, str | Path):
                _write_whole(Path(target), write)
            else:
                write(target)
    except FileNotFoundError as error:
        raise BadRequest("A sound is missing from this project's folder, so it cannot be exported whole.") from error


def _write_whole(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """A file by ``write``, whole on the disk or not there at all."""
    if not path.parent.is_dir():
        raise BadRequest(f"There is no folder {path.parent}.")
    partial = path.with_name(f".{path.name}-{uuid.uuid4().hex}.part")
    try:
        with partial.open("wb") as out:
            write(out)
            out.flush()
            os.fsync(out.fileno())
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def import_project(store: Store, source: safe_files.Source, who: str) -> Project:
    """A project from its file; under its old id where that is free, else a new one. Raises BadRequest in one sentence
    for anything but a whole project, NoSpace; and then nothing is left of it."""
    who = check_who(who)
    with safe_files.opened_zip(source, "This file") as opened:
        infos = {info.filename: info for info in opened.infolist()}
        if _JSON not in infos or len(infos) != len(opened.infolist()):
            raise BadRequest("This is not a project's file: it is a zip of something else.")
        unpacking = safe_files.Unpacking(opened, "This file")
        content = _parse(unpacking.read(infos[_JSON], MAX_JSON))
        sounds = {clip["sha256"] for clip in content["clips"]}
        if infos.keys() - {_JSON} != {_AUDIO + sha256 for sha256 in sounds}:
            raise BadRequest("This project's file is damaged: its sounds are not those that it lists.")

        def fill(folder: Path) -> None:
            for sha256 in sorted(sounds):
                if media.keep_sound(folder, unpacking.read(infos[_AUDIO + sha256], MAX_BYTES)) != sha256:
                    raise BadRequest("This project's file is damaged: a sound is not the one that was saved.")
            project = Project(folder, create=True)
            try:
                _fill(project, content, who)
            except IntegrityError as error:
                raise BadRequest(
                    "This project's file is damaged: its clips and changes do not fit together."
                ) from error
            finally:
                project.close()

        return store.open(store.place(content["meta"]["name"]["value"], fill, content["id"]))


def _fill(project: Project, content: dict[str, Any], who: str) -> None:
    with project.db.write("the project") as db:
        db.execute("PRAGMA defer_foreign_keys = ON")  # a change may be undone by a later one
        for key, entry in content["meta"].items():
            value = changes.as_json(entry["value"])
            db.execute(
                "INSERT INTO meta VALUES (?, ?, ?, ?, ?)", (key, value, entry["version"], entry["who"], entry["at"])
            )
        for clip in content["clips"]:
            db.execute(
                f"INSERT INTO clip ({CLIP_COLUMNS}) VALUES ({', '.join('?' * len(fields(ProjectClip)))})",
                [clip.get(name, _SINCE_2.get(name)) for name in _CLIP],
            )
        for change in content["changes"]:
            db.execute(
                f"INSERT INTO change ({_CHANGE}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(change[name] for name in ("id", "at", "who", "action", "clip_id")),
                    changes.as_json(change["before"]),
                    changes.as_json(change["after"]),
                    change["undone_by"],
                ),
            )
        changes.record(db, who, "imported", None, {}, {"at": now()})


def _parse(text: bytes) -> dict[str, Any]:
    content = read_description(text, "project's file", FORMAT, FORMAT_VERSION, _SCHEMA)
    meta = {key: entry["value"] for key, entry in content["meta"].items()}
    check_name(meta["name"])
    check_settings(Settings(**meta["settings"]))
    labels = {label.name for label in check_labels(Label(**label) for label in meta["labels"])}
    for clip in content["clips"]:
        clip["name"] = shown_name(clip["name"])
        clip["path"] = shown_path(clip.get("path", ""))
        _check_notices(clip.get("notices", "[]"))
        if (clip["label"] is None) == (clip["state"] in (EXAMPLE, TEST)) or clip["label"] not in {None, *labels}:
            raise BadRequest("This project's file is damaged: a clip has a label that the project does not have.")
    return content


def _check_notices(text: str) -> None:
    try:
        fine = all(isinstance(Notice.from_json(one).sentence, str) for one in json.loads(text))
    except (ValueError, TypeError, KeyError, RecursionError):
        fine = False
    if not fine:
        raise BadRequest("This project's file is damaged: what it says about a clip cannot be read.")


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _object_with(optional: dict[str, Any], **properties: Any) -> dict[str, Any]:
    schema = _object(**properties)
    schema["properties"] = {**properties, **optional}
    return schema


def _text(most: int, least: int = 0) -> dict[str, Any]:
    return {"type": "string", "maxLength": most, "minLength": least}


def _or_none(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _list(items: dict[str, Any], most: int) -> dict[str, Any]:
    return {"type": "array", "items": items, "maxItems": most}


_NUMBER, _HASH = {"type": "number", "minimum": 0, "maximum": 1e12}, {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_COUNT = {"type": "integer", "minimum": 0, "maximum": 2**53}
_ID = {"type": "integer", "minimum": 1, "maximum": 2**53}
_LABELS = _list(_object(name=_text(100, 1), description=_text(500)), changes.MAX_LABELS)
_SETTINGS = _object_with(
    {"channels": {"anyOf": [{"enum": [AUTO, ONE, MIX]}, {"type": "integer", "minimum": 2, "maximum": 1024}]}},
    method={"enum": list(METHODS)},
    k={"type": "integer", "minimum": 1, "maximum": changes.MAX_K},
    reject_below=_or_none({"type": "number", "minimum": 0, "maximum": 1}),
    reject_similarity=_or_none({"type": "number", "minimum": -1, "maximum": 1}),
    order={"enum": list(ORDERS)},
)


def _entry(value: dict[str, Any]) -> dict[str, Any]:
    return _object(value=value, version=_COUNT, who=_text(60), at=_NUMBER)


_ASPECTS = {  # what a change may have changed
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "state": {"enum": list(STATES)},
        "label": _or_none(_text(100)),
        "name": _text(120, 1),
        "labels": _LABELS,
        "settings": _SETTINGS,
        "at": _NUMBER,
    },
}
_SCHEMA = _object(
    format={"const": FORMAT},
    version={"const": FORMAT_VERSION},
    id=_text(80),
    meta=_object(
        name=_entry(_text(120, 1)), labels=_entry(_LABELS), settings=_entry(_SETTINGS), revision=_entry(_COUNT)
    ),
    clips=_list(
        _object_with(
            {"path": _text(5000), "notices": _text(20_000)},
            id=_ID,
            key=_HASH,
            sha256=_HASH,
            name=_text(300),
            start=_NUMBER,
            seconds=_NUMBER,
            source=_text(1000),
            group_key=_text(1000),
            state={"enum": list(STATES)},
            label=_or_none(_text(100, 1)),
            truth=_or_none(_text(100)),
            fault=_or_none(_text(1000)),
            version=_COUNT,
            who=_text(60),
            at=_NUMBER,
        ),
        1_000_000,
    ),
    changes=_list(
        _object(
            id=_ID,
            at=_NUMBER,
            who=_text(60),
            action=_text(60),
            clip_id=_or_none(_ID),
            before=_ASPECTS,
            after=_ASPECTS,
            undone_by=_or_none(_ID),
        ),
        10_000_000,
    ),
)
