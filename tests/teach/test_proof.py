"""Accuracy by number of shots: counted right, with intervals that behave, on made-up answers and on a small project."""

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score
from tiny import RATE, tiny_engine, tone

from afcore.audio.recording import from_samples
from afcore.errors import BadRequest
from afcore.teach import proof
from afcore.teach.ingest import add_files
from afcore.teach.proof import Method, Trial
from afcore.teach.store import Store

REPOSITORY = Path(__file__).resolve().parents[2]
LABELS = ("dog", "cat", "owl")
NEAREST, TEXT = Method("clap-nn", 0, "CLAP, nearest example"), Method("clap-text", 0, "CLAP, name of the label")


def said(label):
    """Probabilities with ``label`` on top."""
    return {other: 0.8 if other == label else 0.1 for other in LABELS}


def last(steps):
    return list(steps)[-1].result()


TRIALS = [Trial(n, label) for n, label in enumerate(["dog"] * 6 + ["cat"] * 3 + ["owl"])]


def with_k(heard, labels, k):
    """Without shots always "dog"; with shots right, but for clip 6 until there are four."""
    truth = TRIALS[heard].label
    return said("dog" if k == 0 or (heard == 6 and k < 4) else truth)


def test_scores_by_number_of_shots():
    found = last(proof.run(TRIALS, LABELS, with_k, {NEAREST: lambda heard, labels: said("cat")}, shots=(0, 1, 4)))
    assert [(s.method.title, s.right) for s in found.scores] == [
        ("Without examples", 6),
        ("1 example", 9),
        ("4 examples", 10),
        ("CLAP, nearest example", 3),
    ]
    zero, one = found.scores[:2]
    assert zero.accuracy == 0.6 and zero.macro == pytest.approx(1 / 3) and zero.gain is None
    truth, answers = [t.label for t in TRIALS], ["dog"] * 7 + ["cat"] * 2 + ["owl"]
    assert one.macro == pytest.approx(balanced_accuracy_score(truth, answers))
    assert one.confusion.tolist() == [[6, 0, 0], [1, 2, 0], [0, 0, 1]] and one.confusion.sum() == found.done == 10
    assert one.gain == pytest.approx(0.3) and one.gain_interval[0] < 0.3 < one.gain_interval[1]
    assert found.label_gains(one) == pytest.approx({"dog": 0, "cat": 2 / 3, "owl": 1})
    assert found.score("lm-shots", 4).accuracy == 1
    with pytest.raises(KeyError):
        found.score("lm-shots", 3)


def test_intervals_know_about_takes_and_never_claim_certainty():
    hits = np.array([True] * 8 + [False] * 2)
    low, high = proof.accuracy_interval(hits, [f"clip {n}" for n in range(10)])
    assert (low, high) == pytest.approx((0.490, 0.943), abs=0.002)  # Wilson, 8 of 10
    many = np.repeat(hits, 10)
    apart = proof.accuracy_interval(many, [str(n) for n in range(100)])
    takes = proof.accuracy_interval(many, [str(n // 10) for n in range(100)])
    assert takes[1] - takes[0] > 2 * (apart[1] - apart[0])
    for agreed in (np.ones(9, bool), np.zeros(9, bool)):
        low, high = proof.accuracy_interval(agreed, ["a"] * 3 + ["b"] * 3 + ["c"] * 3)
        assert high - low > 0.4, "three sources are three witnesses, whatever the number of takes"
    assert proof.paired_interval(np.zeros(4), list("abcd"))[0] < 0 < proof.paired_interval(np.zeros(4), list("abcd"))[1]
    assert proof.paired_interval(np.ones(40), [str(n) for n in range(40)]) == pytest.approx((0.912, 1), abs=0.002)


@pytest.mark.parametrize(
    ("right", "expected", "said_of_others"),
    [
        ({"lm-zero": 3, "lm-shots": 6, "clap-nn": 6, "clap-text": 2}, ("lm-shots", 1), "has as many"),
        ({"lm-zero": 3, "lm-shots": 6, "clap-nn": 7, "clap-text": 2}, ("clap-nn", 0), "may be chance"),
        ({"lm-zero": 6, "lm-shots": 6, "clap-nn": 1, "clap-text": 1}, ("lm-zero", 0), "than chance explains"),
    ],
)
def test_the_suggested_method(right, expected, said_of_others):
    trials = [Trial(n, "dog") for n in range(10)]

    def answer(name):
        return lambda heard, labels, k=0: said("dog" if heard < right[name] else "cat")

    def predict(heard, labels, k):
        return answer("lm-shots" if k else "lm-zero")(heard, labels)

    found = last(proof.run(trials, LABELS, predict, {m: answer(m.name) for m in (NEAREST, TEXT)}, shots=(0, 1, 4)))
    assert (found.suggested.name, found.suggested.k) == expected
    assert f"{max(right.values())} of 10" in found.reason and said_of_others in found.reason


def test_stopping_keeps_what_is_done_over_all_labels():
    stop, asked = threading.Event(), []

    def predict(heard, labels, k):
        asked.append(heard)
        if len(asked) == 7:
            stop.set()
        return with_k(heard, labels, k)

    steps, tally = [], None
    for tally in proof.run(TRIALS, LABELS, predict, shots=(0, 1), stop=stop, note="All."):
        steps.append(tally.done)
    found = tally.result()
    assert steps == [1, 2, 3] and asked[::2] == [0, 6, 9, 1], "one of each label first"
    assert found.done == 3 and found.scores[0].confusion.sum() == 3
    assert found.note == "All. Stopped after 3 of 10 clips." and found.scores[1].right == 2
    assert found.suggested is None and "nothing is suggested" in found.reason


def test_tests_that_cannot_be():
    with pytest.raises(BadRequest, match="no labelled clips"):
        list(proof.run([], LABELS, with_k))
    with pytest.raises(BadRequest, match="bat"):
        list(proof.run([Trial(0, "bat")], LABELS, with_k))


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return tiny_engine(tmp_path_factory.mktemp("tiny"), bank=False)


@pytest.fixture
def project(tmp_path):
    """Two tones of each label; what is heard of them tells the labels apart."""
    project = Store(tmp_path).create("tones", ["low", "high"], "Mara")
    for label, hertz in {"low": (120, 135), "high": (1300, 1350)}.items():
        add_files(project, [(f"{hz}.wav", from_samples(tone(hz), RATE, "x").data) for hz in hertz], "Mara", label)
    return project


def test_a_project_without_test_clips_leaves_each_example_out(engine, project):
    tallies = list(proof.of_project(project, engine, shots=(0, 1, 2, 8)))
    found = tallies[-1].result()
    assert found.done == found.total == 4 and "leave-one-out" in found.note
    assert [(s.method.name, s.method.k) for s in found.scores] == [
        ("lm-zero", 0),
        ("lm-shots", 1),
        ("lm-shots", 2),
        ("lm-shots", 8),
        ("clap-nn", 0),
        ("clap-text", 0),
    ]
    assert found.score("clap-nn").accuracy == 1, "the other tone of its label is the nearest"
    for example in project.items("example"):  # with the only other low tone gone, the nearest is another label's
        if example.name == "135.wav":
            project.discard(example.id, "Mara", example.version)
    found = last(proof.of_project(project, engine, shots=(0,)))
    assert found.score("clap-nn").per_label == {"low": 0, "high": 1}
    assert "“low”" in found.note


def test_a_project_with_test_clips_is_judged_on_those(engine, project):
    sounds = {"low": 150, "high": 1250}
    for label, hz in sounds.items():
        add_files(project, [(f"{hz}.wav", from_samples(tone(hz), RATE, "x").data)], "Mara", label, test=True)
    found = last(proof.of_project(project, engine, shots=(0, 4)))
    assert found.total == 2 and "test clips" in found.note and found.score("clap-nn").accuracy == 1
    assert found.score("lm-shots", 4).confusion.sum() == 2


def test_one_label_proves_nothing(engine, tmp_path):
    project = Store(tmp_path).create("tones", ["low", "high"], "Mara")
    with pytest.raises(BadRequest, match="at least two labels"):
        list(proof.of_project(project, engine))


def test_teach_loads_nothing_of_training():
    code = "import sys, afcore.teach.proof; print([m for m in sys.modules if m.startswith('afcore.training')])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert run.stdout.strip() == "[]"
