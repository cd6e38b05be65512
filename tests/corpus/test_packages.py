"""Archives inside packages: read by the reader of strangers' zips, however many files a game packs into one."""

import zipfile

import pytest

from afcore import safe_files
from afcore.corpus.packages import members
from afcore.safe_files import DamagedZip


def wheel(folder, **files: bytes):
    path = folder / "sounds-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as out:
        for name, data in files.items():
            out.writestr(name.replace("_", "."), data)
    return path


def test_sounds_of_a_large_archive_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(safe_files, "MAX_MEMBERS", 1)  # of a stranger's; games have tens of thousands in one
    assert list(members(wheel(tmp_path, bark_ogg=b"bark", code_py=b"x = 1", meow_wav=b"meow"))) == [
        ("bark.ogg", b"bark"),
        ("meow.wav", b"meow"),
    ]


def test_what_is_no_zip_holds_nothing_and_a_damaged_sound_is_named(tmp_path):
    path = tmp_path / "odd-1.0-py3-none-any.whl"
    path.write_bytes(b"no zip at all")
    assert list(members(path)) == []
    whole = wheel(tmp_path, bark_ogg=b"bark" * 9)
    whole.write_bytes(whole.read_bytes().replace(b"barkbark", b"barkBARK", 1))
    with pytest.raises(DamagedZip, match=r"bark\.ogg"):
        list(members(whole))
