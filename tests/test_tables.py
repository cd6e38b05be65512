"""Tables that people bring."""

import pytest

from afcore.errors import BadRequest
from afcore.tables import Table, number, utf8


def test_columns_are_found_in_any_case_and_order_and_lines_end_as_they_like():
    for end in ("\n", "\r\n", "\r"):
        table = Table(end.join((" Label ,FILE", " dog , a.wav", "cat", "")))
        assert table.columns == ["label", "file"]
        assert list(table) == [{"label": "dog", "file": "a.wav"}, {"label": "cat", "file": ""}]
    assert list(Table('file,label\n"a, b.wav",dog\n')) == [{"file": "a, b.wav", "label": "dog"}]
    assert list(Table("")) == [] and Table("").columns == []


@pytest.mark.parametrize(
    "text",
    [
        "file;label\na.wav;bell, small\n",
        "sep=;\r\nfile;label\r\na.wav;bell, small\r\n",
        "sep=\t\nfile\tlabel\na.wav\tbell, small\n",
        "file\tlabel\na.wav\tbell, small\n\n\n",
        '"file","label"\na.wav,"bell, small"\n',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables_are_read_as_spreadsheets_write_them(text, encoding):
    table = Table(utf8(text.encode(encoding), "my.csv"))
    assert list(table) == [{"file": "a.wav", "label": "bell, small"}]


def test_numbers_have_a_point_or_a_comma():
    assert number(" 1,5") == number("1.5") == 1.5 and number("-2") == -2
    for text in ("", "1,2,3", "1,234.5", "x"):
        with pytest.raises(ValueError):
            number(text)


def test_a_quote_that_is_left_open_is_a_sentence():
    with pytest.raises(BadRequest, match="beyond line"):
        list(Table('file,label\n"' + 200_000 * "a"))


def test_what_is_missing_is_a_sentence():
    with pytest.raises(BadRequest, match=r"my\.csv has no column “answer”: it needs file, question and answer\."):
        Table("file,question\n").need("my.csv", "file", "question", "answer")
    with pytest.raises(BadRequest, match=r"my\.csv is not in UTF-8"):
        utf8("ä".encode("latin-1"), "my.csv")
    assert utf8("\ufefffile".encode(), "my.csv") == "file"


def test_lines_are_counted_in_the_whole_text():
    table = Table('sep=;\nfile;label\na.wav;dog\nb.wav;"two\nlines"\n')
    assert [(row["file"], table.line) for row in table] == [("a.wav", 3), ("b.wav", 5)]
