"""The scoring step: judges' opinions become one answer, and the answer says who judged."""

import math
from dataclasses import dataclass, field

import pytest
from fakes import FakeClap, FakeEncoder, FakeText, Script
from tiny import tiny_engine, tone_clip

from afcore import prompts
from afcore.engine.engine import Engine
from afcore.engine.results import LabelScores, Opinion
from afcore.engine.scoring import LANGUAGE, JudgeWeights, pooled
from afcore.errors import BadRequest

LABELS = ("horn", "hum", "bell")
FIRST = Opinion("first", {"horn": 0.6, "hum": 0.3, "bell": 0.1})
SECOND = Opinion("second", {"horn": 0.1, "hum": 0.8, "bell": 0.1}, weight=3.0)


def test_one_opinion_stays_as_it_is():
    assert pooled(LABELS, [SECOND]) is SECOND.probabilities


def test_opinions_are_pooled_by_their_weights():
    found = pooled(LABELS, [FIRST, SECOND])
    logs = [
        0.25 * math.log(FIRST.probabilities[label]) + 0.75 * math.log(SECOND.probabilities[label]) for label in LABELS
    ]
    total = sum(map(math.exp, logs))
    assert list(found) == list(LABELS)
    assert list(found.values()) == pytest.approx([math.exp(log) / total for log in logs], abs=1e-5)


def test_certainty_of_one_judge_is_no_error():
    certain = Opinion("certain", {"horn": 1.0, "hum": 0.0, "bell": 0.0})
    assert pooled(LABELS, [certain, FIRST])["horn"] == pytest.approx(1.0)


def test_nobody_and_weights_that_mean_nothing_are_refused():
    for opinions in ([], [FIRST, Opinion("zero", SECOND.probabilities, 0.0)]):
        with pytest.raises(ValueError):
            pooled(LABELS, opinions)


def test_the_result_says_who_judged_and_whether_they_agree():
    scores = LabelScores(pooled(LABELS, [FIRST, SECOND]), (FIRST, SECOND))
    data = scores.to_json()
    assert scores.best == "hum" and not scores.agree and not data["agree"]
    assert [(judge["judge"], judge["label"], judge["weight"]) for judge in data["judges"]] == [
        ("first", "horn", 1.0),
        ("second", "hum", 3.0),
    ]
    assert LabelScores(FIRST.probabilities, (FIRST, FIRST)).agree


def test_who_judged_is_said_in_a_sentence():
    language, names = Opinion(LANGUAGE, FIRST.probabilities), Opinion("names", SECOND.probabilities)
    assert LabelScores(FIRST.probabilities, (language,)).judged_by == "Judged by the language model."
    both = LabelScores(pooled(LABELS, [language, names]), (language, names)).judged_by
    assert both == "Judged by the language model and the names against the tags, of which 1 of 2 say the same."
    same = LabelScores(FIRST.probabilities, (language, Opinion("names", FIRST.probabilities))).judged_by
    assert same.endswith("names against the tags, which agree.")


@dataclass
class Fixed:
    """A judge that always says the same, or nothing, and keeps what it was asked."""

    said: dict[str, float] | None
    name: str = "fixed"
    asked: list = field(default_factory=list)

    def opinion(self, asked):
        self.asked.append(asked)
        return None if self.said is None else Opinion(self.name, self.said, 2.0)


def engine_with(bank, *judges) -> Engine:
    script = Script()
    return Engine("fake", FakeText(script), FakeEncoder(script), FakeClap(script), bank, judges=judges)


def test_an_engine_asks_all_its_judges_the_same(tmp_path):
    judge, silent = Fixed({"horn": 0.7, "hum": 0.2, "bell": 0.1}), Fixed(None)
    engine = engine_with(None, judge, silent)
    heard = engine.hear(tone_clip(430))
    scores = engine.score(heard, LABELS)
    assert [opinion.judge for opinion in scores.opinions] == [LANGUAGE, "fixed"]
    assert scores.opinions[0].probabilities == pytest.approx(dict.fromkeys(LABELS, 1 / 3))
    assert scores.best == "horn" and engine.classify(heard, LABELS) == scores.probabilities
    [asked, _] = judge.asked
    assert (asked.heard, asked.labels, asked.question, asked.shots) == (heard, LABELS, prompts.CLASSIFY, ())
    assert silent.asked[0].labels == LABELS
    with pytest.raises(BadRequest):
        engine.score(heard, ["horn", "Horn"])


def test_a_question_with_labels_goes_through_the_same_step(tmp_path):
    judge = Fixed({"near": 0.9, "far": 0.1})
    engine = engine_with(None, judge)
    answer = engine.ask(engine.hear(tone_clip(430)), "Is it far?", labels=["near", "far"])
    assert judge.asked[0].question == "Is it far?" and answer.scores.opinions[1].judge == "fixed"
    assert answer.probabilities == answer.scores.probabilities and answer.probabilities["near"] > 0.7


def test_passes_are_averaged_in_logarithms(tmp_path):
    engine = tiny_engine(tmp_path)
    heard = engine.hear(tone_clip(430))
    shots = engine.neighbours(heard, 4)
    passes = [shots[::2], shots[1::2]]
    found = engine.score(heard, LABELS, shots, passes=passes).probabilities
    alone = [engine.classify(heard, LABELS, some) for some in passes]
    logs = [sum(math.log(p[label]) for p in alone) / 2 for label in LABELS]
    total = sum(map(math.exp, logs))
    assert list(found.values()) == pytest.approx([math.exp(log) / total for log in logs], abs=1e-5)


def test_weights_say_how_far_each_judge_is_believed_and_who_is_not_asked():
    judge, other = Fixed({"horn": 0.7, "hum": 0.2, "bell": 0.1}), Fixed({"horn": 0.1, "hum": 0.8, "bell": 0.1}, "other")
    script = Script()
    weights = JudgeWeights({LANGUAGE: 0.5, "other": 0.0}, {"other": 1.0})
    parts = FakeText(script), FakeEncoder(script), FakeClap(script)
    engine = Engine("fake", *parts, judges=[judge, other], weights=weights)
    scores = engine.score(engine.hear(tone_clip(430)), LABELS)
    assert [(said.judge, said.weight) for said in scores.opinions] == [(LANGUAGE, 0.5), ("fixed", 2.0)]
    assert scores.best == "horn" and not other.asked
    assert engine.with_calibration(engine.calibration).weights is weights


def test_who_has_no_weight_is_asked_only_where_nobody_else_answers():
    silent, judge = Fixed(None), Fixed({"horn": 0.7, "hum": 0.2, "bell": 0.1}, "last")
    script = Script()
    parts = FakeText(script), FakeEncoder(script), FakeClap(script)
    weights = JudgeWeights({LANGUAGE: 0.0, "last": 0.0, "fixed": 3.0})
    engine = Engine("fake", *parts, judges=[silent, judge], weights=weights)
    heard = engine.hear(tone_clip(430))
    assert [(said.judge, said.weight) for said in engine.score(heard, LABELS).opinions] == [
        (LANGUAGE, 1.0),
        ("last", 2.0),
    ]
    silent.said = judge.said
    assert [(said.judge, said.weight) for said in engine.score(heard, LABELS).opinions] == [("fixed", 6.0)]


def test_weights_below_nothing_are_refused():
    with pytest.raises(ValueError, match="below 0"):
        JudgeWeights({LANGUAGE: -1.0})
