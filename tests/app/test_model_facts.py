"""Facts that are read from the loaded model, and what moved an answer."""

import pytest
import torch
from fakes import FakeEngine
from tiny import tiny_engine, tone_clip

from afcore.app import model_facts, plots
from afcore.jobs import Job
from afcore.retrieval.bank import Bank


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return tiny_engine(tmp_path_factory.mktemp("facts"))


def test_each_parameter_belongs_to_one_part(engine):
    found = model_facts.parameters(engine)
    assert sum(found.values()) == sum(p.numel() for p in engine.language.model.parameters())
    assert {"gated cross-attention", "audio transformer", "language model"} <= set(found)
    assert len(plots.amounts(found, "M", 1e6).data) == 1


def test_gates_are_those_of_the_layers_that_have_one(engine):
    found = model_facts.gates(engine)
    assert [gate.layer for gate in found] == engine.language.model.config.cross_attn_layers
    assert found[0].attention == pytest.approx(torch.tanh(torch.tensor(1.0)).item()), "as `tiny` opens them"
    assert len(plots.gates(found).data) == 2


def test_limits_are_said_in_words(engine, tmp_path):
    found = model_facts.limits(engine)
    assert found["Heard at most"] == "33.25 s" and found["Examples at most"] == str(engine.max_shots)
    assert found["Text at most"].startswith("4,096 tokens") and "MiB" in found["Memory of this process"]
    made_up = FakeEngine(Bank(tmp_path / "bank", create=True))
    assert model_facts.gates(made_up) == [] and model_facts.parameters(made_up) == {}
    assert "Text at most" not in model_facts.limits(made_up)


def test_each_window_and_example_is_left_out_in_turn(engine):
    heard = engine.hear(tone_clip(430, 10.0))
    shots = engine.neighbours(heard, 2)
    prompt = engine.build_prompt(heard, "What is this?", shots)
    job = Job(lambda job: model_facts.moved(job, engine, heard, prompt, "a horn")).start()
    assert job.wait(60) and job.error is None
    found = job.result
    assert [one.what for one in found[: len(heard.times)]] == ["0.0 to 7.0 s", "1.8 to 8.8 s", "3.5 to 10.0 s"]
    assert [one.what for one in found[3:]] == [f"example: {shot.example.label}" for shot in shots]
    assert any(abs(one.nats) > 1e-4 for one in found), "the sound matters to this model"
    whole, counts = engine.language.score(prompt, engine.sounds(heard, prompt), ["a horn"])
    changed = heard.features.clone()
    changed[0] = engine.encoder.silence
    sounds = engine.sounds(heard, prompt)
    without, _ = engine.language.score(prompt, [*sounds[:-1], changed], ["a horn"])
    assert found[0].nats == pytest.approx(float((whole - without) / counts), abs=1e-5)
    assert len(plots.moved(found).data) == 1
