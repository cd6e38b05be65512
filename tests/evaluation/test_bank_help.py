"""Whether examples help: which sounds are asked, that no example is of the sound's own source, and what is advised."""

import numpy as np
import pytest
from tiny import RATE, TONES, tiny_engine, tone

from afcore.audio.recording import from_samples
from afcore.errors import BadRequest, Cancelled
from afcore.evaluation import bank_help
from afcore.evaluation.bank_help import NEAREST, NEIGHBOUR, RANDOM, Help, Row
from afcore.retrieval.bank import Bank


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    """Two sources for each label but the last, two takes each."""
    bank = Bank(tmp_path_factory.mktemp("bank"), create=True)
    for label, hz in TONES.items():
        for source in range(1 if label == "squeak" else 2):
            for take in range(2):
                sound = from_samples(tone(hz * (1 + 0.03 * source + 0.01 * take), 0.5), RATE, label)
                bank.add(sound.data, label, label, sound.duration, group_key=f"{label} {source}")
    return bank


def test_no_example_is_of_the_sounds_own_source(bank, tmp_path, monkeypatch):
    engine, seen = tiny_engine(tmp_path, bank=False), []
    score = engine.score

    def spy(heard, labels, shots=(), **more):
        own = next(e for e in bank.examples() if e.sha256 == heard.sha256)
        seen.append((own, labels, [shot.example for shot in shots]))
        return score(heard, labels, shots, **more)

    monkeypatch.setattr(engine, "score", spy)
    found = bank_help.measure(engine, bank, most=6)
    assert found.sounds == 6 and len(set(found.of)) == 5 and "squeak" not in found.of
    for own, labels, shots in seen:
        assert own.label in labels and len(labels) == 6
        assert own.group_key not in {shot.group_key for shot in shots}
        assert {shot.label for shot in shots} <= set(labels)
    assert [(row.way, row.k) for row in found.rows] == [
        *((NEAREST, k) for k in (0, 1, 2, 4, 8) if k <= engine.max_shots),
        *((RANDOM, k) for k in (1, 2, 4, 8) if k <= engine.max_shots),
        (NEIGHBOUR, 1),
    ]
    assert found.row(NEIGHBOUR, 1).share > 0.5  # of six labels: most tones have the same tone nearest
    assert found.row(NEAREST, 4).words > found.row(NEAREST, 0).words > 0
    assert [entry["way"] for entry in found.to_json()["rows"]] == [row.way for row in found.rows]

    class Stopped:
        def is_set(self):
            return True

    with pytest.raises(Cancelled):
        bank_help.measure(engine, bank, stop=Stopped())


def test_a_bank_of_single_sources_is_refused(tmp_path):
    engine = tiny_engine(tmp_path)
    with pytest.raises(BadRequest, match="Only 0 sounds"):
        bank_help.measure(engine, engine.bank)


def found(**right):
    groups = tuple("abcdefgh")
    keys = {"bare": (NEAREST, 0), "two": (NEAREST, 2), "random": (RANDOM, 2), "neighbour": (NEIGHBOUR, 1)}
    rows = [Row(*keys[name], np.array(values, float), groups, 0.1, 5.0) for name, values in right.items()]
    return Help(8, 4, 4, rows, tuple("xxxxyyyy"))


def test_what_is_advised():
    few, many = [1, 0, 0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1, 0]
    better = found(bare=few, two=many, random=few, neighbour=few)
    assert better.recommendation() == "Use 2 examples: 88 % right instead of 12 %, a gain of +75 (+38 to +100)."
    assert better.per_label() == [("x", 4, 0.25, 1.0), ("y", 4, 0.0, 0.75)]
    same = found(bare=many, two=many, random=few, neighbour=many)
    assert same.recommendation() == "Ask without examples: on this bank they do not help."
    chance = found(bare=few, two=[1, 1, 0, 0, 0, 0, 0, 0], random=many, neighbour=many).recommendation()
    assert (
        "which may be chance" in chance and "at random do as well" in chance and "nearest neighbour is better" in chance
    )
