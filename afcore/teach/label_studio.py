"""Label Studio's JSON: tasks with the regions that people have labelled, and those that a model predicts.

https://labelstud.io/guide/export and /guide/predictions: a task has ``data`` and ``annotations`` or ``predictions``,
each with a ``result``, a list of regions with ``value``: start and end in seconds and labels.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any
from xml.sax.saxutils import quoteattr

from afcore.errors import BadRequest
from afcore.teach.exports import NONE_OF_THESE, SILENT_LABEL, LabelledSpan

NAME, SOUND = "label", "audio"
"""What the labelling interface calls the labels and the sound; see `interface`."""
_UPLOADED = re.compile(r"^[0-9a-f]{8}-")
"""Before the name of a file that was uploaded to Label Studio."""


def interface(labels: Iterable[str]) -> str:
    """The labelling interface (Settings > Labeling Interface > Code) that `to_label_studio` belongs to."""
    each = "".join(f"\n    <Label value={quoteattr(label)}/>" for label in labels)
    return (
        f'<View>\n  <Labels name="{NAME}" toName="{SOUND}">{each}\n  </Labels>\n'
        f'  <Audio name="{SOUND}" value="${SOUND}"/>\n</View>\n'
    )


def to_label_studio(rows: Sequence[LabelledSpan]) -> str:
    """A task for each recording: what people said as an annotation by each of them, what a method said as a prediction.

    Rows without a label are left out. ``data.audio`` is the file's name; a server that has the sound elsewhere needs
    its address there.
    """
    ordered = sorted((row for row in rows if not row.error), key=lambda row: (row.file, row.sha256, row.by, row.start))
    tasks = []
    for (file, sha256), mine in groupby(ordered, key=lambda row: (row.file, row.sha256)):
        task: dict[str, Any] = {"data": {SOUND: file, "sha256": sha256}, "annotations": [], "predictions": []}
        for by, said in groupby(mine, key=lambda row: row.by):
            spans = list(said)
            guessed = spans[0].probability is not None
            made: dict[str, Any] = {"result": [_region(row, number) for number, row in enumerate(spans)]}
            if guessed:
                task["predictions"].append(made | {"model_version": by})
            else:
                task["annotations"].append(made | {"created_username": by})
        tasks.append(task)
    return json.dumps(tasks, ensure_ascii=False, indent=1) + "\n"


def _region(row: LabelledSpan, number: int) -> dict[str, Any]:
    value = {"start": round(row.start, 6), "end": round(row.end, 6), "channel": 0, "labels": [row.label_text]}
    region = {"id": f"{row.sha256[:8]}-{number}", "from_name": NAME, "to_name": SOUND, "type": "labels", "value": value}
    return region if row.probability is None else region | {"score": round(row.probability, 6)}


def of_label_studio(text: str) -> list[LabelledSpan]:
    """The regions of an export, JSON or JSON-MIN, in order; ``end`` is infinite where a label is of the whole sound.
    What cannot be taken is a row with its reason. Raises BadRequest for something else than tasks."""
    try:
        tasks = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest("This is not Label Studio's JSON: it cannot be read.") from error
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise BadRequest("This is not Label Studio's JSON: it is not a list of tasks.")
    return [row for number, task in enumerate(tasks, 1) for row in _of_task(task, number)]


def _of_task(task: dict[str, Any], number: int) -> Iterator[LabelledSpan]:
    data = task.get("data", task)  # JSON-MIN has it all at the top
    file = _file_of(data if isinstance(data, dict) else {})
    if not file:
        yield _no(f"task {number}", "It names no sound.")
        return
    sha256 = str(data.get("sha256") or "")
    if "data" not in task:
        yield from _of_regions(file, sha256, task.get(NAME), str(task.get("annotator") or ""))
        return
    found = False
    for made in _list(task.get("annotations")):
        found = True
        if made.get("was_cancelled"):
            yield _no(file, "It was skipped in Label Studio.")
            continue
        by = str(made.get("created_username") or made.get("completed_by") or "")
        regions = [{**region, **_dict(region.get("value"))} for region in _list(made.get("result"))]
        yield from _of_regions(file, sha256, regions, by)
    for made in _list(task.get("predictions")):
        found = True
        regions = [{**region, **_dict(region.get("value"))} for region in _list(made.get("result"))]
        yield from _of_regions(file, sha256, regions, str(made.get("model_version") or "a model"), guessed=True)
    if not found:
        yield _no(file, "Nobody has labelled it.")


def _of_regions(file: str, sha256: str, regions: Any, by: str, guessed: bool = False) -> Iterator[LabelledSpan]:
    if isinstance(regions, str):  # JSON-MIN of a choice
        regions = [{"choices": [regions]}]
    for region in _list(regions):
        labels = region.get("labels") or region.get("choices")
        labels = [labels] if isinstance(labels, str) else labels
        if not isinstance(labels, list) or not labels or not all(isinstance(label, str) for label in labels):
            yield _no(file, "A region has no label.", sha256)
            continue
        start, end = region.get("start", 0.0), region.get("end", math.inf)
        if not _is_number(start) or not _is_number(end) or not 0 <= start < end:
            yield _no(file, f"The region “{labels[0]}” has no times that can be.", sha256)
            continue
        score = region.get("score")
        probability = (float(score) if isinstance(score, int | float) else 0.0) if guessed else None
        span = LabelledSpan(file, float(start), float(end), labels[0], probability, by, sha256=sha256)
        if labels[0] in (NONE_OF_THESE, SILENT_LABEL):
            span = replace(span, label=None, silent=labels[0] == SILENT_LABEL)
        yield span
        for label in labels[1:]:
            yield _no(file, f"A clip has one label here, so “{label}” beside “{labels[0]}” was left out.", sha256)


def _file_of(data: dict[str, Any]) -> str:
    """The sound's name: of the field `SOUND`, or the first that looks like a file."""
    named = data.get(SOUND) or next(
        (v for v in data.values() if isinstance(v, str) and re.search(r"\.\w{2,4}$", v)), ""
    )
    return str(named).split("?d=")[-1] if named else ""


def names_of(file: str) -> tuple[str, ...]:
    """What a sound's file may be called here: as it stands, without its folders, without what an upload puts before."""
    last = file.replace("\\", "/").rstrip("/").split("/")[-1]
    return tuple(dict.fromkeys((file, last, _UPLOADED.sub("", last))))


def _no(file: str, why: str, sha256: str = "") -> LabelledSpan:
    return LabelledSpan(file, 0.0, 0.0, None, error=why, sha256=sha256)


def _list(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
