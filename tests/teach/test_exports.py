"""Exports are read back by the readers that others have, whatever the labels contain."""

import csv
import io
import json

import pandas
import pytest

from afcore.errors import BadRequest
from afcore.teach import exports
from afcore.teach.exports import LabelledSpan

NASTY = ['=HYPERLINK("http://x","y")', "+1", "-2+3", "@SUM(A1)", "\tcmd", "'quoted", 'a, "b"\nc', "größer; ja", "plain"]


def rows(file="a.wav"):
    return [LabelledSpan(file, i, i + 0.5, label, 0.25, "lm-shots", sha256="ab" * 32) for i, label in enumerate(NASTY)]


def test_csv_comes_back_and_begins_no_formula():
    made = [
        *rows("=cmd.wav"),
        LabelledSpan("b.wav", 0, 1, None, 0.1),
        LabelledSpan("c.wav", 0, 0, None, None, error="“c.wav” is empty."),
    ]
    read = list(csv.reader(io.StringIO(exports.to_csv(made))))
    assert tuple(read[0]) == exports.COLUMNS and all(len(cells) == len(read[0]) for cells in read)
    assert not [cell for cells in read for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))]
    back = [dict(zip(read[0], cells, strict=True)) for cells in read[1:]]

    def undo(text):
        return text.removeprefix("'")

    assert [undo(cells["label"]) for cells in back] == [*NASTY, exports.NONE_OF_THESE, ""]
    assert (
        undo(back[0]["file"]) == "=cmd.wav" and float(back[3]["start"]) == 3 and float(back[0]["probability"]) == 0.25
    )
    assert back[-1]["error"] == "“c.wav” is empty." and back[-1]["probability"] == ""
    frame = pandas.read_csv(io.StringIO(exports.to_csv(made)))
    assert frame["end"].tolist()[:3] == [0.5, 1.5, 2.5]


def test_jsonl_comes_back_whole():
    made = [
        LabelledSpan("a.wav", 0, 1.25, "dog", 0.9, "Mara", probabilities={"dog": 0.9, "cat": 0.1}),
        LabelledSpan("b", 0, 1, None),
    ]
    assert [LabelledSpan(**json.loads(line)) for line in exports.to_jsonl(made).splitlines()] == made


def test_audacity_has_three_columns_a_line():
    lines = exports.to_audacity(
        [*rows(), LabelledSpan("a.wav", 20, 21, None), LabelledSpan("a.wav", 22, 23, None, error="x")]
    ).splitlines()
    cells = [line.split("\t") for line in lines]
    assert len(lines) == len(NASTY) + 1 and all(len(c) == 3 for c in cells)
    assert cells[0] == ["0.000000", "0.500000", NASTY[0]]
    assert cells[6][2] == 'a, "b" c' and cells[-1][2] == exports.NONE_OF_THESE
    assert [float(c[0]) for c in cells] == sorted(float(c[0]) for c in cells)


def test_raven_reads_as_its_own_tables():
    text = exports.to_raven(rows(), high=16_000)
    table = pandas.read_csv(io.StringIO(text), sep="\t", quoting=csv.QUOTE_NONE)
    assert list(table.columns[:7]) == [
        "Selection",
        "View",
        "Channel",
        "Begin Time (s)",
        "End Time (s)",
        "Low Freq (Hz)",
        "High Freq (Hz)",
    ]
    assert table["Selection"].tolist() == list(range(1, len(NASTY) + 1))
    assert table["Begin Time (s)"].tolist() == table["File Offset (s)"].tolist() == list(range(len(NASTY)))
    assert set(table["High Freq (Hz)"]) == {16_000} and set(table["Begin File"]) == {"a.wav"}
    assert table["Annotation"].tolist()[0] == NASTY[0] and table["Score"].tolist()[0] == 0.25


@pytest.mark.parametrize("export", [exports.to_audacity, exports.to_raven])
def test_formats_for_one_recording_refuse_several(export):
    with pytest.raises(BadRequest, match="one recording"):
        export([LabelledSpan("a", 0, 1, "x"), LabelledSpan("b", 0, 1, "x")])


def test_saving_is_all_or_nothing(tmp_path, monkeypatch):
    exports.save(tmp_path / "x.csv", "größer\n")
    assert (tmp_path / "x.csv").read_bytes() == b"\xef\xbb\xbf" + "größer\n".encode()

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(BadRequest, match="disk is full"):
        exports.save(tmp_path / "x.csv", "new")
    assert [file.name for file in tmp_path.iterdir()] == ["x.csv"] and (tmp_path / "x.csv").read_text(
        "utf-8-sig"
    ) == "größer\n"
    with pytest.raises(BadRequest, match="no folder"):
        exports.save(tmp_path / "missing" / "x.csv", "")
