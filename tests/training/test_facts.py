"""What samples ask of clips whose making says more of them, and how they decline where there is nothing to ask
about."""

from collections import Counter

import numpy as np
import pytest

from afcore import prompts
from afcore.corpus.clips import ClipInfo, ClipSet, write_clips
from afcore.corpus.describe import described_noises
from afcore.training.mini import facts, samples
from afcore.training.mini.samples import UNKNOWN, SampleMaker

EVERY = frozenset(("instrument", "family", "source", "tempo", "voice", "louder", "first", "count"))


def clip(label, *events, category="something else", maybe=(), **extra):
    return ClipInfo(
        label,
        label or " and ".join(events),
        category,
        list(events) or [label],
        list(maybe),
        f"p{label}",
        f"g{label}",
        "train",
        -1,
        extra,
    )


CLIPS = [
    clip("dog barking", fine="animals"),
    clip("rain", fine="nature"),
    clip("cat meowing", fine="animals"),
    clip("thunder", fine="nature"),
    clip("speech", category="speech", fine="speech", voice="woman", maybe=["female speech"]),
    clip(
        "trumpet",
        category="music",
        fine="music",
        instrument="trumpet",
        family="brass",
        source="acoustic",
        tempo="slow",
        maybe=["music"],
    ),
    clip(None, "dog barking", "rain", groups=["a", "b"], louder="dog barking", fainter="rain"),
    clip(None, "rain", "thunder", groups=["a", "b"], first="rain", then="thunder"),
    clip(None, "cat meowing", groups=["a"], count=3),
    clip("car horn", fine="vehicles", maybe=["narration"]),
]
WOMAN, TRUMPET, LOUD, ORDER, COUNTED, HORN = 4, 5, 6, 7, 8, 9


@pytest.fixture
def maker(tmp_path):
    write_clips(tmp_path, CLIPS, [np.zeros((1, 4), np.float32)] * len(CLIPS))
    return SampleMaker(ClipSet(tmp_path), np.arange(len(CLIPS)), np.array([[-1]] * len(CLIPS)))


def told(maker, number, draws=300):
    """{(question, answer, yes or no)} of the facts of a clip."""
    return {make()[:3] for _ in range(draws) for make in maker.facts(maker.clips[number])}


def test_facts_are_answered_as_they_were_made(maker, monkeypatch):
    monkeypatch.setattr(facts, "CARRIED", EVERY)

    def answers(number, questions):
        return {a for q, a, _ in told(maker, number) if q in questions}

    assert answers(WOMAN, facts.VOICE) == {"a woman"} and answers(WOMAN, facts.SPEAKING) == {"yes"}
    assert answers(TRUMPET, facts.INSTRUMENT) == {"trumpet"} and answers(TRUMPET, facts.FAMILY) == {"brass"}
    assert answers(TRUMPET, facts.SOURCE) == {"acoustic"} and answers(TRUMPET, facts.TEMPO) == {"slow"}
    assert answers(LOUD, ["which is louder, a dog barking or rain falling?"]) == {"dog barking"}
    assert answers(LOUD, ["which is louder, rain falling or a dog barking?"]) == {"dog barking"}, (
        "named in either order"
    )
    assert answers(ORDER, ["which comes first, rain falling or thunder?"]) == {"rain"}
    assert answers(COUNTED, ["how many times do you hear a cat meowing?"]) == {"three times"}
    offered = [options for _ in range(100) for make in maker.facts(maker.clips[TRUMPET]) if (options := make()[3])]
    assert offered and all(set(options) == set(facts.FAMILIES) for options in offered)


def test_only_what_the_encoder_carries_is_asked(maker, monkeypatch):
    monkeypatch.setattr(facts, "CARRIED", frozenset(["voice"]))
    assert {make()[1] for make in maker.missing(CLIPS[1])} <= {facts.NOBODY, "no"}, (
        "what is never answered is not refused either"
    )
    assert told(maker, WOMAN) and not any(told(maker, n) for n in (TRUMPET, LOUD, ORDER, COUNTED))
    asked = " ".join(maker.ask(n)[0] for n in (LOUD, ORDER) for _ in range(300)) + str(
        [make() for make in maker.missing(CLIPS[1])]
    )
    assert "louder" not in asked and "first" not in asked


def test_facts_are_a_share_of_the_questions(maker):
    wanted = {*facts.VOICE, *facts.SPEAKING}
    asked = [
        maker.ask(WOMAN)[0].removeprefix("please answer this question: ").split("\nOPTIONS")[0] for _ in range(2000)
    ]
    assert sum(q in wanted for q in asked) / 2000 == pytest.approx(samples.FACTS, abs=0.04)


def test_a_voice_or_instrument_that_is_not_there_is_declined(maker):
    def drawn(n):
        return {make()[1] for _ in range(200) for make in maker.missing(maker.clips[n])}

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
    assert set(maker.alike(CLIPS[LOUD].events)) == {"cat meowing", "thunder"}, "of the categories of what is there"
    assert "rain" not in maker.alike(clip(None, "running tap").events) and "thunder" not in maker.alike(
        clip(None, "explosion").events
    ), "too alike to be a no"
    near = (drawn["cat meowing"] + drawn["thunder"]) / 2000
    assert near == pytest.approx(facts.NEAR + (1 - facts.NEAR) * 2 / 6, abs=0.06)
    assert maker.alike(clip("x", "dog barking", "something unnamed").events) == (), (
        "not all that is there is known by name"
    )
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
    return next(
        (
            name
            for name, texts in (("kinds", samples.KINDS), ("makes", samples.MAKES), ("about", about))
            if asked in texts
        ),
        "missing",
    )


def test_clips_without_facts_are_asked_each_kind_of_question_in_its_share(maker):
    kinds = Counter()
    for _ in range(8000):
        question, answer, _, options = maker.ask(1)
        kinds[kind_of(question, answer, options)] += 1
    shares = {
        "classify": 0.18,
        "options": 0.20,
        "caption": 0.16,
        "unknown": 0.03,
        "about": 0.04,
        "present": 0.25,
        "kinds": 0.02,
        "makes": 0.10,
        "missing": 0.02,
    }
    assert kinds.keys() == shares.keys()
    assert all(
        kinds[kind] / 8000 == pytest.approx(share, abs=3.5 * (share / 8000) ** 0.5) for kind, share in shares.items()
    ), kinds


def test_dialogues_ask_for_the_second_sound_after_the_first(maker):
    maker.ids, maker.weights = np.array([LOUD]), np.array([1.0])
    pairs = set()
    for _ in range(400):
        text = "".join(t for t, _ in maker.dialogue().pieces)
        turns = [turn.split(" \nassistant: <SEP>") for turn in text.split("user: ")[1:]]
        said = [(q, a.split("<|endofchunk|>")[0]) for q, a in turns]
        for _k, (question, answer) in enumerate(said):
            if question.lower() in samples.ELSE:
                pairs.add((said[0][1], answer))
            if question.startswith(("Which of these", "Which one")):
                assert answer in ("dog barking", "rain") and maker.phrase(answer) in question and " or " in question
    assert pairs == {("dog barking", "rain"), ("rain", "dog barking")}


def test_the_name_of_an_event_alone_does_not_tell_whether_it_is_there(maker, monkeypatch):
    monkeypatch.setattr(samples, "NEAR", 0.0)
    said = {}
    for _ in range(6000):
        event, answer = maker.present(maker._draw(maker.ids, maker.weights))
        said.setdefault(event, []).append(answer == "yes")
    assert {"speech", "car horn", "dog barking"} <= said.keys()
    assert all(0.3 < np.mean(told) < 0.7 for told in said.values() if len(told) > 100), {
        k: np.mean(v) for k, v in said.items()
    }


def test_noise_and_silence_are_called_so_and_hold_nothing(tmp_path):
    empty = [
        ClipInfo(None, "", None, [], [], "noise", f"noise/{kind}", "train", -1, {"noise": kind})
        for kind in samples.EMPTY
    ]
    unclear = ClipInfo(None, "", None, [], [], "p", "g", "train")
    write_clips(tmp_path, CLIPS + empty + [unclear], [np.zeros((1, 4), np.float32)] * (len(CLIPS) + len(empty) + 1))
    maker = SampleMaker(
        ClipSet(tmp_path), np.arange(len(CLIPS) + len(empty)), np.array([[-1]] * (len(CLIPS) + len(empty)))
    )
    for number, kind in enumerate(samples.EMPTY, len(CLIPS)):
        assert {maker.ask(number)[1] for _ in range(200)} == {samples.EMPTY[kind], "no"}
    assert {maker.ask(len(CLIPS) + len(empty))[1] for _ in range(100)} == {samples.NOTHING}
    of_noise = [maker.of_noise(3) for _ in range(50)]
    assert all(made.sounds[-1] in maker.noise and not set(made.sounds[:-1]) & set(maker.noise) for made in of_noise)
    assert all(any(answer in made.answers[-1] for answer in samples.EMPTY.values()) for made in of_noise)


def test_noises_are_as_loud_as_a_file_that_was_normalised():
    made = list(described_noises(np.random.default_rng(0), 60))
    assert {info.extra["noise"] for info, _ in made} == set(samples.EMPTY) and all(not info.events for info, _ in made)
    for info, x in made:
        assert np.isfinite(x).all() and np.abs(x).max() == (0 if info.extra["noise"] == "silence" else 1)
