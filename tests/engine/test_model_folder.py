"""A model as a folder: saved and loaded it judges as before, and what is missing or damaged in it is named."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from tiny import tiny_engine, tiny_model, tiny_tokenizer, tone_clip

from afcore import paths, prompts
from afcore.checkpoints import CheckpointError
from afcore.checkpoints.eight_bits import is_rounded
from afcore.clap.mini import MiniClap
from afcore.encoders.mini import TAGS, MiniEncoder
from afcore.engine import model_folder, own_models
from afcore.engine.calibration import Calibration
from afcore.engine.engine import Engine
from afcore.engine.language import FlamingoText
from afcore.engine.loading import load_engine
from afcore.engine.model_folder import Facts, Source
from afcore.engine.precision import EIGHT_BITS, VARIABLE
from afcore.errors import BadRequest, MissingPart

LABELS = ["dog", "rain", "a glass that breaks"]


@pytest.fixture
def small(tmp_path):
    """Mini's encoder, CLAP and tag table around a language model of random weights."""
    tokenizer, encoder = tiny_tokenizer(), MiniEncoder.load(paths.MINI)
    model = tiny_model(tokenizer, feature_width=encoder.width, tag_count=TAGS)
    language = FlamingoText(model, tokenizer, "mini", encoder.silence)
    calibration, source = Calibration(alpha=0.25, temperature=1.7), Source("mini", paths.MINI)
    return Engine("small", language, encoder, MiniClap.load(paths.MINI), None, calibration, source=source)


def test_a_saved_model_is_the_same(small, tmp_path, monkeypatch):
    """Tag table, calibration, tokenizer, kind of prompts, limits and encoder come along."""
    monkeypatch.setattr(paths, "BANK", tmp_path / "no bank")
    folder = small.save(tmp_path / "models" / "mine")
    again = load_engine(str(folder), "cpu", dtype=torch.float32)
    assert (again.kind, again.max_shots, again.features_name, again.clap_name, again.calibration) == (
        small.kind,
        small.max_shots,
        small.features_name,
        small.clap_name,
        small.calibration,
    )
    assert again.name == str(folder) and again.ear.encoder.labels == small.ear.encoder.labels
    wanted, found = (language_side(engine) for engine in (small, again))
    assert torch.equal(wanted[0], found[0]) and wanted[1] == pytest.approx(found[1], abs=1e-6)
    again.language.model.front_end.tag_text.zero_()
    assert language_side(again)[1] != pytest.approx(wanted[1], abs=1e-6)  # so the table matters, and was stored
    with pytest.raises(BadRequest, match="something in"):
        small.save(folder)
    assert [entry.name for entry in folder.parent.iterdir()] == ["mine"]


def test_a_model_in_eight_bits_is_saved_unrounded(small, tmp_path, monkeypatch):
    """Loaded again it is the same in 8 bits too; a second saving loses nothing more."""
    monkeypatch.setattr(paths, "BANK", tmp_path / "no bank")
    monkeypatch.setenv(VARIABLE, EIGHT_BITS)
    ours = load_engine(str(small.save(tmp_path / "first")), "cpu")
    assert is_rounded(ours.language.model) and "8 bits" in ours.dtype_reason and "8 bits" in ours.number_format
    again = load_engine(str(ours.save(tmp_path / "second")), "cpu")
    whole = load_engine(str(tmp_path / "second"), "cpu", dtype=ours.dtype)
    assert language_side(again)[1] == language_side(ours)[1] != language_side(whole)[1]
    assert not is_rounded(whole.language.model) and "8 bits" not in whole.number_format
    first = load_file(tmp_path / "first" / "model.safetensors")
    second = load_file(tmp_path / "second" / "model.safetensors")
    assert first.keys() == second.keys()
    assert all(torch.equal(second[key], value.to(second[key].dtype)) for key, value in first.items())


def language_side(engine):
    """What the language model reads of a sound, and what it finds of labels."""
    engine.forget()
    heard = engine.hear(tone_clip(430))
    prompt = engine.build_prompt(heard, prompts.CLASSIFY)
    return engine.inputs(heard, prompt)["audio_embeds"], engine.probabilities(heard, prompt, LABELS)


@pytest.mark.slow
def test_mini_is_the_same_after_saving_and_loading(tmp_path):
    """With its judges, and by what it says."""
    engine = load_engine("mini", "cpu")
    folder, heard = engine.save(tmp_path / "mine"), engine.hear(tone_clip(430))
    shots = engine.neighbours(heard, 3)
    wanted, said = engine.score(heard, LABELS, shots), engine.ask(heard, "What do you hear?").text
    engine.close()
    again = load_engine(str(folder), "cpu")
    found = again.score(heard, LABELS, again.neighbours(heard, 3))
    assert [opinion.judge for opinion in found.opinions] == [opinion.judge for opinion in wanted.opinions]
    assert found.probabilities == pytest.approx(wanted.probabilities, abs=1e-6)
    assert again.ask(again.hear(tone_clip(430)), "What do you hear?").text == said
    again.close()


@pytest.fixture
def saved(tmp_path):
    """A folder with the files of a saved model; what is in them means nothing."""
    folder, parts = tmp_path / "models" / "mine", tmp_path / "parts"
    folder.mkdir(parents=True)
    parts.mkdir()
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        (folder / name).write_text(name)
    for name in model_folder.PARTS["mini"]:
        (parts / name).write_text(name)
    model_folder.complete(folder, parts, Facts("mini", "mini", 8, Calibration(alpha=0.25), "mini", {"why": "a test"}))
    return folder


def test_what_is_known_of_a_folder(saved):
    facts = model_folder.read(saved)
    assert facts == Facts("mini", "mini", 8, Calibration(alpha=0.25), "mini", {"why": "a test"})


def test_what_is_missing_or_damaged_is_named(saved):
    for name in ("clap.safetensors", "model.safetensors"):
        kept = (saved / name).read_bytes()
        (saved / name).write_bytes(bytes(reversed(kept)))
        with pytest.raises(CheckpointError, match=rf"{name} .* is damaged"):
            load_engine(str(saved))
        (saved / name).unlink()
        with pytest.raises(MissingPart, match=f"{name} is missing"):
            load_engine(str(saved))
        (saved / name).write_bytes(kept)
    content = json.loads((saved / "engine.json").read_text())
    for wrong in ("{", json.dumps(content | {"kind": "parrot"}), json.dumps(content | {"files": {"../x": {}}})):
        (saved / "engine.json").write_text(wrong)
        with pytest.raises(CheckpointError, match=r"engine\.json .* is damaged"):
            load_engine(str(saved))
    (saved / "engine.json").write_text(json.dumps(content | {"calibration": {"alpha": 0.1, "beta": 2}}))
    with pytest.raises(CheckpointError, match=r"calibration in .*beta"):
        load_engine(str(saved))
    (saved / "engine.json").unlink()
    with pytest.raises(MissingPart, match="is no saved model"):
        load_engine(str(saved))


def test_own_models_are_found_by_name_or_path(saved, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "DATA", tmp_path)
    assert own_models.names() == ["mine"]
    assert own_models.find("mine") == own_models.find(str(saved)) == saved.resolve()
    assert own_models.name_of(saved) == "mine" and own_models.find("other") is None and own_models.find("") is None
    elsewhere = shutil.copytree(saved, tmp_path / "elsewhere")
    assert own_models.name_of(elsewhere) == str(elsewhere.resolve())
    with pytest.raises(BadRequest, match=r"no model “other”.* mine, .*folder of a saved model"):
        load_engine("other")


def test_an_engine_of_parts_without_files_cannot_be_saved(tmp_path):
    with pytest.raises(BadRequest, match="parts without files"):
        tiny_engine(tmp_path, bank=False).save(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()
