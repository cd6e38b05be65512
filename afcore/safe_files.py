"""Files that people hand on, read as a stranger's: zips, and the JSON in them, held to a format, a version and a
schema.

No name out of a zip is ever used as a path; sizes are checked before and while reading, whatever headers say.
"""

from __future__ import annotations

import itertools
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import jsonschema

from afcore.errors import BadRequest
from afcore.names import is_hidden, shown_name, shown_path

MAX_MEMBERS = 20_000
MAX_UNPACKED = 16 * 2**30  # bytes, of all members of one zip together
MAX_DIRECTORY = 4 * 2**20  # bytes of the list of members, which ``zipfile`` reads whole
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, struct.error, NotImplementedError)  # what zipfile raises for it

Source = str | Path | bytes | BinaryIO


class NotAZip(BadRequest):
    """Something else than a zip."""


class DamagedZip(BadRequest):
    """A zip, or a member of it, cannot be read."""


class TooManyMembers(BadRequest):
    """A zip lists more than is taken, or may."""


class OddPacking(BadRequest):
    """A member is packed in a way that few programs use."""


class TooLarge(BadRequest):
    """A member unpacks to more than is taken of one."""


class TooMuch(BadRequest):
    """A zip unpacks to more than is taken of one zip."""


@contextmanager
def opened_zip(
    source: Source, name: str = "The zip", directory: int | None = None, members: int | None = None
) -> Iterator[zipfile.ZipFile]:
    """A zip whose list has at most ``directory`` bytes (`MAX_DIRECTORY`) and ``members`` files (`MAX_MEMBERS`).

    Raises BadRequest, NotAZip, TooManyMembers or DamagedZip in one sentence, also while members are read.
    """
    file = _as_file(source)
    try:
        _check_directory(file, name, MAX_DIRECTORY if directory is None else directory)
        file.seek(0)
        with zipfile.ZipFile(file) as opened:
            most = MAX_MEMBERS if members is None else members
            if len(opened.infolist()) > most:
                raise TooManyMembers(f"{name} lists more than {most} files, the most that are taken at once.")
            yield opened
    except (*_DAMAGED, UnicodeDecodeError) as error:
        raise DamagedZip(f"{name} is damaged or is no zip.") from error
    finally:
        if file is not source:
            file.close()


class Unpacking:
    """Reads members of one zip, each and all together up to a limit, whatever the headers say."""

    def __init__(self, opened: zipfile.ZipFile, name: str, total: int | None = None):
        self._zip, self._name = opened, name
        self._left = MAX_UNPACKED if total is None else total

    def read(self, info: zipfile.ZipInfo, most: int) -> bytes:
        """The member's bytes. Raises TooLarge where they are more than ``most``, BadRequest where they are encrypted,
        OddPacking, DamagedZip; `TooMuch` where the whole zip unpacks to more than may be."""
        shown = shown_name(info.filename)
        if info.flag_bits & 1:
            raise BadRequest(f"“{shown}” is encrypted.")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise OddPacking(f"“{shown}” is packed in a way that is not taken here.")
        if info.file_size > most:  # nothing is unpacked in vain; where that says too little, see below
            raise _too_large(shown, most)
        try:
            with self._zip.open(info) as member:
                data = member.read(min(most, self._left) + 1)
        except (*_DAMAGED, RuntimeError, ValueError) as error:
            raise DamagedZip(f"“{shown}” is damaged in the zip.") from error
        self._left -= len(data)
        if self._left < 0:
            raise TooMuch(f"{self._name} unpacks to more than can be taken at once, so the rest of it was left out.")
        if len(data) > most:
            raise _too_large(shown, most)
        return data


def _too_large(shown: str, most: int) -> TooLarge:
    return TooLarge(f"“{shown}” unpacks to more than {most / 2**20:.3g} MB, the most that is taken.")


CODE_PAGES = {
    "cp437": "as the zip format says (DOS)",
    "cp1252": "Windows, Western Europe",
    "cp932": "Windows, Japanese",
    "cp936": "Windows, Chinese (simplified)",
    "cp949": "Windows, Korean",
    "cp950": "Windows, Chinese (traditional)",
    "cp1251": "Windows, Cyrillic",
    "cp850": "DOS, Western Europe",
    "cp866": "DOS, Cyrillic",
}
"""Code pages in which zips have names, by Python's names, with what people call them."""


def member_name(info: zipfile.ZipInfo, code_page: str = "cp437") -> str:
    """A member's path, decoded: as UTF-8 where it can be, whatever the zip's flag says, since most programs write that;
    else in ``code_page``, one of `CODE_PAGES`; what is no text in that either is written out."""
    if info.flag_bits & 0x800:
        return info.orig_filename
    raw = info.orig_filename.encode("cp437")  # as zipfile took the bytes for
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode(code_page, "backslashreplace")


def in_code_page(opened: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The members whose names are not UTF-8, so that a code page has to be chosen for them."""
    found = []
    for info in opened.infolist():
        if not info.flag_bits & 0x800:
            try:
                info.orig_filename.encode("cp437").decode("utf-8")
            except UnicodeDecodeError:
                found.append(info)
    return found


def names_in_code_page(source: Source, code_page: str, most: int = 5) -> list[str]:
    """How the first ``most`` names of a zip that are not UTF-8 read in ``code_page``, to be shown; none where all are.
    Raises as `opened_zip`."""
    with opened_zip(source) as opened:
        found = (shown_path(member_name(info, code_page)) for info in in_code_page(opened))
        return list(itertools.islice((path for path in found if not is_hidden(path)), most))


def is_unsafe(name: str) -> bool:
    """Whether a member's name points out of its zip: nothing good is packed like that."""
    parts = name.replace("\\", "/").split("/")
    return ".." in parts or name.startswith(("/", "\\")) or ":" in parts[0] or "\0" in name


def _as_file(source: Source) -> BinaryIO:
    if isinstance(source, bytes):
        from io import BytesIO

        return BytesIO(source)
    if isinstance(source, str | Path):
        try:
            return Path(source).open("rb")
        except OSError as error:
            raise BadRequest(f"“{Path(source).name}” cannot be opened: {error.strerror}.") from error
    return source


def _check_directory(file: BinaryIO, name: str, most: int) -> None:
    """Refuse, before ``zipfile`` reads it, a directory that may list millions of members.

    The record at the end that ``zipfile`` goes by is found in the same way as there: at the very end, else the last
    place in 64 KiB that looks like one.
    """
    file.seek(0, os.SEEK_END)
    size = file.tell()
    file.seek(max(0, size - 65_557 - 20))
    tail = file.read()
    at = len(tail) - 22 if tail[-22:-18] == b"PK\x05\x06" and tail[-2:] == b"\0\0" else tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < 22:
        raise NotAZip(f"{name} is not a zip.")
    (directory,) = struct.unpack("<L", tail[at + 12 : at + 16])
    locator = tail[at - 20 : at] if at >= 20 else b""
    if locator[:4] == b"PK\x06\x07":  # its true size stands elsewhere (zip64)
        (place,) = struct.unpack("<Q", locator[8:16])
        file.seek(min(place, size))
        record = file.read(56)
        if len(record) < 56 or record[:4] != b"PK\x06\x06":
            raise DamagedZip(f"{name} is damaged or is no zip.")
        (directory,) = struct.unpack("<Q", record[40:48])
    if directory > most:
        raise TooManyMembers(f"{name} lists more files than can be taken at once.")


def write_json(file: Path, content: Any) -> None:
    """Writes ``file`` anew: at every moment the old text stands there, or the whole new one."""
    partial = file.with_name(f"{file.name}.partial")
    partial.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    os.replace(partial, file)


def read_description(text: bytes, noun: str, format: str, version: int, schema: dict[str, Any]) -> dict[str, Any]:
    """The JSON object ``text`` (UTF-8), whose ``format``, ``version`` and shape (a JSON schema) are as asked for.

    ``noun`` names the file to people, as in "This is not a {noun}." Raises BadRequest in one sentence for anything
    else.
    """
    try:
        content = json.loads(text.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"This {noun} is damaged: its description cannot be read.") from error
    if not isinstance(content, dict) or content.get("format") != format:
        raise BadRequest(f"This is not a {noun}.")
    if content.get("version") != version:
        raise BadRequest(f"This {noun} was saved by another version of this program, which is not understood here.")
    try:
        jsonschema.Draft202012Validator(schema).validate(content)
    except (jsonschema.ValidationError, RecursionError) as error:
        where = "/".join(map(str, getattr(error, "absolute_path", ()))) or "its parts"
        raise BadRequest(f"This {noun} is damaged: {where[:80]} is not as it should be.") from error
    return content


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
