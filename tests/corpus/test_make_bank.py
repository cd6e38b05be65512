"""A large bank from Debian packages: from a package on the disk to examples in a prompt, and what cannot be
downloaded."""

import json
import os
import shutil
import subprocess

import numpy as np
import pytest
from media import encode

from afcore import paths
from afcore.cli import main
from afcore.corpus.held_out import LAST_HELD_OUT
from afcore.corpus.make_bank import everyday, set_licence, wanted_everyday
from afcore.retrieval.bank import Bank

RATE = 16_000
CONTROL = "Package: {}\nVersion: 1.0-1\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: sounds\n"
FORMAT = "https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/"
COPYRIGHT = f"Format: {FORMAT}\n\nFiles: *\nCopyright: 2001 Ann\nLicense: GPL-2\n"

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb makes and reads packages")


def noise(seed: int) -> bytes:
    return encode(np.random.default_rng(seed).normal(scale=0.2, size=RATE).astype(np.float32), RATE)


def package(debs, name: str, sounds: list[str]) -> None:
    """A package with noise under the names of sounds."""
    root = debs.parent / name
    for path, text in {"DEBIAN/control": CONTROL.format(name), f"usr/share/doc/{name}/copyright": COPYRIGHT}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    (root / "usr/share/sounds").mkdir(parents=True)
    for number, sound in enumerate(sounds):
        (root / "usr/share/sounds" / sound).write_bytes(noise(number + 10 * len(name)))
    debs.mkdir(exist_ok=True)
    command = ["dpkg-deb", "-b", "-Znone", str(root), str(debs / f"{name}_1.0-1_all.deb")]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """apt-get knows none of the packages; reads the names that it was asked for."""
    script = tmp_path / "bin" / "apt-get"
    script.parent.mkdir()
    script.write_text(f"#!/bin/sh\nfor name; do :; done; echo $name >> {tmp_path}/asked; exit 100\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(script.parent), prepend=os.pathsep)
    return lambda: (tmp_path / "asked").read_text().split()


def build(tmp_path, *more: str) -> int:
    folders = ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "bank")]
    return main.main(["bank", "build", "--from-debian", *folders, *more])


@needs_dpkg
def test_a_bank_is_built_with_progress_and_packages_that_are_gone_are_left_out(tmp_path, capsys, asked):
    (tmp_path / "work").mkdir()
    package(tmp_path / "work" / "debs", "farm-data", ["dog_bark.wav", "rain1.wav", "rain2.wav", "x17.wav"])
    assert build(tmp_path, "--packages", "farm-data,gone-data") == 0
    out, err = capsys.readouterr()
    assert (
        asked() == ["gone-data"] and "Downloading gone-data, 1 of 1" in err and "cannot be had here: gone-data" in err
    )
    assert "1 of 1, farm-data: 4 pieces" in err and "3 sounds with 2 labels" in out
    bank = Bank(tmp_path / "bank")
    assert bank.labels() == ["dog barking", "rain"]
    assert {(e.author, e.licence, e.package) for e in bank.examples()} == {("Ann", "GPL-2", "farm-data")}
    assert all(bank.audio_path(e.id).stat().st_size for e in bank.examples())


@needs_dpkg
def test_sounds_without_a_name_make_no_bank(tmp_path, capsys):
    (tmp_path / "work").mkdir()
    package(tmp_path / "work" / "debs", "odd-data", ["x17.wav"])
    assert build(tmp_path, "--packages", "odd-data") == main.MISSING
    assert capsys.readouterr().err.splitlines()[-1].startswith("No sound of the packages in")


def test_without_network_it_stops_after_a_few(asked, tmp_path, capsys):
    assert build(tmp_path) == main.MISSING
    assert len(asked()) == 5 and "No package could be downloaded" in capsys.readouterr().err.splitlines()[-1]


def test_without_apt_it_says_where_packages_go(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert build(tmp_path, "--packages", "farm-data") == main.MISSING
    assert str(tmp_path / "work" / "debs") in capsys.readouterr().err.splitlines()[-1]


def test_a_built_bank_gives_examples(tmp_path, capsys, monkeypatch):
    from tiny import tiny_bank, tiny_engine

    tiny_bank(tmp_path / "built").close()
    (tmp_path / "a.wav").write_bytes(noise(1))
    monkeypatch.setattr(paths, "DATA", tmp_path / "data")
    asked = ["neighbours", str(tmp_path / "a.wav"), "-k", "2", "--bank", str(tmp_path / "built")]
    assert main.main(asked, lambda *_: tiny_engine(tmp_path, bank=False)) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_the_everyday_labels_are_apart_and_none_is_held_out():
    wanted = wanted_everyday()
    labels = [one.label for one in wanted]
    assert len(set(labels)) == len(labels) >= 80 and not set(labels) & set(LAST_HELD_OUT)
    assert all(one.caption and one.places and all(map(all, one.places)) for one in wanted)


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("CC BY-SA 3.0", "CC BY-SA 3.0"),
        ("CC-BY-4.0", "CC BY 4.0"),
        ("CC 0", "CC0 1.0"),
        ("Creative Commons Attribution 3.0 Unported", "CC BY 3.0"),
        ("ODbL 1.0 / DbCL 1.0", "ODbL 1.0 and DbCL 1.0"),
        ("CC BY", None),
        ("CC BY-NC 3.0", None),
        ("train only: CC0 or another Creative Commons licence, not stated per clip", None),
    ],
)
def test_only_free_licences_whose_version_is_stated_may_ship(said, name):
    assert set_licence(said) == name


def test_everyday_sounds_are_of_recordings_that_train_and_each_is_taken_once(tmp_path):
    def row(path, n, **more):
        return {
            "id": path,
            "package": "debian_extra",
            "path": path,
            "label": "cat",
            "source": path,
            "author": "Ann",
            "licence": "CC0",
            "seconds": 1.0,
            "peak": 20_000,
            "active": 1.0,
            "fingerprint": f"{n:02x}" * 64 + f":{n}",
            **more,
        }

    rows = [
        row("one.ogg", 1),
        row("two.ogg", 90),
        row("secret.ogg", 170, licence="not said"),
        row("quiet.ogg", 230, peak=10),
        row("other.ogg", 250, label="horse"),
    ]
    for folder, lines in (("sounds", rows), ("corpus", [])):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "index.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = everyday(tmp_path / "sounds", tmp_path / "corpus")
    assert {(c.piece["path"], c.row["label"], c.licence.name, c.licence.author) for c in found} <= {
        ("one.ogg", "cat meowing", "CC0 1.0", "Ann"),
        ("two.ogg", "cat meowing", "CC0 1.0", "Ann"),
    }
    assert found
