"""What samples ask of clips whose making says more of them, and how they decline where there is nothing to ask about."""
from collections import Counter

import numpy as np
import pytest

from afcore import prompts
from afcore.training import facts, samples
from afcore.training.clips import ClipInfo, ClipSet, write_clips
from afcore.training.samples import UNKNOWN, SampleMaker

EVERY = frozenset(("instrument", "family", "source", "tempo", "voice", "louder", "first", "count"))


def clip(label, *events, category="something else", maybe=(), **extra):
    return ClipInfo(label, label or " and ".join(events), category, list(events) or [label], list(maybe), f"p{label}", f"g{label}", "train", -1, extra)


CLIPS = [clip("dog barking", fine="animals"), clip("rain", fine="nature"), clip("cat meowing", fine="animals"), clip("thunder", fine="nature"),
         clip("speech", category="speech", fine="speech", voice="woman", maybe=["female speech"]),
         clip("trumpet", category="music", fine="music", instrument="trumpet", family="brass", source="acoustic", tempo="slow", maybe=["music"]),
         clip(None, "dog barking", "rain", groups=["a", "b"], louder="dog barking", fainter="rain"),
         clip(None, "rain", "thunder", groups=["a", "b"], first="rain", then="thunder"), clip(None, "cat meowing", groups=["a"], count=3),
         clip("car horn", fine="vehicles", maybe=["narration"])]
WOMAN, TRUMPET, LOUD, ORDER, COUNTED, HORN = 4, 5, 6, 7, 8, 9


@pytest.fixture
def maker(tmp_path):
    write_clips(tmp_path, CLIPS, [np.zeros((1, 4), np.float32)] * len(CLIPS))
    return SampleMaker(ClipSet(tmp_path), np.arange(len(CLIPS)), np.array([[-1]] * len(CLIPS)), shots=0.0)


def told(maker, number, draws=300):
    """{(question, answer, yes or no)} of the facts of a clip."""
    return {make()[:3] for _ in range(draws) for make in maker.facts(maker.clips[number])}


def test_facts_are_answered_as_they_were_made(maker, monkeypatch):
    monkeypatch.setattr(facts, "CARRIED", EVERY)
    answers = lambda number, questions: {a for q, a, _ in told(maker, number) if q in questions}
    assert answers(WOMAN, facts.VOICE) == {"a woman"} and answers(WOMAN, facts.SPEAKING) == {"yes"}
    assert answers(TRUMPET, facts.INSTRUMENT) == {"trumpet"} and answers(TRUMPET, facts.FAMILY) == {"brass"}
    assert answers(TRUMPET, facts.SOURCE) == {"acoustic"} and answers(TRUMPET, facts.TEMPO) == {"slow"}
    assert answers(LOUD, ["which is louder, a dog barking or rain falling?"]) == {"dog barking"}
    assert answers(LOUD, ["which is louder, rain falling or a dog barking?"]) == {"dog barking"}, "named in either order"
    assert answers(ORDER, ["which comes first, rain falling or thunder?"]) == {"rain"}
    assert answers(COUNTED, ["how many times do you hear a cat meowing?"]) == {"three times"}
    offered = [options for _ in range(100) for make in maker.facts(maker.clips[TRUMPET]) if (options := make()[3])]
    assert offered and all(set(options) == set(facts.FAMILIES) for options in offered)


def test_only_what_the_encoder_carries_is_asked(maker, monkeypatch):
    monkeypatch.setattr(facts, "CARRIED", frozenset(["voice"]))
    assert {make()[1] for make in maker.missing(CLIPS[1])} <= {facts.NOBODY, "no"}, "what is never answered is not refused either"
    assert told(maker, WOMAN) and not any(told(maker, n) for n in (TRUMPET, LOUD, ORDER, COUNTED))
    asked = " ".join(maker.ask(n)[0] for n in (LOUD, ORDER) for _ in range(300)) + str([make() for make in maker.missing(CLIPS[1])])
    assert "louder" not in asked and "first" not in asked


def test_facts_are_a_share_of_the_questions(maker):
    wanted = {*facts.VOICE, *facts.SPEAKING}
    asked = [maker.ask(WOMAN)[0].removeprefix("please answer this question: ").split("\nOPTIONS")[0] for _ in range(2000)]
    assert sum(q in wanted for q in asked) / 2000 == pytest.approx(samples.FACTS, abs=0.04)


def test_a_voice_or_instrument_that_is_not_there_is_declined(maker):
    drawn = lambda n: {make()[1] for _ in range(200) for make in maker.missing(maker.clips[n])}
    assert drawn(1) == {facts.NOBODY, "no", facts.NO_INSTRUMENT}
    assert drawn(WOMAN) == {facts.NO_INSTRUMENT}, "someone speaks"
    assert drawn(TRUMPET) == set()
    assert facts.NOBODY not in drawn(HORN) and "no" not in drawn(HORN), "the teacher may hear a voice"


def test_a_sound_that_is_not_there_is_not_compared(maker, monkeypatch):
    monkeypatch.setattr(facts, "CARRIED", EVERY)
    for _ in range(100):
        question, answer, _, _ = maker._compared(CLIPS[LOUD], facts.LOUDER)
        gone = answer.removeprefix("i cannot hear ").rstrip(".")
        assert answer.startswith("i cannot hear ") and gone in question
        assert gone not in ("a dog barking", "rain falling")


def test_absent_sounds_are_often_near_misses_and_never_there(maker):
    drawn = Counter(maker.absent(CLIPS[LOUD]) for _ in range(2000))
    assert not {"dog barking", "rain"} & drawn.keys()
    assert set(maker.alike(CLIPS[LOUD])) == {"cat meowing", "thunder"}, "of the categories of what is there"
    assert "rain" not in maker.alike(clip(None, "running tap")) and "thunder" not in maker.alike(clip(None, "explosion")), "too alike to be a no"
    near = (drawn["cat meowing"] + drawn["thunder"]) / 2000
    assert near == pytest.approx(facts.NEAR + (1 - facts.NEAR) * 2 / 6, abs=0.06)
    assert maker.alike(clip("x", "dog barking", "something unnamed")) == (), "not all that is there is known by name"
    said = Counter(maker.present(LOUD)[1] for _ in range(1000))
    assert said["yes"] == pytest.approx(500, abs=60)


def kind_of(question, answer, options):
    if question == prompts.CLASSIFY:
        return "options" if options else "classify"
    if question == prompts.CAPTION:
        return "caption"
    if answer == UNKNOWN:
        return "unknown"
    asked = question.removeprefix("please answer this question: ").split("\nOPTIONS")[0]
    if answer in ("yes", "no") and asked not in facts.SPEAKING:
        return "present"
    about = {q for _, questions in samples.ABOUT.values() for q in questions}
    return next((name for name, texts in (("kinds", samples.KINDS), ("makes", samples.MAKES), ("about", about)) if asked in texts), "missing")


def test_clips_without_facts_are_asked_each_kind_of_question_in_its_share(maker):
    kinds = Counter()
    for _ in range(8000):
        question, answer, _, options = maker.ask(1)
        kinds[kind_of(question, answer, options)] += 1
    shares = {"classify": 0.36, "options": 0.15, "caption": 0.15, "unknown": 0.03, "about": 0.04, "present": 0.13, "kinds": 0.03,
              "makes": 0.09, "missing": 0.02}
    assert kinds.keys() == shares.keys()
    assert all(kinds[kind] / 8000 == pytest.approx(share, abs=3.5 * (share / 8000) ** 0.5) for kind, share in shares.items()), kinds


def test_dialogues_ask_for_the_second_sound_after_the_first(maker):
    maker.ids, maker.weights = np.array([LOUD]), np.array([1.0])
    pairs = set()
    for _ in range(400):
        text = "".join(t for t, _ in maker.dialogue().pieces)
        turns = [turn.split(" \nassistant: <SEP>") for turn in text.split("user: ")[1:]]
        said = [(q, a.split("<|endofchunk|>")[0]) for q, a in turns]
        for k, (question, answer) in enumerate(said):
            if question.lower() in samples.ELSE:
                pairs.add((said[0][1], answer))
            if question.startswith(("Which of these", "Which one")):
                assert answer in ("dog barking", "rain") and maker.phrase(answer) in question and " or " in question
    assert pairs == {("dog barking", "rain"), ("rain", "dog barking")}
