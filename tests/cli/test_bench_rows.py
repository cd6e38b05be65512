"""The rows of `bench --all`, on the tiny engine and in their tiniest form; the figures themselves are not judged."""

import argparse
import json

import pytest
import torch
from tiny import RATE, tiny_engine, tone

from afcore.audio.recording import from_samples
from afcore.cli import bench, bench_rows, main
from afcore.cli.bench_rows import Measure
from afcore.errors import MissingPart


@pytest.fixture
def options(tmp_path):
    engine = tiny_engine(tmp_path)
    return argparse.Namespace(
        load=lambda name, device: engine,
        model="tiny",
        device=None,
        file=None,
        runs=1,
        starts=1,
        clips=12,
        examples=3000,
        layers=1,
        tokens=2,
        rows=None,
    )


def test_a_bar_is_met_on_its_side_alone():
    slow, fast = (Measure.of("ready_s", [s, s, 9.0], "s") for s in (4.1, 3.9))
    assert (slow.value, slow.met, fast.met, fast.bar) == (4.1, False, True, "≤ 4")
    assert Measure.of("embed_clips_per_s", [99.0], "clips/s").met is False
    assert Measure.of("decode_to_llama_cpp", [], "").met is None


@pytest.mark.parametrize("row", ["first", "teach", "memory", "chat"])
def test_each_row_of_an_engine_gives_figures_above_0(options, row):
    measures = bench_rows.ROWS[row](options)
    assert measures and all(one.value is not None for one in measures.values())
    for name, one in measures.items():
        assert 0 <= one.value <= 1 if "accuracy" in name or "share" in name else one.value > 0
        assert one.values and (one.met is not None) == (name in bench_rows.BARS)
    assert bench_rows.from_json(json.loads(json.dumps(bench_rows.to_json(measures)))) == measures


def test_the_limit_is_tried_on_sounds_that_it_was_not_learnt_from(options, monkeypatch):
    monkeypatch.setattr(bench_rows, "LIMIT_LABELS", 2)
    monkeypatch.setattr(bench_rows, "LIMIT_EACH", 3)
    bank = options.load("tiny", None).bank
    for label, hertz in {"drone": (150, 155, 160, 165), "whistle": (2100, 2110, 2120, 2130)}.items():
        for hz in hertz:
            bank.add(from_samples(tone(hz), RATE, label).data, label, "A tone.", 2.0, group_key=f"{label} {hz}")
    measures = bench_rows.limit(options)
    assert measures["none_of_these_s"].met and measures["none_of_these_s"].note.startswith("6 sounds of ")
    assert all(0 <= measures[f"none_of_these_{what}"].value <= 1 for what in ("known_kept", "strangers_refused"))


def test_of_an_engine_without_other_judges_the_language_side_is_always_asked(options):
    assert bench_rows.teach(options)["teach_share_asked_of_language"].value == 1


def test_the_published_way_gives_the_same_logits():
    model, inputs = bench_rows.published_shape(layers=2)
    (_, ours), (_, theirs) = (bench_rows._forced(model, inputs, [10, 11, 12], anew) for anew in (False, True))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    deaf = inputs | {"audio_embeds": torch.zeros_like(inputs["audio_embeds"])}
    assert not torch.allclose(ours, bench_rows._forced(model, deaf, [10, 11, 12], False)[1], atol=1e-3)


def test_the_published_way_projects_the_audio_for_every_token(options, monkeypatch):
    model, inputs = bench_rows.published_shape(layers=1)
    projected = []
    to_kv = model.language_model.model.decoder.layers[0].gated_cross_attn_layer.attn.to_kv
    to_kv.register_forward_hook(lambda *_: projected.append(1))
    for anew, times in ((False, 1), (True, 1 + 3)):
        projected.clear()
        bench_rows._forced(model, inputs, [10, 11, 12], anew)
        assert len(projected) == times


def test_retrieval_is_compared_with_the_exact_neighbours(options):
    measures = bench_rows.retrieval(options)
    assert 0.5 < measures["retrieval_recall_at_8"].value <= 1 and "3,000" in measures["retrieval_ms"].note


def test_without_llama_cpp_the_row_says_how_to_install_it(options, monkeypatch):
    monkeypatch.setattr(bench_rows.shutil, "which", lambda name: None)
    monkeypatch.setattr(bench_rows, "_has", lambda package: False)
    (one,) = bench_rows.llama(options).values()
    assert one.value is None and one.met is None and "llama-bench" in one.note


def test_rows_are_chosen_and_one_that_fails_leaves_the_others(options, capsys):
    def run(options, row):
        if row == "ready":
            raise MissingPart("Nothing is here.")
        return bench_rows.ROWS[row](options)

    options.rows = "ready,architecture"
    measures = bench.measure_all(options, run)
    assert measures["ready"].note == "Nothing is here." and measures["decode_to_published_way"].value > 0
    assert "of the next tokens are equal" in measures["decode_in_8_bits_to_published_way"].note
    text = bench_rows.rows_table(measures, "head")
    assert "decode_to_published_way" in text and "≥ 1.25" in text and "Nothing is here." in text
    assert main.main(["bench", "--all", "--rows", "nothing"]) == 2 and "no row" in capsys.readouterr().err
