"""The format of a session file: the sound, the shots, the chat and the settings of a browser session.

The file is a zip of exactly two members, ``session.json`` and ``sound`` (the recording's file as it was uploaded).
Opening one is reading a stranger's file: nothing is unpacked to disk, no name in it is used as a path, sizes are
checked before and while reading, the JSON is held to a schema, and nothing is ever unpickled. The sound itself is
still to be opened with ``afcore.audio.recording.open_recording``, which has its own refusals.
"""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from io import BytesIO
from typing import Any

import jsonschema

from afcore.audio.recording import MAX_BYTES
from afcore.errors import BadRequest
from afcore.hashing import sha256_of
from afcore.safe_files import (
    NotAZip,
    OddPacking,
    TooLarge,
    TooManyMembers,
    Unpacking,
    opened_zip,
    read_description,
)

FORMAT, VERSION = "audio-flamingo-session", 1
MAX_JSON_BYTES = 8 * 2**20  # thousands of turns
_JSON, _SOUND = "session.json", "sound"
DIRECTORY = 1000  # bytes of a list of two members, with room for what programs add

Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class SavedShot:
    """An example on the Retrieve page."""

    id: int
    """Its number in the bank it came from."""
    sha256: str = ""
    """Names its audio, so that it is found in another build of the bank, where numbers differ."""
    used: bool = True
    """Ticked: it goes into the prompt."""
    pinned: bool = False


@dataclass(frozen=True)
class SavedSession:
    """What a session file holds."""

    name: str
    """Of the recording, as it was uploaded; for show, never a path."""
    sound: bytes = field(repr=False)
    """The recording's file."""
    start: float = 0.0
    """Where the heard part begins, in seconds."""
    shots: tuple[SavedShot, ...] = ()
    turns: tuple[Mapping[str, Any], ...] = ()
    """Chat turns: ``question``, ``answer``, and perhaps ``candidates`` (``answer`` and ``similarity`` of each, best
    first), ``start``, ``shots``, ``stopped``, ``error``, and of the last ``prompt``, as it was sent."""
    settings: Mapping[str, Scalar] = field(default_factory=dict)
    """Of generation."""
    page: Mapping[str, Scalar] = field(default_factory=dict)
    """What else the pages hold: the question, the labels, how many neighbours, how many candidates."""


def _object(required: Sequence[str] = (), **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def _list(items: dict[str, Any], most: int) -> dict[str, Any]:
    return {"type": "array", "items": items, "maxItems": most}


_TEXT, _FLAG = {"type": "string"}, {"type": "boolean"}
_ID = {"type": "integer", "minimum": 0, "maximum": 2**53}
_SECONDS = {"type": "number", "minimum": 0, "maximum": 1e6}
_SIMILARITY = {"type": "number", "minimum": -2, "maximum": 2}  # a cosine, and room for rounding
_HASH = {"type": "string", "pattern": "^([0-9a-f]{64})?$"}
_SCALARS = {
    "type": "object",
    "maxProperties": 100,
    "additionalProperties": {"type": ["string", "number", "boolean", "null"], "minimum": -1e15, "maximum": 1e15},
}
_TURN = _object(
    ["question", "answer"],
    question=_TEXT,
    answer=_TEXT,
    candidates=_list(_object(["answer", "similarity"], answer=_TEXT, similarity=_SIMILARITY), 100),
    start=_SECONDS,
    shots=_list(_object(["id"], id=_ID, sha256=_HASH, label=_TEXT, caption=_TEXT, similarity={"type": "number"}), 100),
    prompt=_TEXT,
    stopped=_FLAG,
    error=_TEXT,
)
_SCHEMA = _object(
    ["format", "version", "name", "start", "sha256", "shots", "turns", "settings", "page"],
    format={"const": FORMAT},
    version={"const": VERSION},
    name={"type": "string", "maxLength": 1000},
    start=_SECONDS,
    sha256=_HASH,
    shots=_list(_object(["id", "sha256", "used", "pinned"], id=_ID, sha256=_HASH, used=_FLAG, pinned=_FLAG), 1000),
    turns=_list(_TURN, 10_000),
    settings=_SCALARS,
    page=_SCALARS,
)


def description(session: SavedSession) -> bytes:
    """All of a session but its sound, as JSON."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "name": session.name,
        "start": session.start,
        "sha256": sha256_of(session.sound),
        "shots": [asdict(shot) for shot in session.shots],
        "turns": [dict(turn) for turn in session.turns],
        "settings": dict(session.settings),
        "page": dict(session.page),
    }
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1).encode()
    jsonschema.validate(json.loads(text), _SCHEMA)
    return text


def save_session(session: SavedSession) -> bytes:
    """The session as the bytes of a file; raises BadRequest where it could not be opened again for its size."""
    text = description(session)
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        # A fixed date: the same session gives the same file. The sound is stored, being compressed or noisy already.
        out.writestr(zipfile.ZipInfo(_JSON), text, zipfile.ZIP_DEFLATED)
        out.writestr(zipfile.ZipInfo(_SOUND), session.sound, zipfile.ZIP_STORED)
    data = file.getvalue()
    if len(data) > MAX_BYTES or len(text) > MAX_JSON_BYTES:
        raise BadRequest(f"This session is too large to keep as a file: {MAX_BYTES // 2**20} MB is the most.")
    return data


def open_session(data: bytes) -> SavedSession:
    """Read a session file; raises BadRequest, in one sentence, for anything that is not a whole one."""
    if len(data) > MAX_BYTES:
        raise BadRequest(f"This session file is larger than {MAX_BYTES // 2**20} MB, the most that can be opened here.")
    return of_parts(*_members(data))


def of_parts(text: bytes, sound: bytes) -> SavedSession:
    """A session from its `description` and its sound's file; raises BadRequest where they are not what they should
    be."""
    content = read_description(text, "session file", FORMAT, VERSION, _SCHEMA)
    if sha256_of(sound) != content["sha256"]:
        raise BadRequest("This session file is damaged: its sound is not the one that was saved.")
    return SavedSession(
        name=content["name"],
        sound=sound,
        start=float(content["start"]),
        shots=tuple(SavedShot(**shot) for shot in content["shots"]),
        turns=tuple(content["turns"]),
        settings=content["settings"],
        page=content["page"],
    )


def _members(data: bytes) -> tuple[bytes, bytes]:
    """The JSON and the sound of the zip."""
    try:
        with opened_zip(data, "This session file", DIRECTORY) as opened:
            infos = {info.filename: info for info in opened.infolist()}
            if infos.keys() != {_JSON, _SOUND} or len(opened.infolist()) != 2:
                raise TooManyMembers("This session file has other members.")
            unpacking = Unpacking(opened, "This session file")
            return unpacking.read(infos[_JSON], MAX_JSON_BYTES), unpacking.read(infos[_SOUND], MAX_BYTES)
    except NotAZip as error:
        raise BadRequest("This is not a session file.") from error
    except TooManyMembers as error:
        raise BadRequest("This is not a session file: it is a zip of something else.") from error
    except OddPacking as error:
        raise BadRequest("This session file is packed in a way that is not ours.") from error
    except TooLarge as error:
        raise BadRequest("This session file unpacks to more than a session can hold.") from error
    except BadRequest as error:
        raise BadRequest("This session file is damaged.") from error
