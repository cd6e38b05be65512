"""Label scores to probabilities."""

import math

import pytest
import torch

from afcore.engine.calibration import Calibration

SCORES, COUNTS, FREE = torch.tensor([-2.0, -3.0, -1.0]), torch.tensor([1, 3, 1]), torch.tensor([-1.0, -6.0, -0.5])


def softmax(values):
    total = sum(map(math.exp, values))
    return [math.exp(v) / total for v in values]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [-2, -1, -1]),
        ({"normalise": "sum"}, [-2, -3, -1]),
        ({"normalise": "sum", "alpha": 0.5}, [-1.5, 0, -0.75]),
        ({"alpha": 1.0}, [-1, 1, -0.5]),
        ({"temperature": 2.0}, [-1, -0.5, -0.5]),
    ],
)
def test_probabilities(settings, expected):
    found = Calibration.from_dict(settings).probabilities(SCORES, COUNTS, FREE)
    assert found.tolist() == pytest.approx(softmax(expected), abs=1e-9)
    assert found.sum().item() == pytest.approx(1, abs=1e-12)


def test_the_answer_without_shots_is_mixed_in():
    """Log-probabilities are mixed, not scores: a prompt whose labels are all unlikely counts no less."""
    other = torch.tensor([-50.0, -40.0, -45.0])
    both = [
        0.6 * math.log(p) + 0.4 * math.log(q)
        for p, q in zip(softmax([-2, -3, -1]), softmax([-50, -40, -45]), strict=True)
    ]
    found = Calibration(normalise="sum", shots=0.6).probabilities(SCORES, COUNTS, without=other)
    assert found.tolist() == pytest.approx(softmax(both), abs=1e-9)
    alone = Calibration(normalise="sum", shots=0.6).probabilities(SCORES, COUNTS)
    assert alone.tolist() == pytest.approx(softmax([-2, -3, -1]), abs=1e-9)


def test_settings_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match="beta"):
        Calibration.from_dict({"beta": 1})
    with pytest.raises(ValueError, match="normalise"):
        Calibration(normalise="max")
    with pytest.raises(ValueError, match="temperature"):
        Calibration(temperature=0)
    with pytest.raises(ValueError, match="shots"):
        Calibration(shots=0)
    with pytest.raises(ValueError, match="alpha"):
        Calibration(alpha=1).probabilities(SCORES, COUNTS)
