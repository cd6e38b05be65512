"""Further sets of sounds, decoded into the corpus' form."""

import json
import shutil

import numpy as np
import pytest

from afcore import paths
from afcore.corpus.sets import decode_sets


def test_sets_are_decoded_with_their_labels_and_sources(tmp_path):
    sound = next((paths.BANK / "audio").rglob("*.opus"), None) or next((paths.BANK / "audio").rglob("*.ogg"))
    folder = tmp_path / "sets" / "meadow"
    folder.mkdir(parents=True)
    shutil.copy(sound, folder / f"bee_01{sound.suffix}")
    (folder / "manifest.csv").write_text(
        f"path,label,source,author,licence,seconds\nbee_01{sound.suffix},bee,https://freesound.org/s/1/,A. N.,CC0,1\n"
    )
    lines = []
    decode_sets(tmp_path / "sets", tmp_path / "out", lines.append)
    (row,) = map(json.loads, (tmp_path / "out" / "index.jsonl").read_text().splitlines())
    audio = np.fromfile(tmp_path / "out" / "audio.i16", np.int16)
    assert (row["package"], row["label"], row["source"]) == ("meadow", "bee", "https://freesound.org/s/1/")
    assert row["length"] == len(audio) == pytest.approx(row["seconds"] * 32_000, abs=17)
    assert row["peak"] == np.abs(audio.astype(int)).max()
    assert row["group"] == "meadow//bee" and row["active"] > 0 and ":" in row["fingerprint"]
    assert lines[0].startswith("meadow: 1 sounds")


def test_a_broken_file_is_not_passed_over(tmp_path):
    folder = tmp_path / "sets" / "meadow"
    folder.mkdir(parents=True)
    (folder / "bee.ogg").write_bytes(b"no sound")
    (folder / "manifest.csv").write_text("path,label,source,author,licence,seconds\nbee.ogg,bee,,,,1\n")
    with pytest.raises(Exception, match="Invalid data"):
        decode_sets(tmp_path / "sets", tmp_path / "out", lambda _: None)
    assert not (tmp_path / "out" / "index.jsonl").exists()
