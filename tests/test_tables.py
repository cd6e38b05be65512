"""Tables that people bring."""

import pytest

from afcore.errors import BadRequest
from afcore.tables import Table, utf8


def test_columns_are_found_in_any_case_and_order_and_lines_end_as_they_like():
    for end in ("\n", "\r\n", "\r"):
        table = Table(end.join((" Label ,FILE", " dog , a.wav", "cat", "")))
        assert table.columns == ["label", "file"]
        assert list(table) == [{"label": "dog", "file": "a.wav"}, {"label": "cat", "file": ""}]
    assert list(Table('file,label\n"a, b.wav",dog\n')) == [{"file": "a, b.wav", "label": "dog"}]
    assert list(Table("")) == [] and Table("").columns == []


def test_what_is_missing_is_a_sentence():
    with pytest.raises(BadRequest, match=r"my\.csv has no column “answer”: it needs file, question and answer\."):
        Table("file,question\n").need("my.csv", "file", "question", "answer")
    with pytest.raises(BadRequest, match=r"my\.csv is not in UTF-8"):
        utf8("ä".encode("latin-1"), "my.csv")
    assert utf8("\ufefffile".encode(), "my.csv") == "file"
