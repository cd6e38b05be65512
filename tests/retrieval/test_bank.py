"""The example bank: made-up ones, and the one that ships."""

import hashlib
import math
import os
import re
import sqlite3
import threading

import av
import numpy as np
import pytest

from afcore import paths
from afcore.corpus.licences import free_name
from afcore.corpus.make_bank import encode, excerpt, licence_table, select
from afcore.corpus.splits import split_of_clip
from afcore.errors import BadRequest, MissingPart
from afcore.retrieval.bank import Bank

RATE = 32_000


def tone(hz: float, seconds: float = 0.5) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE)) / RATE).astype(np.float32)


def decoded(data) -> tuple[np.ndarray, int]:
    """First channel (T,) float32 and rate of a sound file."""
    with av.open(data) as container:
        frames = list(container.decode(audio=0))
    return np.concatenate([f.to_ndarray()[0] for f in frames]), frames[0].sample_rate


@pytest.fixture
def bank(tmp_path):
    bank = Bank(tmp_path / "bank", create=True)
    for i, label in enumerate(["dog", "dog", "cat"]):
        sound = encode(0.5 * tone(300 + 100 * i))
        bank.add(
            sound,
            label,
            f"a {label}",
            0.5,
            ["Animal"],
            package="p",
            version="1",
            path=f"{label}{i}.wav",
            author="Ann",
            licence="CC0 1.0",
            source_url="https://example.org",
            group_key=f"p/{label}",
        )
    return bank


def test_what_goes_in_comes_out(bank):
    first = bank.examples()[0]
    assert [e.label for e in bank.examples()] == ["dog", "dog", "cat"] and bank.labels() == ["cat", "dog"]
    assert (first.caption, first.tags, first.licence, first.group_key) == ("a dog", ("Animal",), "CC0 1.0", "p/dog")
    assert bank.example(first.id) == first
    file = bank.audio_path(first.id)
    assert hashlib.sha256(file.read_bytes()).hexdigest() == first.sha256
    with pytest.raises(BadRequest, match="example 99"):
        bank.example(99)
    file.unlink()
    with pytest.raises(MissingPart, match="missing"):
        bank.audio_path(first.id)


def test_the_same_sound_once(bank):
    with pytest.raises(BadRequest, match="already"):
        bank.add(encode(0.5 * tone(300)), "fox", "a fox", 0.5)
    assert len(bank.examples()) == 3


def test_embeddings(bank):
    ids = [e.id for e in bank.examples()]
    assert bank.clap_matrix("mini")[0] == [] and bank.features(ids[0], "mini") is None
    features = np.arange(6, dtype=np.float32).reshape(2, 3)
    bank.set_embedding(ids[0], "mini", "features", features)
    bank.set_embedding(ids[2], "mini", "clap", np.array([0.6, 0.8]))
    bank.set_embedding(ids[0], "mini", "clap", np.array([1.0, 0.0]))
    bank.set_embedding(ids[0], "mini", "clap", np.array([0.0, 1.0]))  # replaces
    found, matrix = bank.clap_matrix("mini")
    assert (
        found == [ids[0], ids[2]]
        and np.allclose(matrix, [[0, 1], [0.6, 0.8]], atol=1e-3)
        and matrix.dtype == np.float32
    )
    assert np.array_equal(bank.features(ids[0], "mini"), features)
    with pytest.raises(sqlite3.IntegrityError):
        bank.set_embedding(ids[0], "mini", "colour", np.zeros(2))
    again = Bank(bank.folder)
    assert again.clap_matrix("mini")[0] == found


def test_threads_share_a_bank(bank):
    seen, threads = [], [threading.Thread(target=lambda: seen.append(len(bank.examples()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [3] * 8


def test_no_bank_there(tmp_path):
    with pytest.raises(MissingPart, match="no example bank"):
        Bank(tmp_path / "nowhere")
    (tmp_path / "bank.sqlite").write_text("no database at all, only some text that is long enough to be looked at")
    with pytest.raises(MissingPart, match="cannot be read"):
        Bank(tmp_path)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    import soundfile

    monkeypatch.setattr(paths, "DATA", tmp_path / "data")
    root = tmp_path / "mine"
    for label, hz in (("door_bell", 900), ("kettle", 2000)):
        (root / label).mkdir(parents=True)
        soundfile.write(root / label / f"{label}1.wav", 0.3 * tone(hz), RATE)
    (root / "kettle" / "notes.txt").write_text("no sound")
    return root


def test_a_folder_is_a_bank(folder):
    bank = Bank.from_folder(folder)
    assert [(e.label, e.path, e.seconds) for e in bank.examples()] == [
        ("door bell", "door_bell/door_bell1.wav", 0.5),
        ("kettle", "kettle/kettle1.wav", 0.5),
    ]
    first = bank.examples()[0]
    assert bank.audio_path(first.id) == folder / "door_bell" / "door_bell1.wav"
    bank.set_embedding(first.id, "mini", "clap", np.ones(1))
    (folder / "kettle" / "kettle1.wav").unlink()
    again = Bank.from_folder(folder)
    assert [e.label for e in again.examples()] == ["door bell"]
    assert again.clap_matrix("mini")[0] == [first.id]  # what was embedded stays


def test_folders_that_are_no_bank(folder, tmp_path):
    with pytest.raises(BadRequest, match="no folder"):
        Bank.from_folder(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadRequest, match="no subfolders with sounds"):
        Bank.from_folder(tmp_path / "empty")
    (folder / "other").mkdir()
    (folder / "other" / "copy.wav").write_bytes((folder / "kettle" / "kettle1.wav").read_bytes())
    bank = Bank.from_folder(folder)
    assert bank.labels() == ["door bell"] and "two labels" in bank.left_out["kettle/kettle1.wav"]
    assert "of neither" in bank.left_out["other/copy.wav"]


def test_bad_entries_of_a_folder_are_named_and_the_rest_is_used(folder):
    import soundfile

    (folder / "kettle" / "cut.wav").write_bytes(b"RIFF\x00\x00\x00\x00WAVEfmt ")
    (folder / "kettle" / "._kettle1.wav").write_bytes(b"mac")
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / ".ipynb_checkpoints" / "x.wav").write_bytes((folder / "kettle" / "kettle1.wav").read_bytes())
    (folder / "kettle" / "linked.wav").symlink_to(folder / "nowhere.wav")
    soundfile.write(folder / "kettle" / "silent.wav", np.zeros(4000), RATE)
    soundfile.write(folder / "kettle" / "no ending", 0.3 * tone(1500), RATE, format="FLAC")
    soundfile.write(folder / "loose.wav", 0.3 * tone(400), RATE)
    both = np.stack([np.zeros(4000), 0.3 * tone(1700)[:4000]], axis=1)
    soundfile.write(folder / "kettle" / "one side.wav", both, RATE)
    nfd = folder / "Tu\u0308rklingel"
    nfd.mkdir()
    soundfile.write(nfd / "cafe.wav", 0.3 * tone(700), RATE)
    (nfd / "cafe.wav").rename(nfd / os.fsdecode(b"caf\xe9.wav"))
    bank = Bank.from_folder(folder)
    assert bank.labels() == ["Türklingel", "door bell", "kettle"]
    bad = {f"kettle/{name}" for name in ("cut.wav", "linked.wav", "silent.wav", "notes.txt")}
    assert set(bank.left_out) == {"loose.wav", *bad}
    assert all(name in why and why.endswith(".") for name, why in bank.left_out.items())
    paths_found = {example.path: bank.audio_path(example.id) for example in bank.examples()}
    assert "kettle/no ending" in paths_found and "Tu\u0308rklingel/caf\\xe9.wav" in paths_found
    assert all(file.exists() for file in paths_found.values())
    bank.close()
    told = {
        example.path: [notice.code for notice in example.notices] for example in Bank.from_folder(folder).examples()
    }
    assert "mix" in told["kettle/one side.wav"] and "mix" not in told["kettle/no ending"]


def test_a_bank_of_another_channel_rule_is_heard_anew(folder):
    bank = Bank.from_folder(folder)
    bank.set_embedding(bank.examples()[0].id, "mini", "clap", np.ones(1))
    bank.close()
    assert Bank.from_folder(folder).clap_matrix("mini")[0]
    mixed = Bank.from_folder(folder, "mix")
    assert mixed.channels() == "mix" and mixed.clap_matrix("mini")[0] == []


def test_excerpts_and_encoding():
    samples = np.concatenate([np.zeros(RATE), 0.2 * tone(440, 12.0), np.zeros(RATE)])
    x = excerpt((32767 * samples).astype(np.int16))
    assert len(x) == 10 * RATE and np.abs(x).max() == pytest.approx(0.9, abs=0.01) and abs(x[0]) < 1e-6
    short = excerpt((20000 * tone(440, 0.12)).astype(np.int16))
    assert len(short) == round(0.3 * RATE) and np.abs(short[-RATE // 10 :]).max() == 0
    import io

    data = encode(x)
    assert data == encode(x) and data[:4] == b"OggS"
    back, rate = decoded(io.BytesIO(data))
    assert rate == 48_000 and len(back) / rate == pytest.approx(10.0, abs=0.05)
    spectrum = np.abs(np.fft.rfft(back[rate : 2 * rate]))
    assert spectrum.argmax() == 440


class Fake:
    def __init__(self, label, package, group, confidence):
        self.row = {"label": label, "confidence": confidence}
        self.piece = {"id": f"{package}/{group}/{confidence}", "package": package, "group": group}


def test_selection_is_balanced():
    many = [Fake("dog", "sonic-pi-samples", f"g{i // 5}", 0.5 + i / 100) for i in range(30)]
    few = [Fake("dog", "0ad-data", "only", 0.6)]
    chosen = select(
        many
        + few
        + [
            Fake("cat", "minetest-data", "m", 0.9),
            Fake("cow", "0ad-data", "c", 0.5),
            Fake("cow", "minetest-data", "c", 0.9),
        ],
        6,
    )
    dogs = [c for c in chosen if c.row["label"] == "dog"]
    assert len(dogs) == 6 and sum(c.piece["package"] == "0ad-data" for c in dogs) == 1
    assert len({c.piece["group"] for c in dogs}) == 6  # every source before a second take
    assert [c.piece["package"] for c in chosen if c.row["label"] == "cat"] == [
        "minetest-data"
    ]  # validation only where nothing else is
    assert [c.piece["package"] for c in chosen if c.row["label"] == "cow"] == ["0ad-data"]


shipped = pytest.fixture(scope="module")(lambda: Bank(paths.BANK))


def test_the_shipped_bank_is_whole(shipped):
    examples = shipped.examples()
    assert len(examples) >= 600 and len(shipped.labels()) >= 150
    for example in examples:
        file = shipped.audio_path(example.id)
        assert hashlib.sha256(file.read_bytes()).hexdigest() == example.sha256
        assert (
            0.3 <= example.seconds <= 10.0
            and example.caption
            and example.package
            and (example.version or example.source_url)  # a set has no version, but each sound a source
            and example.path
            and example.group_key
        )
    named = {shipped.audio_path(e.id) for e in examples}
    assert named == set((paths.BANK / "audio").rglob("*.ogg"))
    assert sum(f.stat().st_size for f in paths.BANK.rglob("*") if f.is_file()) <= 30_000_000


def test_the_shipped_sounds_can_be_heard(shipped):
    for example in shipped.examples()[::10]:
        samples, rate = decoded(str(shipped.audio_path(example.id)))
        assert len(samples) / rate == pytest.approx(example.seconds, abs=0.05)
        assert (
            np.isfinite(samples).all()
            and 0.1 < np.abs(samples).max() < 2
            and math.sqrt(float((samples**2).mean())) > 1e-3
        )


def test_the_shipped_sounds_are_free_and_credited(shipped):
    table = (paths.BANK / "LICENCES.md").read_text(encoding="utf-8")
    shown = re.compile(
        r"^(CC0 1\.0|CC BY(-SA)? \d\.\d|public domain|MIT|ISC|BSD [23]-Clause|zlib|WTFPL|Apache 2\.0|Artistic|OFL 1\.1|Free Art License|MPL 2\.0|ODbL 1\.0|DbCL 1\.0)$"
    )
    for example in shipped.examples():
        for part in example.licence.split(" and "):
            assert shown.match(part), example.licence
            assert part == "public domain" or f"- {part}: https://" in table or f"### {part} (" in table
        assert example.author
        assert f"| {example.sha256[:12]} | {example.label} |" in table
    assert free_name("CC-BY-SA-3.0") and table == licence_table(shipped)


def test_the_shipped_bank_shares_no_package_with_the_test_split(shipped):
    assert "test" not in {split_of_clip(e.package, e.path, e.source_url) for e in shipped.examples()}
