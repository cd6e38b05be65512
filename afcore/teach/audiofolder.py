"""Hugging Face's `audiofolder`: a folder of sounds with a ``metadata.csv``, which ``datasets`` loads as it is.

https://huggingface.co/docs/datasets/audio_dataset: ``file_name`` names a sound beside the table, the other columns
are features. Here each labelled clip is a file of its own, a stretch of a recording cut out of it; ``source_file``,
``start`` and ``end`` say what it was cut from.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterable
from io import BytesIO
from pathlib import PurePosixPath

from afcore.audio.recording import MAX_BYTES, open_recording
from afcore.audio.wav import wav_bytes
from afcore.errors import AfcoreError, AudioError, BadRequest
from afcore.safe_files import Unpacking, is_unsafe, opened_zip
from afcore.tables import rows_of, utf8
from afcore.teach import imports
from afcore.teach.exports import LabelledSpan, guarded, shown
from afcore.teach.ingest import add_files
from afcore.teach.project import Project
from afcore.teach.schema import EXAMPLE, NONE, OPEN, SKIPPED, ProjectClip

METADATA = "metadata.csv"
COLUMNS = ("file_name", "label", "source_file", "start", "end", "by", "sha256")
ENDINGS = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aiff", ".au")
"""Of files that are taken along as they are, since `audiofolder` knows them; others become WAV."""


def write(project: Project) -> bytes:
    """The zip of all clips that a person has labelled. A sound that cannot be read is left out. Raises BadRequest where
    there is none."""
    out, rows, taken = BytesIO(), io.StringIO(), set()
    table = csv.writer(rows, lineterminator="\n")
    table.writerow(COLUMNS)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as packed:
        for clip in project.items(EXAMPLE, NONE):
            try:
                data, ending = _sound(project, clip)
            except AudioError:
                continue
            name = f"data/{clip.id:06d}{ending}"
            taken.add(name)
            packed.writestr(zipfile.ZipInfo(name), data)
            end = clip.start + clip.seconds
            texts = (guarded(clip.origin), f"{clip.start:.6f}", f"{end:.6f}", guarded(clip.who), clip.sha256)
            table.writerow((name, guarded(shown(clip.label)), *texts))
        if not taken:
            raise BadRequest("No clip has a label yet, so there is nothing to pack.")
        packed.writestr(zipfile.ZipInfo(METADATA), rows.getvalue())
    return out.getvalue()


def _sound(project: Project, clip: ProjectClip) -> tuple[bytes, str]:
    file = project.sound_path(clip)
    recording = open_recording(file, clip.name)
    ending = PurePosixPath(clip.name).suffix.lower()
    whole = clip.start == 0 and abs(clip.seconds - recording.duration) < 1e-3
    if whole and ending in ENDINGS:
        return recording.data, ending
    part = recording.clip(clip.start, clip.seconds)
    return wav_bytes(part.samples, part.rate), ".wav"


def read(project: Project, data: bytes, who: str, name: str = "The zip") -> list[LabelledSpan]:
    """Label what the project has of it, and add the other sounds as examples. Returns the rows of its table, each that
    was not taken with its reason in ``error``. Raises BadRequest for what is no such zip."""
    with opened_zip(data, name) as opened:
        unpacking = Unpacking(opened, name)
        members = {info.filename: info for info in opened.infolist() if not info.is_dir()}
        at = next((path for path in members if path.split("/")[-1] == METADATA), None)
        if at is None:
            raise BadRequest(f"{name} has no {METADATA}, so it is no audiofolder.")
        text = utf8(unpacking.read(members[at], imports.MAX_BYTES), METADATA)
        folder, rows = at[: -len(METADATA)], imports.read(text.encode(), METADATA)
        entries, _ = rows_of(text)  # what could not be read was refused just before
        known = {clip.sha256 for clip in project.items(OPEN, SKIPPED, EXAMPLE, NONE)}
        done = []
        for row, entry in zip(rows, entries, strict=True):
            ours = set(COLUMNS) <= set(entry)
            row = _plain(row) if ours else row
            if row.error or row.sha256 in known:
                done += imports.apply(project, [row], who)
                continue
            path = folder + (entry.get("file_name") or "")
            if is_unsafe(path) or path not in members:
                done.append(_with(row, f"The zip has no sound “{entry.get('file_name')}”."))
                continue
            try:
                done.append(_added(project, row, unpacking.read(members[path], MAX_BYTES), path, who))
            except AfcoreError as error:
                done.append(_with(row, str(error)))
        return done


def _added(project: Project, row: LabelledSpan, sound: bytes, path: str, who: str) -> LabelledSpan:
    if row.label is None:
        return _with(row, "It is none of the labels, and its sound is not in this project, so it was left out.")
    label = project.add_labels([row.label], who)[row.label]
    added = add_files(project, [(PurePosixPath(path).name, sound)], who, label)
    return row if added.clips else _with(row, " ".join([*added.refused, *added.known]))


def _plain(row: LabelledSpan) -> LabelledSpan:
    texts: Iterable[str] = (row.file, row.label or "", row.by)
    file, label, by = (text[1:] if text.startswith("'") else text for text in texts)
    return LabelledSpan(file, row.start, row.end, label or None, by=by, error=row.error, sha256=row.sha256)


def _with(row: LabelledSpan, why: str) -> LabelledSpan:
    return LabelledSpan(row.file, row.start, row.end, row.label, by=row.by, error=why, sha256=row.sha256)
