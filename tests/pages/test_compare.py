"""Settings side by side, on Compare."""

import json

import pytest
from media import chirps, encode
from pages_support import ROOT, button, example, figures, good, page, session, texts
from streamlit.testing.v1 import AppTest

from afcore import paths
from afcore.app import benchmark_runs, plots
from afcore.app.comparison import Comparison
from afcore.audio.recording import open_recording
from pages import common, share


def _asked(app: AppTest) -> Comparison:
    example(app, "Dog")
    good(page(app, "shelf"))
    good(next(w for w in app.text_input if w.label.startswith("Labels to weigh")).set_value("dog, rain").run())
    good(button(app, "Ask all columns").click().run())
    run = session(app).comparison
    assert session(app).jobs["columns"].wait(30) and run is not None
    good(app.run())
    return run


def test_two_columns_answer_with_bars_speed_and_thumbs_that_are_counted(app):
    run = _asked(app)
    assert [cell.answer for cell in run.cells.values()] == ["I hear a dog that barks twice."] * 2
    assert [setup.shots for setup in run.setups] == [0, 4]
    sent = [cell.prompt for cell in run.cells.values()]
    assert [code.value for code in app.code] == sent and sent[1].count("<audio>") == 5
    assert "First token after" in texts(app) and figures(app) == 1, "one chart of probabilities"
    sha256 = session(app).recording.sha256
    thumb = next(w for w in app.feedback if f"{sha256[:12]}-1" in w.key)
    good(thumb.set_value(0).run())
    assert run.thumbs(1) == (0, 1)
    assert [kept.thumb for kept in common.feedback().all()] == ["down"]


def test_a_kept_comparison_is_opened_in_another_session(app, engine):
    from pages_support import visit

    run = _asked(app)
    other = visit()
    example(other, "Rain")
    good(page(other, "shelf"))
    upload = next(w for w in other.file_uploader if w.label == "A comparison's file")
    upload.upload("run.json", run.to_json().encode(), "application/json")
    good(other.run())
    assert session(other).comparison.cells == run.cells
    assert "dog.ogg" in texts(other) and "I hear a dog that barks twice." in texts(other)
    asked = len(engine.prompts)
    good(other.run())
    assert len(engine.prompts) == asked, "opening asks nothing"


def test_a_link_opens_the_same_comparison_without_any_sound(app, engine):
    run = _asked(app)
    good(button(app, "Make a link").click().run())
    [address] = [code.value for code in app.code if "comparison=" in code.value]
    other = AppTest.from_file(str(ROOT / "pages" / "frame.py"), default_timeout=240)
    other.query_params["comparison"] = address.partition("comparison=")[2]
    good(page(good(other.run()), "shelf"))
    assert session(other).comparison.cells == run.cells and session(other).recording is None
    assert "I hear a dog that barks twice." in texts(other)
    name = address.partition("comparison=")[2]
    good(page(app, "about"))
    good(button(app, "Delete").click().run())
    assert share.comparisons().find(name) is None and "nothing that is still there" in texts(app)


def test_runs_of_benchmarks_stand_beside_the_papers_line(app, engine):
    folder = paths.DATA / "evaluations" / "run"
    folder.mkdir(parents=True)
    score = {"name": "CIDEr", "value": 0.2, "low": 0.1, "high": 0.3, "n": 40, "tokenizer": "PTB", "subset": ""}
    summary = {
        **{"benchmark": "clotho-v2", "title": "Clotho-v2", "model": "mini", "shots": 0, "examples": "sounds"},
        **{"retrieval": "knn", "scores": [score], "values": {}, "sources": {}, "limit": 40, "split": "test"},
        "counts": {"asked": 40, "in the split": 1045, "answered": 40},
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder.parent / "half").mkdir()
    (folder.parent / "half" / "summary.json").write_text("{")
    good(page(app, "shelf"))
    assert figures(app) == 1 and "40 of 1045 items" in texts(app)
    [measure] = benchmark_runs.measures(benchmark_runs.finished())
    chart = plots.measured(measure)
    assert chart.data[0].x == (0.2,) and chart.data[0].error_x.array == pytest.approx((0.1,))
    lines = {trace.name: trace.x[0] for trace in chart.data[1:]}
    assert lines["Audio Flamingo: 0.465"] == 0.465 and next(iter(lines)).startswith("Audio Flamingo")


def test_many_sounds_are_a_table_and_one_of_them_stands_in_columns(app, engine):
    for number in range(6):
        session(app).shelf.add(open_recording(encode(chirps(0.5, 16_000, number), 16_000), f"{number}.wav"))
    good(page(app, "shelf"))
    good(button(app, "Ask all columns").click().run())
    run = session(app).comparison
    assert session(app).jobs["columns"].wait(60) and len(run.cells) == 12
    good(app.run())
    answers = next(frame.value for frame in app.dataframe if "sound" in frame.value.columns)
    assert len(answers) == 6 and set(answers["A: mini, no examples"]) == {"I hear a dog that barks twice."}
    totals = next(frame.value for frame in app.dataframe if "thumbs up" in frame.value.columns)
    assert totals["same as A (95 % interval)"][1] == "6 of 6 (61 % to 100 %)"
    last = list(run.sounds)[-1]
    good(next(box for box in app.selectbox if box.label.startswith("One of them in full")).select(last).run())
    assert texts(app).count("First token after") == 2
    thumb = next(w for w in app.feedback if f"{last[:12]}-1" in w.key)
    good(thumb.set_value(1).run())
    assert run.thumbs(1) == (1, 0)
