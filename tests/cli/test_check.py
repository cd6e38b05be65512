"""What lies on the disk is found whole, and each kind of damage is found and named."""

import json

import numpy as np
import pytest
from fakes import FakeEngine
from media import chirps, encode
from teaching import sounds
from tiny import made_model

from afcore import paths
from afcore.app import shares
from afcore.app.comparison import Comparison, Setup
from afcore.app.kept_comparisons import KeptComparisons
from afcore.app.kept_sessions import KeptSessions
from afcore.app.session import BrowserSession
from afcore.audio.recording import from_samples
from afcore.cli import main
from afcore.published import sums
from afcore.retrieval import own_banks
from afcore.retrieval.bank import Bank
from afcore.retrieval.own_banks import Listed, Listing
from afcore.teach.ingest import add_files
from afcore.teach.store import Store


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A data folder with a project, a kept session, and a folder of weights with their hashes."""
    monkeypatch.setattr(paths, "DATA", tmp_path / "data")
    monkeypatch.setattr(paths, "MINI", tmp_path / "mini")
    monkeypatch.delenv("AFCORE_PROJECTS", raising=False)
    store = Store()
    project = store.create("Dogs", ["dog"], "Mara")
    add_files(project, sounds("a.wav", "b.wav"), "Mara", "dog")
    store.close()
    session = BrowserSession()
    session.open(from_samples(np.sin(np.arange(8000) / 5), 8000, "tone.wav"), "upload")
    KeptSessions(tmp_path / "data" / "sessions").keep(session)
    engine = FakeEngine(Bank(tmp_path / "bank", create=True))
    share, wav = shares.of_clip(session, engine, engine.hear(session.clip), "A tone.")
    shares.Shares(tmp_path / "data" / "shares").keep(share, wav)
    run = Comparison((Setup(), Setup(shots=1)), {"0" * 64: "tone.wav"})
    KeptComparisons(tmp_path / "data" / "comparisons").keep(run)
    listing = Listing([Listed("dog.wav", lambda: encode(chirps(0.5, 16_000), 16_000), "dog", "dog")])
    own_banks.build(listing, own_banks.home() / "Mine").close()
    made_model(tmp_path / "parts", {})
    (tmp_path / "mini").mkdir()
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "mini" / "w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    sums.record(tmp_path / "mini")
    return tmp_path / "data"


def checked(capsys) -> tuple[int, dict[str, list[str]]]:
    """Exit status, and what is wrong with each kind of thing."""
    code = main.main(["check", "--json"])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(row["whole"] == (not row["wrong"]) for row in rows)
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["what"], []).extend(row["wrong"])
    return code, found


def test_what_ships_is_whole_and_so_is_what_was_just_saved(data, capsys):
    code, wrong = checked(capsys)
    assert code == 0 and set(map(tuple, wrong.values())) == {()}
    assert set(wrong) == {"data", "weights", "model", "bank", "project", "session", "share", "compared"}


def test_the_weights_that_ship_are_those_whose_hashes_were_recorded():
    assert (paths.MINI / sums.NAME).is_file() and sums.differing(paths.MINI) == [], "python -m afcore check --record"


KINDS = ("weights", "cut weights", "project", "lost sound", "database", "session", "share", "shared sound")
KINDS += ("compared", "bank", "bank's sound", "model", "model without its table")


@pytest.mark.parametrize("kind", KINDS)
def test_each_damage_is_named(kind, data, capsys):
    sound = next((data / "projects").glob("*/audio/*/*"))
    if kind == "weights":
        (paths.MINI / "w.safetensors").write_bytes((paths.MINI / "w.safetensors").read_bytes()[:-4] + b"\0\0\0\1")
    elif kind == "cut weights":
        (paths.MINI / "w.safetensors").write_bytes((paths.MINI / "w.safetensors").read_bytes()[:-4])
    elif kind == "project":
        sound.write_bytes(sound.read_bytes()[:-1])
    elif kind == "lost sound":
        sound.unlink()
    elif kind == "database":
        file = next((data / "projects").glob("*/project.sqlite"))
        file.write_bytes(file.read_bytes()[:4096] + b"\xff" * 4096 + file.read_bytes()[8192:])
    elif kind in ("share", "compared"):
        next((data / f"{kind}s".replace("compareds", "comparisons")).glob("*.json")).write_text('{"sound": ')
    elif kind == "shared sound":
        next((data / "shares" / "audio").glob("*/*")).write_bytes(b"another")
    elif kind == "bank":
        (data / "own-banks" / "Mine" / "bank.sqlite").write_bytes(b"no database" * 500)
    elif kind == "bank's sound":
        next((data / "own-banks").glob("*/audio/*/*")).unlink()
    elif kind == "model":
        file = data / "models" / "mine" / "model.safetensors"
        file.write_bytes(file.read_bytes()[:-4])
    elif kind == "model without its table":
        (data / "models" / "mine" / "engine.json").unlink()
    else:
        next((data / "sessions").glob("*.json")).write_text('{"sha256": ')
    code, wrong = checked(capsys)
    parts = {"cut weights": "weights", "lost sound": "project", "database": "project", "shared sound": "share"}
    parts |= {"bank's sound": "bank", "model without its table": "model"}
    found = parts.get(kind, kind)
    assert code == 1 and [what for what, sentences in wrong.items() if sentences] == [found]
    assert main.main(["check"]) == 1 and "DAMAGED" in capsys.readouterr().out
