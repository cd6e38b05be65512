"""Mini's questions and answers: true of the clip, worded in many ways, without what is held out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from afcore import evaluation, prompts
from afcore.corpus.held_out import left_out_classes, says_left_out
from afcore.encoders.mini import EMBEDDING, TAGS
from afcore.knowledge.table import by_name, table
from afcore.knowledge.truth import NOTHING, Truth, truth_of
from afcore.training.mini import talk, wordings
from afcore.training.mini.answers import Speaker
from afcore.training.mini.talk import ChangedClip, changes, read_sentences, spoken_classes, trained, truth_of_clip
from afcore.training.mini.talk_source import with_changes

ANSWERS = (
    "what source kinds where in_or_out attention mistaken sight alt title tags speech_or_music confidence order count "
    "loud"
).split()


def truth(*names: str, sure: bool = True) -> Truth:
    events = tuple(by_name()[name] for name in names)
    return Truth(events, sure, frozenset(event.index for event in events))


@pytest.mark.parametrize("kind", ANSWERS)
@pytest.mark.parametrize(
    "said", [truth("Bark"), truth("Bark", "Rain"), truth("Cat", sure=False), truth("Rain", "Piano", "Siren"), NOTHING]
)
def test_every_answer_is_a_sentence_without_a_gap(kind, said):
    for seed in range(12):
        answer = getattr(Speaker(np.random.default_rng(seed)), kind)(said)
        assert (answer and answer[0].isupper()) or kind == "tags"
        assert "{" not in answer and "  " not in answer and ".." not in answer
        assert answer.endswith(".") or kind in ("title", "tags")


def test_a_caption_names_each_event_once_and_says_what_is_behind():
    for seed in range(30):
        caption = Speaker(np.random.default_rng(seed)).caption(truth("Bark", "Rain"), behind=True)
        assert caption.count("rain") == 1 and caption.count("dog") == 1 and "in the background" in caption


def test_a_guess_is_said_as_one():
    speaker = Speaker(np.random.default_rng(0))
    said = speaker.what(truth("Cat", sure=False))
    assert "may be" in said or "Perhaps" in said
    assert "Yes" not in speaker.confidence(truth("Cat", sure=False))


def test_which_animal_it_is_or_that_it_is_none():
    speaker = Speaker(np.random.default_rng(0))
    assert "dog" in speaker.which("animal", truth("Bark")).lower()
    assert "no animal" in speaker.which("animal", truth("Rain"))
    assert "cannot tell which" in speaker.which("animal", truth("Animal"))


def test_what_no_sound_tells_is_declined_with_what_is_heard():
    for seed in range(10):
        assert "barking dog" in Speaker(np.random.default_rng(seed)).declined("the price of the dog", truth("Bark"))


@pytest.mark.parametrize("kind", wordings.wordings())
def test_there_are_many_wordings_of_each_kind(kind):
    lines = wordings.wordings()[kind]
    assert len(lines) == len(set(lines)) >= 6
    rng = np.random.default_rng(0)
    about = {"is_there": 1, "any_of": 1, "which_of": 1, "unknown": 2}.get(kind, 0)
    asked = {wordings.question(kind, rng, *["a dog", "dog"][:about]) for _ in range(60)}
    assert len(asked) > 8
    assert not any("{" in text for text in asked)


def test_no_training_wording_is_one_of_the_questions_set_aside():
    """Answers to questions that nobody trained on tell whether mini understands or remembers."""
    found = json.loads((Path(evaluation.__file__).parent / "questions.json").read_text(encoding="utf-8"))
    aside = {plain(text) for texts in found.values() for text in texts}
    same = aside & {plain(line) for lines in wordings.wordings().values() for line in lines}
    assert len(same) <= 0.15 * len(aside), sorted(same)  # by chance: "what is this" is asked by everybody


def plain(text: str) -> str:
    return text.lower().strip(" ?.!")


@pytest.mark.parametrize("form", ["", "shots", "dialogues"])
def test_samples_follow_from_their_number_and_name_nothing_that_is_held_out(maker, form):
    for seed in range(60):
        sample = maker.draw(form, np.random.default_rng(seed))
        assert sample == maker.draw(form, np.random.default_rng(seed))
        assert not says_left_out(sample.text)
        assert sample.text.count("<audio>") == len(sample.sounds)
        assert all(
            answer.endswith("<|endofchunk|><|im_end|>") or "<|endofchunk|>" in answer for answer in sample.answers
        )
        assert all(isinstance(sound, ChangedClip) for sound in sample.sounds)


def test_what_is_held_out_or_set_aside_is_never_drawn(clips, maker):
    assert all(clips[int(i)].split == "train" for i in trained(clips))
    whip = [i for i in range(len(clips)) if [by_name()["Whip"].index, 0.9] in clips[i].extra["tags"]]
    assert whip and whip[0] not in trained(clips)
    drawn = {s.clip for n in range(200) for s in maker.draw("", np.random.default_rng(n)).sounds}
    assert not drawn & {*whip, len(clips) - 1}
    assert not {s.name for s in spoken_classes()} & left_out_classes()


def test_answers_are_true_of_the_sound_that_is_heard(clips, maker):
    """With a changed class, the answer follows the changed features."""
    checked = 0
    for seed in range(300):
        maker.rng = np.random.default_rng(seed)
        about = maker.about()
        if not about.truth.events or not about.truth.sure:
            continue
        heard = with_changes(clips.of(about.sound.clip).astype(np.float32), about.sound, EMBEDDING)[0]
        for event in about.truth.events:
            assert heard[EMBEDDING + event.index] > 1, (event.name, about.sound)
        assert bool(about.sound.changes) == (not heard[:EMBEDDING].any())
        checked += bool(about.sound.changes)
    assert checked > 50


def test_a_changed_class_takes_what_stands_above_it_along():
    dog, piano = by_name()["Bark"], by_name()["Piano"]
    pairs = dict(changes(dog, piano))
    assert pairs[piano.index] == dog.index and pairs[dog.index] == piano.index
    assert by_name()["Music"].index in pairs and by_name()["Animal"].index in pairs


def test_yes_and_no_are_answered_by_what_is_there(maker):
    for seed in range(200):
        maker.rng = np.random.default_rng(seed)
        about = maker.about()
        asked, answer = maker.turn("is_there", about)
        if answer.startswith("Yes"):
            assert about.truth.events
        if answer.startswith("No") and about.truth.sure:
            nouns = [event.noun for event in about.truth.events]
            assert not any(f" {noun}?" in asked for noun in nouns), (asked, answer)


def test_each_kind_of_question_can_be_asked_of_any_clip(maker):
    kinds = [kind for kind in talk.KIND_OF_QUESTION if kind != "classify"]
    for clip in (*maker.ids[:8], *maker.noise, *maker.nameless):
        maker.rng = np.random.default_rng(int(clip))
        about = maker.about(int(clip))
        for kind in kinds:
            asked, answer = maker.turn(kind, about)
            assert asked.strip() and answer.strip()
            prompts.chat((), asked)


def test_shots_with_captions_stand_before_any_question(maker):
    found = [maker.draw("shots", np.random.default_rng(n)).text for n in range(80)]
    assert any(prompts.CAPTION in text and "please answer this question" in text for text in found)
    assert any("classify this sound." in text for text in found)


def test_a_caption_is_seldom_one_that_its_shots_show(maker):
    clip = maker.by_label[maker.labels[0]][0]
    maker.rng = np.random.default_rng(0)
    shown = [maker.truths[clip].main.phrases[0]]
    same = [sum(maker.caption_apart(clip, told) == shown[0] for _ in range(60)) for told in (shown, [])]
    assert same[0] < 10 and same[1] > 30


def test_peoples_sentences_are_read_by_what_they_name(tmp_path):
    file = tmp_path / "sentences.jsonl"
    rows = (
        ("a dog barks loudly", ["Bark"], "one"),
        ("rain falls as a dog barks in the background", ["Rain", "Bark"], "background"),
        ("a dog barks, then it rains", ["Bark", "Rain"], "then"),
        ("a whip cracks", ["Whip"], "one"),
    )
    file.write_text("".join(json.dumps({"sentence": s, "classes": c, "relation": r}) + "\n" for s, c, r in rows))
    assert read_sentences(file) == {
        (frozenset({"Bark"}), False): ["a dog barks loudly"],
        (frozenset({"Rain", "Bark"}), True): ["rain falls as a dog barks in the background"],
    }
    assert read_sentences(None) == {}


def test_the_truth_of_a_blend_is_that_of_its_parts(clips):
    blend = next(i for i in range(len(clips)) if "parts" in clips[i].extra)
    assert {e.name for e in truth_of_clip(clips[blend]).events} == {"Bark", "Rain"}


def test_every_class_can_be_spoken_of():
    for sound in table():
        assert Speaker(np.random.default_rng(sound.index)).where(truth(sound.name)).endswith(".")


def test_what_the_features_do_not_say_is_neither_told_nor_denied():
    bark, rain, horn = (by_name()[name].index for name in ("Bark", "Rain", "Vehicle horn, car horn, honking"))
    features = np.full((1, EMBEDDING + TAGS), -9.0)
    features[0, EMBEDDING + np.array([bark, horn])] = 3.0
    extra = talk.readable({"tags": [(bark, 0.8), (rain, 0.9)], "classes": [rain]}, features)
    truth = truth_of(dict(extra["tags"]), extra["classes"])
    assert [event.name for event in truth.events] == ["Bark"]
    assert truth.has(by_name()["Rain"]) is None, "the teacher hears it, the student does not"
    assert truth.has(by_name()["Vehicle horn, car horn, honking"]) is None, "and the other way round"
    assert truth.has(by_name()["Piano"]) is False
