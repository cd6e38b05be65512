"""What `bench` measures, on the tiny engine; the figures themselves are not judged."""

import argparse
import json

import pytest
import torch
from tiny import tiny_engine

from afcore.cli import bench, bench_clips, bench_speed, main
from afcore.errors import MissingPart
from afcore.teach import ingest


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(bench_speed, "NEW_TOKENS", 4)


def test_every_figure_is_there_and_positive(tmp_path, quick):
    engine = tiny_engine(tmp_path)
    measured = bench.measure_engine(engine, bench.ten_seconds(), runs=2)
    assert measured["clip_s"] == 10.0 and measured["dtype"] == "float32"
    assert set(measured["first_token_s"]) == {"0", "4"}  # the bank has no eight
    for k, seconds in measured["first_token_s"].items():
        stages = measured["first_token_stages_s"][k]
        assert set(stages) == {"encode", "retrieve", "first_token"} and seconds >= stages["first_token"] > 0
    assert measured["tokens_per_s"] > 0 and measured["language_model_tokens_per_s"] > 0
    assert measured["share_of_language_model"] == pytest.approx(
        measured["tokens_per_s"] / measured["language_model_tokens_per_s"]
    )
    text = bench.table(measured | {"cold_start_s": 3.0, "cold_starts_s": [3.0], "runs": 2})
    assert "aim: at most 15" in text and "cold start to ready" in text and "4 shots" in text


def test_nothing_is_known_before_a_first_token(tmp_path, monkeypatch):
    engine, heard = tiny_engine(tmp_path), []
    embed = engine.encoder.embed
    engine.retriever()
    monkeypatch.setattr(engine.encoder, "embed", lambda samples: heard.append(1) or embed(samples))
    clip = bench.ten_seconds()
    for _ in range(3):
        bench.first_token(engine, clip, 2)
    assert len(heard) == 3


def test_the_bare_language_model_is_the_same_one_without_audio(tmp_path):
    engine = tiny_engine(tmp_path)
    bare = bench.bare_language_model(engine)
    ids = torch.arange(20)[None]
    with torch.inference_mode():
        torch.testing.assert_close(bare(ids).logits, engine.language.model(ids).logits)
    assert sum(p.numel() for p in bare.parameters()) < sum(p.numel() for p in engine.language.model.parameters())


def test_both_decode_every_token(tmp_path, quick):
    engine = tiny_engine(tmp_path)
    read = []
    engine.language.model.language_model.register_forward_pre_hook(
        lambda module, args, kwargs: read.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    heard = engine.hear(bench.ten_seconds())
    bench.decoding_speed(engine.language.model, engine.inputs(heard, engine.build_prompt(heard, "What?")), engine)
    assert read[1:] == [1, 1, 1]


def test_clips_go_through_every_stage_of_teach_and_none_is_known_before(tmp_path, monkeypatch, capsys):
    engine, embedded, given = tiny_engine(tmp_path), [], {}
    engine.retriever()
    engine.forget()  # the examples too, which were heard with the bank
    embed, add_files = engine.encoder.embed, ingest.add_files
    monkeypatch.setattr(engine.encoder, "embed", lambda samples: embedded.append(len(samples)) or embed(samples))
    monkeypatch.setattr(
        ingest,
        "add_files",
        lambda project, sounds, who: (
            given.update((name, file.read_bytes()) for name, file in sounds) or add_files(project, sounds, who)
        ),
    )
    measured = bench_clips.measure_clips(engine, 14)
    assert len(embedded) == bench_clips.LABELS + 14, "the bank's tones twice and more, each embedded"
    assert len(set(given.values())) == 14 and measured["sound_s"] == pytest.approx(28, abs=0.1)
    assert set(measured["clips_per_s"]) == set(measured["seconds"]) == set(bench_clips.STAGES)
    for stage, seconds in measured["seconds"].items():
        assert measured["clips_per_s"][stage] == pytest.approx(14 / seconds)
    assert (measured["labels"], measured["examples"]) == (5, 5)
    text = bench_clips.clips_table(measured | bench.machine_of(engine))
    assert "14 clips of 2.0 s" in text and all(stage in text for stage in bench_clips.STAGES.values())
    assert main.main(["bench", "--clips", "1", "--json"], lambda name, device: engine) == 0
    assert json.loads(capsys.readouterr().out)["clips"] == 1
    assert main.main(["bench", "--clips", "0"]) == 2 and "above 0" in capsys.readouterr().err


def test_a_model_that_cannot_load_says_why():
    options = argparse.Namespace(model="nothing", device=None, file=None, runs=1, starts=1)
    with pytest.raises(MissingPart, match="no model “nothing”"):
        bench.measure(options)
