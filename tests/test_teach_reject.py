"""None of these: the promised shares hold on new sounds, and unknown sounds choose what to look at."""

import numpy as np
import pytest
from tiny import RATE, tiny_bank, tiny_engine, tone

from afcore.audio import from_samples
from afcore.errors import BadRequest
from afcore.teach import reject
from afcore.teach.loading import add_files
from afcore.teach.loop import Loop
from afcore.teach.reject import Evidence
from afcore.teach.store import Store


def some(n, p, s, seed):
    rng = np.random.default_rng(seed)
    return [Evidence(float(a), float(b)) for a, b in zip(rng.normal(p, 0.1, n), rng.normal(s, 0.1, n))]


def test_new_clips_of_known_classes_are_rejected_as_rarely_as_promised():
    shares, promised = [], set()
    for seed in range(200):
        limit = reject.calibrate(some(29, 0.8, 0.9, seed), target=0.1)
        promised.add(limit.false_reject)
        new = some(50, 0.8, 0.9, 1000 + seed)
        shares.append(np.mean([reject.apply({"dog": e.probability, "cat": 0}, e.similarity, limit) is None for e in new]))
    assert promised == {0.1}
    assert 0.07 < np.mean(shares) <= 0.105


def test_few_examples_promise_less():
    limit = reject.calibrate(some(5, 0.8, 0.9, 0), target=0.1)
    assert limit.false_reject == pytest.approx(1 / 6) and limit.similarity is None
    assert limit.probability == min(e.probability for e in some(5, 0.8, 0.9, 0))
    with pytest.raises(BadRequest, match="at least 5"):
        reject.calibrate(some(4, 0.8, 0.9, 0))


@pytest.mark.parametrize(("p", "s", "chosen"), [(0.3, 0.9, "probability"), (0.8, 0.2, "similarity")])
def test_unknown_sounds_choose_what_tells_them_apart(p, s, chosen):
    known, unknown = some(39, 0.8, 0.9, 1), some(60, p, s, 2)
    limit = reject.calibrate(known, unknown)
    assert getattr(limit, chosen) is not None and limit.false_accept <= 0.05
    assert limit.false_accept_interval[0] <= limit.false_accept < limit.false_accept_interval[1]
    alone = reject.calibrate(known, unknown, similarity=False)
    assert alone.similarity is None and alone.false_accept >= limit.false_accept
    let_in = [e for e in unknown if reject.apply({"x": e.probability}, e.similarity, limit) is not None]
    assert len(let_in) == round(60 * limit.false_accept)
    assert f"{100 * limit.false_accept:.0f} %" in limit.sentence() and "39 examples" in limit.sentence()


def test_a_clip_with_no_example_near_it_is_none_of_these():
    limit = reject.calibrate(some(39, 0.8, 0.9, 1), target=0.2)
    assert limit.similarity is not None and "not known" in limit.sentence()
    assert reject.apply({"dog": 0.99, "cat": 0.01}, 0.95, limit) == "dog"
    assert reject.apply({"dog": 0.99, "cat": 0.01}, None, limit) is None
    assert reject.apply({"dog": 0.51, "cat": 0.49}, 0.95, limit) is None


def test_a_project_is_calibrated_on_its_examples_and_the_bank(tmp_path):
    engine = tiny_engine(tmp_path)
    project = Store(tmp_path / "projects").create("tones", ["hum", "beep"], "Mara")
    for label, hertz in {"hum": (100, 110, 120), "beep": (1290, 1300, 1310)}.items():
        add_files(project, [(f"{hz}.wav", from_samples(tone(hz), RATE, "x").data) for hz in hertz], "Mara", label)
    seen = []
    bank = tiny_bank(tmp_path / "bank")
    limit = reject.of_project(Loop(project, engine), bank, progress=lambda done, of: seen.append((done, of)))
    assert limit.known == 6 and limit.unknown == 4, "hum and beep of the bank are no strangers"
    assert seen[-1] == (10, 10) and limit.false_reject == pytest.approx(1 / 7)
    assert limit.similarity is not None and limit.false_accept < 1, "other tones are far from every example"
