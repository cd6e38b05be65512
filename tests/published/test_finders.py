"""Any CLAP with any engine: neighbours are found by it, labels are judged as before, and a bank keeps its vectors."""

import numpy as np
import pytest
from small_claps import save_clap
from tiny import tiny_bank, tiny_engine, tone_clip

from afcore import paths
from afcore.errors import BadRequest, MissingPart
from afcore.published import finders, folders


@pytest.fixture
def engine(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "DATA", tmp_path / "data")
    monkeypatch.setattr(paths, "BANK", tmp_path / "shipped")
    tiny_bank(tmp_path / "shipped")
    return tiny_engine(tmp_path)


def test_a_clap_of_transformers_finds_and_the_models_own_judges(engine, tmp_path):
    heard = engine.hear(tone_clip(430))
    folder = save_clap(tmp_path / "clap")
    changed, shares = finders.found_by(engine, str(folder)), []
    changed.retriever(progress=shares.append)
    assert shares == [1.0] and changed.clap_name.startswith("clap/clap-")
    again = finders.found_by(engine, str(folder))
    again.retriever(progress=shares.append)
    assert shares == [1.0], "the vectors are kept in the data folder"
    assert set(changed.bank.claps()) == {engine.clap_name, changed.clap_name}
    both = changed.hear(tone_clip(430))
    assert both.query.shape == (16,) and np.array_equal(both.vector, heard.vector)
    # Random weights make all sounds alike, which is no reason to leave any out here.
    shots = changed.neighbours(both, 3, exclude_near_duplicates=False)
    wanted = changed.finder.audio(tone_clip(430))
    ids, matrix = changed.bank.clap_matrix(changed.clap_name)
    nearest = sorted(zip(matrix @ wanted, ids, strict=True), reverse=True)[:3]
    assert [shot.example.id for shot in shots] == [i for _, i in nearest]
    assert changed.classify(both, ["horn", "hum"]) == pytest.approx(engine.classify(heard, ["horn", "hum"]))
    assert changed.search("a horn", 2)[0].similarity == pytest.approx(
        float((matrix @ changed.finder.text(["a horn"])[0]).max()), abs=1e-4
    )
    kept = changed.recall(changed.bank, shots[0].example)
    assert kept.vector.shape == heard.vector.shape and kept.query.shape == (16,)


def test_a_bank_keeps_the_vectors_of_each(engine, tmp_path):
    bank = tiny_bank(tmp_path / "own")
    changed = finders.found_by(engine, str(save_clap(tmp_path / "clap")))
    changed.retriever(bank)
    engine.retriever(bank)
    assert bank.claps() == {engine.clap_name: 6, changed.clap_name: 6}


def test_what_there_is_to_choose(engine, tmp_path):
    assert folders.claps() == ["mini"]
    save_clap(folders.home() / "claps" / "music")
    folders.laion_folder().mkdir(parents=True)
    (folders.laion_folder() / "music.pt").write_bytes(b"x")
    assert folders.claps() == ["mini", "laion", str(folders.home() / "claps" / "music")]
    assert finders.found_by(engine, folders.claps()[2]).clap_name.startswith("clap/music-")
    with pytest.raises(BadRequest, match="no CLAP “nothing”"):
        finders.found_by(engine, "nothing")
    (folders.laion_folder() / "music.pt").unlink()
    with pytest.raises(MissingPart, match="afcore get laion-clap"):
        finders.found_by(engine, "laion")
