"""Labels come in as they go out: what each format has exported labels the same sounds in another project alike."""

import csv
import io
import json
import math
import zipfile
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from teaching import sound

from afcore.app.teach_exports import labelled
from afcore.errors import BadRequest
from afcore.teach import audiofolder, exports, imports
from afcore.teach.exports import LabelledSpan
from afcore.teach.ingest import add_files, add_stretch
from afcore.teach.label_studio import interface, of_label_studio, to_label_studio
from afcore.teach.schema import EXAMPLE, NONE, OPEN

SOUNDS = [("a, b.wav", sound(1, 4.0)), ("größer.wav", sound(2, 1.0)), ("c.wav", sound(3, 1.0))]


@pytest.fixture
def first(store):
    """A stretch and a whole sound with labels, one that is none of them, one that waits."""
    project = store.create("First", ["hum; low", "hiss"], "Mara")
    ids = add_files(project, SOUNDS, "Mara").clips
    add_stretch(project, project.item(ids[0]), 0.5, 1.25, "hiss", "Mara")
    add_stretch(project, project.item(ids[0]), 2.0, 3.0, "hum; low", "Mara")
    project.change_clip(ids[1], "Mara", "accepted", None, EXAMPLE, "hum; low")
    project.change_clip(ids[2], "Mara", "none of these", None, NONE, None)
    return project


@pytest.fixture
def second(store):
    """The same sounds, nothing labelled."""
    project = store.create("Second", ["hiss", "other"], "Ben")
    add_files(project, SOUNDS, "Ben")
    return project


def _said(project) -> list[tuple]:
    return [(row.file, round(row.start, 3), round(row.end, 3), row.label) for row in labelled(project, False)]


def _of_one(rows, text):
    """A file for each recording, as the Export tab makes them."""
    by_file = {row.file: [one for one in rows if one.file == row.file] for row in rows}
    return [(f"{file}.txt", text(mine)) for file, mine in by_file.items()]


WRITERS = {
    "csv": lambda rows: [("labels.csv", exports.to_csv(rows))],
    "jsonl": lambda rows: [("labels.jsonl", exports.to_jsonl(rows))],
    "audacity": lambda rows: _of_one(rows, exports.to_audacity),
    "raven": lambda rows: _of_one(rows, exports.to_raven),
    "label studio": lambda rows: [("labels.json", to_label_studio(rows))],
}


@pytest.mark.parametrize("kind", WRITERS)
def test_what_goes_out_comes_in(kind, first, second):
    for name, text in WRITERS[kind](labelled(first, False)):
        done = imports.apply(second, imports.read(text.encode(), name), "Ben")
        assert [row.error for row in done] == [""] * len(done)
    assert _said(second) == _said(first) and len(_said(first)) == 4
    assert [clip.name for clip in second.items(OPEN)] == ["a, b.wav"]  # the recording itself still waits
    before = second.revision
    for name, text in WRITERS[kind](labelled(first, False)):  # once more changes nothing
        imports.apply(second, imports.read(text.encode(), name), "Ben")
    assert _said(second) == _said(first) and second.revision == before


def test_an_audiofolder_labels_sounds_that_are_there_and_brings_those_that_are_not(first, second, store):
    packed = audiofolder.write(first)
    assert [row.error for row in audiofolder.read(second, packed, "Ben")] == [""] * 4
    assert _said(second) == _said(first)
    empty = store.create("Empty", ["hiss", "x"], "Ben")
    rows = audiofolder.read(empty, packed, "Ben")
    assert [bool(row.error) for row in rows] == [False, True, False, False]  # none of these: of no use elsewhere
    assert sorted(clip.label for clip in empty.items(EXAMPLE)) == ["hiss", "hum; low", "hum; low"]
    assert sorted(round(clip.seconds, 2) for clip in empty.items(EXAMPLE)) == [0.75, 1.0, 1.0]


def test_an_audiofolder_whose_table_a_spreadsheet_saved(first, second):
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(audiofolder.write(first))) as opened, zipfile.ZipFile(packed, "w") as again:
        for name in opened.namelist():
            data = opened.read(name)
            if name.endswith("metadata.csv"):
                saved = io.StringIO()
                csv.writer(saved, delimiter=";").writerows(csv.reader(io.StringIO(data.decode())))
                data = saved.getvalue().encode("utf-16")
            again.writestr(name, data)
    assert [row.error for row in audiofolder.read(second, packed.getvalue(), "Ben")] == [""] * 4
    assert _said(second) == _said(first)


def test_the_layout_of_an_audiofolder_is_that_of_the_documentation(first):
    with zipfile.ZipFile(io.BytesIO(audiofolder.write(first))) as opened:
        rows = list(csv.DictReader(io.StringIO(opened.read("metadata.csv").decode())))
        sounds = {name for name in opened.namelist() if name != "metadata.csv"}
    assert list(rows[0])[:2] == ["file_name", "label"] and {row["file_name"] for row in rows} == sounds
    assert {row["label"] for row in rows} == {"hiss", "hum; low", exports.NONE_OF_THESE}
    cut = next(row for row in rows if row["label"] == "hiss")
    assert (cut["source_file"], float(cut["start"]), float(cut["end"])) == ("a, b.wav", 0.5, 1.25)


def test_datasets_itself_loads_it(first, tmp_path):
    datasets = pytest.importorskip("datasets")
    with zipfile.ZipFile(io.BytesIO(audiofolder.write(first))) as opened:
        opened.extractall(tmp_path / "folder")
    loaded = datasets.load_dataset("audiofolder", data_dir=str(tmp_path / "folder"), split="train")
    loaded = loaded.cast_column("audio", datasets.Audio(decode=False))
    assert sorted(loaded["label"]) == sorted(["hiss", "hum; low", "hum; low", exports.NONE_OF_THESE])
    assert all(entry["audio"]["path"] for entry in loaded)


def test_label_studio_as_it_exports_itself(second):
    tasks = [
        {
            "id": 1,
            "data": {"audio": "/data/upload/3/1f2e3d4c-c.wav"},
            "annotations": [
                {
                    "completed_by": 7,
                    "result": [
                        {
                            "type": "labels",
                            "value": {"start": 0.1, "end": 0.6, "channel": 0, "labels": ["hiss", "hum"]},
                        },
                        {"type": "labels", "value": {"start": 0.9, "end": 0.2, "labels": ["hiss"]}},
                        {"type": "textarea", "value": {"text": ["a note"]}},
                    ],
                },
                {"was_cancelled": True, "result": []},
            ],
        },
        {"id": 2, "data": {"audio": "größer.wav"}, "annotations": [{"result": [{"value": {"choices": ["hum"]}}]}]},
        {"id": 3, "data": {"audio": "gone.wav"}, "annotations": [{"result": [{"value": {"choices": ["hum"]}}]}]},
        {"id": 4, "data": {"n": 1}, "annotations": []},
        {"id": 5, "data": {"audio": "a, b.wav"}, "predictions": [{"result": [{"value": {"choices": ["hum"]}}]}]},
    ]
    done = imports.apply(second, imports.read(json.dumps(tasks).encode(), "export.json"), "Ben")
    assert _said(second) == [("c.wav", 0.1, 0.6, "hiss"), ("größer.wav", 0.0, 1.0, "hum")]
    why = [row.error for row in done if row.error]
    assert len(why) == 7 and all(sentence.endswith(".") for sentence in why)
    assert any("one label here" in text for text in why) and any("no sound “gone.wav”" in text for text in why)
    assert any("not a person" in text for text in why)


def test_json_min_and_the_interface_of_label_studio():
    [row] = of_label_studio('[{"audio": "x/c.wav", "label": [{"start": 1, "end": 2, "labels": ["hum"]}]}]')
    assert (row.file, row.start, row.end, row.label) == ("x/c.wav", 1.0, 2.0, "hum")
    labels = ElementTree.fromstring(interface(['a "b" <c>', "hum"])).iter("Label")
    assert [label.get("value") for label in labels] == ['a "b" <c>', "hum"]
    people, guesses = LabelledSpan("a.wav", 0, 1, "x", by="Mara"), LabelledSpan("a.wav", 1, 2, "y", 0.5, "lm-shots")
    [task] = json.loads(to_label_studio([people, guesses]))
    assert len(task["annotations"]) == len(task["predictions"]) == 1
    assert task["predictions"][0]["result"][0]["score"] == 0.5


def test_a_table_of_somebody_elses_needs_a_file_and_a_label_and_no_times(second):
    rows = imports.read(b"filename,onset,offset,category\nc.wav,,,hiss\nc.wav,0.2,0.1,hum\n,,,hum\nc.wav,,,\n", "x.csv")
    assert [(row.file, row.end) for row in rows[:1]] == [("c.wav", math.inf)] and all(row.error for row in rows[1:])
    assert imports.apply(second, rows, "Ben")[0].error == ""
    assert _said(second) == [("c.wav", 0.0, 1.0, "hiss")]


@pytest.mark.parametrize("start", ["", "sep=;\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_table_as_a_spreadsheet_with_decimal_commas_writes_it(second, start, encoding):
    text = f'{start}file;start;end;label\r\ng\u0072o\u0308\u00dfer.wav;0,25;0,75;"hiss"\r\n\r\n'  # ö in two characters
    rows = imports.read(text.encode(encoding), "x.csv")
    assert [row.error for row in imports.apply(second, rows, "Ben")] == [""]
    assert _said(second) == [("größer.wav", 0.25, 0.75, "hiss")]


def test_a_row_is_told_by_its_line_in_the_whole_file():
    text = 'sep=;\nfile;label\na.wav;hum\n\nb.wav;"two\nlines"\nc.wav;\n'
    assert [row.error for row in imports.read(text.encode(), "x.csv")][-1] == "The label in line 7 is empty."


def test_label_tracks_may_have_decimal_commas():
    [row] = imports.read(b"0,5\t1,25\thum\n", "a.wav.txt")
    assert (row.start, row.end, row.label, row.error) == (0.5, 1.25, "hum", "")


@pytest.mark.parametrize(
    "data, name",
    [
        (b'file,label\n"' + 200_000 * b"a", "x.csv"),
        ("größer".encode("cp1252"), "x.csv"),
        (b"", "x.csv"),
        (b"\xff\xfe\x00", "x.csv"),
        (b"a,b\n1,2\n", "x.csv"),
        (b"[1, 2]", "x.json"),
        (b"[", "x.json"),
    ],
)
def test_what_is_no_label_file_is_refused_in_a_sentence(data, name):
    with pytest.raises(BadRequest) as refused:
        imports.read(data, name)
    assert str(refused.value).endswith(".")


def test_lines_that_are_none_are_rows_with_their_reason():
    rows = imports.read(b'{"file": "a.wav", "start": 0, "end": 1, "label": "x"}\n{"file": 3}\n{not json}\n', "x.jsonl")
    assert [bool(row.error) for row in rows] == [False, True, True]
    rows = imports.read(b"0.0\t1.0\thum\n1.0\tx\thum\n", "a.wav.txt")
    assert [(row.file, bool(row.error)) for row in rows] == [("a.wav", False), ("a.wav", True)]


def test_times_outside_the_sound_test_clips_and_names_of_two_sounds_are_left_alone(second):
    add_files(second, [("c.wav", sound(8, 1.0))], "Ben")
    add_files(second, [("test.wav", sound(9, 1.0))], "Ben", "hiss", test=True)
    span = LabelledSpan("größer.wav", 0.5, 9.0, "hiss")
    rows = [span, replace(span, file="c.wav", end=0.8), LabelledSpan("test.wav", 0.0, 1.0, "other")]
    assert all(row.error for row in imports.apply(second, rows, "Ben")) and _said(second) == []
