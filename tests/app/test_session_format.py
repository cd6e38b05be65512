"""Session files: what is saved comes back, and what is not ours is refused in one sentence."""

import io
import json
import struct
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from afcore.app import session_format
from afcore.app.session import BrowserSession
from afcore.app.session_file import pack, restore, saved, unpack
from afcore.app.session_format import SavedSession, SavedShot, open_session, save_session
from afcore.audio.recording import from_samples, open_recording
from afcore.errors import BadRequest
from afcore.retrieval.bank import Bank

TURN = {
    "question": 'What is this? 🐕\n"quoted"',
    "answer": "a dog",
    "candidates": [{"answer": "a dog", "similarity": 0.51}, {"answer": "a wolf", "similarity": -0.02}],
    "start": 1.75,
    "shots": [{"id": 3, "label": "dog", "caption": "a dog barks.", "similarity": -0.25}],
    "stopped": True,
    "error": "Stopped.",
    "prompt": "<audio>What is this?",
}
FULL = SavedSession(
    name="Hund/../bellt é.wav",
    sound=bytes(range(256)) * 10,
    start=12.25,
    shots=(SavedShot(3, "ab" * 32, used=False, pinned=True), SavedShot(0)),
    turns=(TURN, {"question": "and now?", "answer": ""}),
    settings={"temperature": 0.7, "top_k": 50, "seed": None, "sample": True},
    page={"question": "what?", "k": 4},
)


def _content() -> dict:
    with zipfile.ZipFile(io.BytesIO(save_session(FULL))) as file:
        return json.loads(file.read("session.json"))


def _pack(content, sound=FULL.sound, method=zipfile.ZIP_DEFLATED, **others) -> bytes:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as out:
        for name, data in {"session.json": text, "sound": sound, **others}.items():
            if data is not None:
                out.writestr(name, data)
    return file.getvalue()


def _refused(data: bytes) -> str:
    with pytest.raises(BadRequest) as error:
        open_session(data)
    sentence = str(error.value)
    assert sentence.endswith(".") and "\n" not in sentence and len(sentence) < 200
    return sentence


@pytest.mark.parametrize("session", [FULL, SavedSession("a.wav", b"x"), replace(FULL, turns=(), shots=())])
def test_round_trip(session):
    assert open_session(save_session(session)) == session


def test_saving_is_repeatable():
    assert save_session(FULL) == save_session(FULL)


def test_a_recording_comes_back_to_the_same_clip():
    recording = from_samples(np.random.default_rng(0).uniform(-1, 1, (16_000, 2)), 8000, "noise.wav")
    opened = open_session(save_session(SavedSession(recording.name, recording.data, start=0.5)))
    clip = open_recording(opened.sound, opened.name).clip(opened.start)
    assert clip.key == recording.clip(0.5).key
    np.testing.assert_array_equal(clip.samples, recording.clip(0.5).samples)


def test_what_others_pack_alike_opens():
    assert open_session(_pack(_content())) == FULL, "the refusals below are not for the way this test packs"


@pytest.mark.parametrize(
    "data", [b"", b"PK", b"hello", b"\0" * 100, b"%PDF-1.7" + b"\0" * 50, save_session(FULL)[:-30]]
)
def test_what_is_not_a_zip_is_refused(data):
    assert "not a session file" in _refused(data)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..\\x", "C:\\x", "sound/../x", "extra"])
def test_other_members_are_refused(name):
    assert "something else" in _refused(_pack(_content(), **{name: b"x"}))
    assert "something else" in _refused(_pack(_content(), sound=None, **{name: b"x"}))


def test_missing_members_are_refused():
    assert "something else" in _refused(_pack(_content(), sound=None))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        out.writestr("sound", b"1")
        out.writestr("sound", b"2")
    assert "something else" in _refused(file.getvalue())


def test_a_bomb_is_not_unpacked(monkeypatch):
    bomb = _pack(_content(), sound=bytes(30_000_000))
    assert len(bomb) < 100_000
    monkeypatch.setattr(session_format, "MAX_BYTES", 1_000_000)
    assert "more than a session can hold" in _refused(bomb)
    assert "more than a session can hold" in _refused(_pack(b" " * (session_format.MAX_JSON_BYTES + 1)))


def test_a_bomb_that_lies_about_its_size_is_not_unpacked():
    data = bytearray(_pack(_content(), sound=bytes(30_000_000)))
    for magic, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        place = data.rfind(magic) + at
        data[place : place + 4] = struct.pack("<L", 10)
    _refused(bytes(data))


def test_a_directory_of_thousands_is_refused_unread(monkeypatch):
    many = _pack(_content(), **{f"f{i}": b"" for i in range(3000)})
    monkeypatch.setattr(session_format.zipfile, "ZipFile", lambda *_: pytest.fail("read"))
    assert "something else" in _refused(many)


def test_too_large_is_refused(monkeypatch):
    data = save_session(FULL)
    monkeypatch.setattr(session_format, "MAX_BYTES", len(data) - 1)
    assert "larger than" in _refused(data)
    with pytest.raises(BadRequest, match="too large to keep"):
        save_session(FULL)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_packings_are_refused(method):
    assert "not ours" in _refused(_pack(_content(), method=method))


@pytest.mark.parametrize("version", [0, 2, "1", None, 1.5])
def test_other_versions_are_refused(version):
    assert "another version" in _refused(_pack({**_content(), "version": version}))


@pytest.mark.parametrize("content", [[], None, {}, {"format": "zip"}, "text", 5])
def test_other_json_is_refused(content):
    assert "not a session file" in _refused(_pack(content))


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"start": NaN}', b'{"start": Infinity}'])
def test_unreadable_json_is_refused(text):
    assert "damaged" in _refused(_pack(text))


@pytest.mark.parametrize(
    "path, value",
    [
        ("start", -1),
        ("start", "0"),
        ("start", 1e400),
        ("start", None),
        ("name", 5),
        ("name", "n" * 2000),
        ("sha256", "../x"),
        ("sha256", None),
        ("shots", {}),
        ("shots", [5]),
        ("shots", [{"id": "1", "sha256": "", "used": True, "pinned": False}]),
        ("shots", [{"id": 1}]),
        ("shots", [{"id": 10**400, "sha256": "", "used": True, "pinned": False}]),
        ("turns", ["hello"]),
        ("turns", [{"question": "q"}]),
        ("turns", [{"question": 1, "answer": "a"}]),
        ("turns", [{"question": "q", "answer": "a", "candidates": [{"answer": "a"}]}]),
        ("turns", [{"question": "q", "answer": "a", "candidates": [{"answer": "a", "similarity": 1e400}]}]),
        ("turns", [{"question": "q", "answer": "a", "start": "soon"}]),
        ("turns", [{"question": "q", "answer": "a", "evil": 1}]),
        ("settings", []),
        ("settings", {"temperature": [1]}),
        ("settings", {"temperature": 1e400}),
        ("page", {"question": {"a": 1}}),
        ("more", 1),
    ],
)
def test_values_out_of_shape_are_refused(path, value):
    text = json.dumps({**_content(), path: value}).replace("Infinity", "1e400").encode()
    assert "damaged" in _refused(_pack(text))


@pytest.mark.parametrize("missing", sorted(_content()))
def test_every_part_is_needed(missing):
    content = _content()
    del content[missing]
    _refused(_pack(content))


def test_another_sound_is_refused():
    assert "not the one" in _refused(_pack(_content(), sound=b"other"))


def test_bytes_flipped_anywhere_are_refused_or_harmless():
    data, rng = save_session(FULL), np.random.default_rng(0)
    opened = 0
    for _ in range(300):
        broken = bytearray(data)
        broken[rng.integers(len(broken))] ^= 1 << rng.integers(8)
        try:
            assert open_session(bytes(broken)) == FULL  # dates and the like are not part of it
            opened += 1
        except BadRequest:
            pass
    assert opened < 100


def test_a_session_that_breaks_its_own_shape_is_not_saved():
    with pytest.raises(Exception, match="evil"):
        save_session(replace(FULL, turns=({"question": "q", "answer": "a", "evil": 1},)))


def test_what_is_heard_of_a_file_comes_back_with_the_session(tmp_path):
    sides = np.stack([np.zeros(8000), np.sin(np.arange(8000) / 5)], axis=1)
    session, bank = BrowserSession(), Bank(tmp_path / "bank", create=True)
    session.open(from_samples(sides, 8000, "sides.wav"), "upload")
    session.hear_otherwise("one", 1)
    assert session.clip.silent
    again = BrowserSession()
    unpack(again, pack(session), bank)
    assert again.recording.heard.rule == "one" and again.clip.notices == session.clip.notices
    odd = saved(session)
    restore(again, replace(odd, page={**odd.page, "channels": "left", "track": True}), bank)
    assert again.recording.heard.rule == "auto" and again.clip.notices[0].code == "mix"
