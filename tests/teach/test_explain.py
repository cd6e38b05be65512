"""What each shot and each window did to the answer, against answers whose reasons are known."""

import threading
from types import SimpleNamespace

import pytest
import torch
from tiny import RATE, tiny_engine, tone

from afcore.audio.recording import Clip, from_samples
from afcore.engine.results import Heard
from afcore.errors import BadRequest
from afcore.retrieval.nearest import Shot
from afcore.teach import explain, predict
from afcore.teach.ingest import add_files
from afcore.teach.loop import Loop
from afcore.teach.store import Store

SILENCE = torch.full((2,), -1.0)


def heard(windows):
    features = torch.arange(windows).float()[:, None].repeat(1, 2)
    times = [(10 + 1.75 * n, 17 + 1.75 * n) for n in range(windows)]
    return Heard(Clip([], RATE, 10.0, "x", "key"), features, times, None, [], {})


def shot(label, similarity=0.5):
    return Shot(SimpleNamespace(label=label, id=label), similarity)


def classify(heard, shots):
    """One vote for the label of each shot, and one for "dog" where window 2 is heard or "cat" where nothing is."""
    votes = {"dog": 1.0, "cat": 1.0}
    for one in shots:
        votes[one.example.label] += 1
    votes["dog"] += float((heard.features == 2).any())
    votes["cat"] += 3 * float((heard.features == SILENCE[0]).any())
    total = sum(votes.values())
    return {label: vote / total for label, vote in votes.items()}


def test_shots_and_windows_have_their_effects():
    steps = list(explain.explain(classify, heard(3), [shot("dog", 0.9), shot("cat", 0.4)], SILENCE, ["the text"]))
    found = steps[-1]
    assert len(steps) == found.done == found.total == 6 and found.texts == ("the text",)
    assert found.label == "dog" and found.probabilities["dog"] == pytest.approx(3 / 5)
    first, second = found.shots
    assert first.without == pytest.approx({"dog": 2 / 4, "cat": 2 / 4}) and first.effect["dog"] == pytest.approx(0.1)
    assert second.effect["dog"] == pytest.approx(3 / 5 - 3 / 4) and sum(second.effect.values()) == pytest.approx(0)
    assert [round(change.effect["dog"], 3) for change in found.windows] == [0, 0, 0.1]
    assert (found.windows[2].start, found.windows[2].end) == (13.5, 20.5)
    said = found.sentence()
    assert "“cat” (similarity 0.40) moves “dog” from 75 % to 60 %" in said and "13.5 to 20.5 s" in said


def test_the_only_window_is_replaced_by_silence():
    found = list(explain.explain(classify, heard(1), [], SILENCE))[-1]
    (window,) = found.windows
    assert window.without == pytest.approx({"dog": 1 / 5, "cat": 4 / 5}) and found.sentence() == ""


def test_a_clip_without_a_window_is_another_clip():
    whole = heard(3)
    cut = explain.without_window(whole, 1, SILENCE)
    assert cut.features[:, 0].tolist() == [0, 2] and cut.times == [whole.times[0], whole.times[2]]
    assert cut.key != whole.key and whole.features.shape == (3, 2)


def test_stopping():
    stop = threading.Event()
    asked = explain.explain(classify, heard(5), [shot("dog")] * 3, SILENCE, stop=stop)
    assert next(asked).done == 1 and next(asked).done == 2
    stop.set()
    assert list(asked) == []


def test_a_prediction_of_a_project_is_explained_with_its_own_shots(tmp_path):
    engine = tiny_engine(tmp_path, bank=False)
    project = Store(tmp_path / "projects").create("tones", ["low", "high"], "Mara")
    for label, hertz in {"low": (120, 160), "high": (1300, 1400)}.items():
        add_files(project, [(f"{hz}.wav", from_samples(tone(hz), RATE, "x").data) for hz in hertz], "Mara", label)
    examples = Loop(project, engine).examples()
    clip = from_samples(tone(140, 9.0), RATE, "new").clip()
    sound = predict.hear(engine, clip)
    prediction = predict.classify(engine, sound, examples, "lm-shots", 3)
    found = list(explain.of_prediction(engine, sound, examples, prediction))[-1]
    assert (
        found.probabilities == pytest.approx(prediction.probabilities, abs=1e-6) and found.texts == prediction.prompts
    )
    assert [change.shot.example.id for change in found.shots] == [one["id"] for one in prediction.shots]
    ids = [one["id"] for one in prediction.shots]
    again = predict.classify(engine, sound, examples, "lm-shots", 2, set(examples.items) - set(ids[1:]))
    assert found.shots[0].without == pytest.approx(again.probabilities, abs=1e-6)
    assert len(found.windows) == 3 and any(abs(change.effect["low"]) > 1e-6 for change in found.windows)
    with pytest.raises(BadRequest, match="nearest is the reason"):
        list(explain.of_prediction(engine, sound, examples, predict.classify(engine, sound, examples, "clap-nn")))
