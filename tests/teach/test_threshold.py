"""None of these: the promised shares hold on new sounds, and unknown sounds choose what to look at."""

import numpy as np
import pytest
from tiny import RATE, tiny_bank, tiny_engine, tone

from afcore import paths
from afcore.audio.recording import from_samples
from afcore.clap.mini import MiniClap
from afcore.errors import BadRequest
from afcore.retrieval.bank import Bank
from afcore.teach import threshold
from afcore.teach.ingest import add_files
from afcore.teach.loop import Loop
from afcore.teach.schema import Prediction
from afcore.teach.store import Store
from afcore.teach.threshold import Evidence


def some(n, p, s, seed):
    rng = np.random.default_rng(seed)
    return [Evidence(float(a), float(b)) for a, b in zip(rng.normal(p, 0.1, n), rng.normal(s, 0.1, n), strict=True)]


def rejected(evidence, limit):
    """The share of clips that a project with these limits would call none of these."""
    said = [Prediction("lm-shots", 4, {"dog": e.probability}, similarity=e.similarity) for e in evidence]
    return np.mean([prediction.verdict(limit.probability, limit.similarity) is None for prediction in said])


def test_new_clips_of_known_classes_are_rejected_as_rarely_as_promised():
    shares, promised = [], set()
    for seed in range(200):
        limit = threshold.calibrate(some(29, 0.8, 0.9, seed), target=0.1)
        promised.add(limit.false_reject)
        shares.append(rejected(some(50, 0.8, 0.9, 1000 + seed), limit))
    assert promised == {0.1}
    assert 0.07 < np.mean(shares) <= 0.105


def test_few_examples_promise_less():
    limit = threshold.calibrate(some(5, 0.8, 0.9, 0), target=0.1)
    assert limit.false_reject == pytest.approx(1 / 6) and limit.similarity is None
    assert limit.probability == min(e.probability for e in some(5, 0.8, 0.9, 0))
    with pytest.raises(BadRequest, match="at least 5"):
        threshold.calibrate(some(4, 0.8, 0.9, 0))


@pytest.mark.parametrize(("p", "s", "chosen"), [(0.3, 0.9, "probability"), (0.8, 0.2, "similarity")])
def test_unknown_sounds_choose_what_tells_them_apart(p, s, chosen):
    known, unknown = some(39, 0.8, 0.9, 1), some(60, p, s, 2)
    limit = threshold.calibrate(known, unknown)
    assert getattr(limit, chosen) is not None and limit.false_accept <= 0.05 and limit.unknown == 30
    assert limit.false_accept_interval[0] <= limit.false_accept < limit.false_accept_interval[1]
    alone = threshold.calibrate(known, unknown, similarity=False)
    assert alone.similarity is None and alone.false_accept >= limit.false_accept
    assert 1 - rejected(unknown[1::2], limit) == pytest.approx(limit.false_accept)
    assert f"{100 * limit.false_accept:.0f} %" in limit.sentence() and "39 examples" in limit.sentence()


def test_an_odd_example_does_not_let_strangers_in():
    known = [*some(11, 0.8, 0.9, 3), Evidence(0.05, 0.05)]
    limit = threshold.calibrate(known, some(60, 0.4, 0.4, 4))
    assert limit.false_accept <= 0.1 and limit.false_reject <= 0.3
    assert threshold.calibrate(known, some(60, 0.4, 0.4, 4), most=0.1).false_accept > 0.9, (
        "the lowest of twelve is the odd one"
    )
    easy = threshold.calibrate(some(12, 0.8, 0.9, 3), some(60, 0.1, 0.1, 4))
    assert easy.false_reject == pytest.approx(1 / 13), "no more is given up than the strangers cost"


def test_a_clip_with_no_example_near_it_is_none_of_these():
    limit = threshold.calibrate(some(39, 0.8, 0.9, 1), target=0.2)
    assert limit.similarity is not None and "not known" in limit.sentence()
    assert rejected([Evidence(0.99, 0.95)], limit) == 0
    assert rejected([Evidence(0.99, -1.0)], limit) == rejected([Evidence(0.51, 0.95)], limit) == 1


def test_few_examples_of_the_shipped_bank(capsys):
    """Three examples of each of four labels, CLAP alone; the strangers at the end have labels that no calibration
    saw."""
    bank = Bank(paths.BANK)
    ids, vectors = bank.clap_matrix(MiniClap.load(paths.MINI).name)
    by_label = {}
    for row, example in enumerate(map(bank.example, ids)):
        by_label.setdefault(example.label, {}).setdefault(example.group_key or example.sha256, row)
    by_label = {label: list(rows.values()) for label, rows in by_label.items()}
    many = [label for label, rows in by_label.items() if len(rows) >= 6]
    found = {0.3: [], 0.1: []}
    for seed in range(100):
        rng = np.random.default_rng(seed)
        labels = rng.choice(many, 4, replace=False).tolist()
        mixed = [rng.permutation(by_label[label]) for label in labels]
        examples, new = (np.concatenate([rows[part] for rows in mixed]) for part in (slice(3), slice(3, 8)))
        others = rng.permutation([label for label in by_label if label not in labels])
        tried, strangers = ([row for label in half for row in by_label[label]] for half in np.array_split(others, 2))

        def evidence(rows, examples=examples):
            similar = vectors[rows] @ vectors[examples].T
            similar[np.asarray(rows)[:, None] == examples] = -1  # an example is left out when it is judged
            return [Evidence(1.0, float(s)) for s in similar.max(1)]

        for most, shares in found.items():
            limit = threshold.calibrate(evidence(examples), evidence(rng.permutation(tried)[:80]), most=most)
            shares.append((rejected(evidence(new), limit), 1 - rejected(evidence(strangers), limit)))
    (turned_away, let_in), (before, let_in_before) = (np.mean(found[most], axis=0) for most in (0.3, 0.1))
    with capsys.disabled():
        print(
            f"\nknown rejected {turned_away:.3f}, strangers let in {let_in:.3f}; "
            f"the lowest example as limit: {before:.3f}, {let_in_before:.3f}"
        )
    assert turned_away < 0.2 and let_in < 0.25 and turned_away + let_in < before + let_in_before - 0.03
    mostly = {most: np.mean([stranger > 0.5 for _, stranger in shares]) for most, shares in found.items()}
    assert mostly[0.3] < 0.1 < mostly[0.1], "projects that let most strangers in"


def test_a_project_is_calibrated_on_its_examples_and_the_bank(tmp_path):
    engine = tiny_engine(tmp_path)
    project = Store(tmp_path / "projects").create("tones", ["hum", "beep"], "Mara")
    for label, hertz in {"hum": (100, 110, 120), "beep": (1290, 1300, 1310)}.items():
        add_files(project, [(f"{hz}.wav", from_samples(tone(hz), RATE, "x").data) for hz in hertz], "Mara", label)
    seen = []
    bank = tiny_bank(tmp_path / "bank")
    loop = Loop(project, engine)
    limit = threshold.of_project(loop, bank, progress=lambda done, of: seen.append((done, of)))
    assert limit.known == 6 and limit.unknown == 2, "of four: hum and beep of the bank are no strangers"
    assert seen[-1] == (10, 10) and limit.false_reject == pytest.approx(1 / 7)
    assert limit.similarity is not None and limit.false_accept < 1, "other tones are far from every example"
    (odd,) = add_files(project, [("odd.wav", from_samples(tone(700), RATE, "x").data)], "Mara").clips
    loop.queue.accept(odd, None, "Mara", 1)
    assert threshold.of_project(loop).unknown == 0 and threshold.of_project(loop, bank).unknown == 2
    assert threshold.of_project(loop, bank, 1).unknown == 1, "what a reviewer called none of these is a stranger too"
