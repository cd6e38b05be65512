"""Answers that are judged in training: asked of training clips in training wordings, worth what is true of the clip."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_models import Letters, build

from afcore import prompts
from afcore.corpus.held_out import says_left_out
from afcore.errors import BadRequest
from afcore.evaluation.grading import GRADERS, Question, side_of
from afcore.evaluation.questions import read
from afcore.knowledge.table import by_name
from afcore.knowledge.truth import Truth
from afcore.training.mini import choices, rewards
from afcore.training.mini.rewards import Asked, Examiner, Rewards, advantages, batch_of, judged_by, worth
from afcore.training.mini.shots import INVENTED
from afcore.training.mini.talk import Talk


def known(*names: str, maybe: tuple[str, ...] = ()) -> Truth:
    events = tuple(by_name()[name] for name in names)
    return Truth(events, True, frozenset(by_name()[name].index for name in (*names, *maybe)))


def asked_about(kind: str, text: str, *names: str, **more) -> Question:
    return Question(kind, text, judged_by(known(*names), None), **more)


def test_questions_of_every_kind_come_from_training_alone(clips, maker):
    examiner, aside = Examiner(maker), {text for texts in read().values() for text in texts}
    drawn_ones = [examiner.draw(np.random.default_rng(n)) for n in range(600)]
    kinds = {one.question.kind for one in drawn_ones}
    assert kinds <= GRADERS.keys() and len(kinds) >= 17, kinds
    allowed = set(maker.truths)
    assert all(sound.clip in allowed for one in drawn_ones for sound in one.sounds)
    assert not any(says_left_out(one.prompt.text) for one in drawn_ones)
    assert sum(one.question.text in aside for one in drawn_ones) < 12, "by chance, as `What is this?`"
    assert all(one.prompt.text.count("<audio>") == len(one.sounds) for one in drawn_ones)
    again = examiner.draw(np.random.default_rng(7))
    assert again == examiner.draw(np.random.default_rng(7)) and again != examiner.draw(np.random.default_rng(8))
    things = [one.question for one in drawn_ones if one.question.kind == "is_there"]
    there = sum(one.thing in one.truth.heard for one in things) / len(things)
    assert 0.3 < there < 0.7


@pytest.mark.parametrize(
    "kind, names, said, value",
    [
        ("what", ("Bark",), "I hear a dog barking.", 1.0),
        ("what", ("Bark",), "I hear a piano.", 0.0),
        ("what", ("Bark", "Rain"), "I hear a dog barking.", 0.75),  # half of what is heard
        ("what", ("Bark", "Rain"), "I hear a dog barking and rain falling.", 1.0),
        ("what", ("Bark",), "I hear a dog barking and a piano.", 0.3),
        ("what", ("Bark",), "", 0.0),
        ("source", ("Bark", "Rain"), "A dog.", 1.0),  # nobody asked for all
    ],
)
def test_an_answer_is_worth_what_is_true_in_it(kind, names, said, value):
    assert worth(asked_about(kind, "?", *names), said) == pytest.approx(value)


def test_a_caption_of_an_example_is_worth_nothing():
    asked = asked_about("caption", "?", "Bark")
    assert worth(asked, "A dog barks.", ["rain falls"]) == 1 and worth(asked, "A dog barks.", ["a dog barks"]) == 0


def test_neither_side_nor_nothing_else_is_right_as_a_rule(maker):
    examiner = Examiner(maker)
    asked = [examiner.draw(np.random.default_rng(n)).question for n in range(1500)]
    sides = [side_of(one.truth) for one in asked if one.kind == "in_or_out"]
    else_ = [worth(one, "Nothing else that I can make out.") for one in asked if one.kind == "what_else"]
    assert 0.3 < sides.count("indoors") / len(sides) < 0.7
    assert 0.3 < sum(else_) / len(else_) < 0.75


def test_what_may_be_heard_is_neither_true_nor_false():
    truth = judged_by(known("Bark", maybe=("Rain",)), "dog barking")
    assert "Bark" in truth.heard and "Rain" in truth.open and truth.absent("Piano") and truth.label == "dog barking"


def test_advantages_are_against_the_mean_of_the_others():
    assert advantages(np.array([1.0, 0, 0, 0])) == pytest.approx([1, -1 / 3, -1 / 3, -1 / 3])
    assert not advantages(np.array([0.3] * 4)).any()


def test_right_answers_become_likelier(monkeypatch):
    """Of a tiny model whose answers are right where they begin with one token: after a few steps most do."""
    model = build("llama")
    width = model.config.feature_width
    good = 11
    monkeypatch.setattr(rewards, "worth", lambda asked, said, shown: float(said.split(" ")[:1] == [str(good)]))
    monkeypatch.setattr(rewards, "LONGEST", 2)
    loss = Rewards(model.config, questions=2, draws=24)
    loss.tokenizer, loss.ends, loss.eoc = Letters(), {2}, 2
    ask = Asked(prompts.single("what?", prompts.QUESTION_ANSWERING), (), asked_about("what", "what?", "Bark"))
    loss.examiner = SimpleNamespace(draw=lambda rng: ask)
    ids = torch.tensor([[5, model.config.audio_token_id, 6, 7]])
    inputs = {"input_ids": ids, "audio_embeds": torch.zeros(1, loss.slots, width)}
    inputs["audio_mask"] = torch.ones(1, loss.slots, dtype=torch.bool)
    monkeypatch.setattr(loss, "inputs", lambda *_: inputs)
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    shares = []
    for step in range(40):
        optimiser.zero_grad()
        loss(model, np.random.default_rng(step)).backward()
        optimiser.step()
        shares.append(loss.seen().get("worth", 0.0))
    assert np.mean(shares[:5]) < 0.3 and np.mean(shares[-5:]) > 0.8, shares
    assert loss.seen() == {} and loss.look(model) == {} and not loss.trains("anything")


def test_labels_are_offered_by_name_or_by_examples(clips, maker):
    beside = Talk(clips, maker.ids, np.tile(np.arange(28).reshape(7, 4).T.reshape(1, -1), (len(clips), 1)), {}, seed=1)
    drawn_ones = [choices.draw(beside, np.random.default_rng(n)) for n in range(300)]
    assert all(len(set(one.options)) == len(one.options) > 1 for one in drawn_ones)
    shown = [one for one in drawn_ones if len(one.sounds) > 1]
    assert 20 < len(shown) < 200 and all(one.options[0] in one.prompt.text for one in shown)
    invented = [one for one in shown if one.options[0] in INVENTED]
    assert invented and len(invented) < len(shown) and all(set(one.options) <= set(INVENTED) for one in invented)
    assert draw_again(beside) == draw_again(beside)


def draw_again(talk):
    return choices.draw(talk, np.random.default_rng(3))


def test_the_right_label_becomes_the_likeliest(monkeypatch):
    model = build("llama")
    loss = Rewards(model.config, questions=0, labels=2)
    loss.tokenizer, loss.ends, loss.eoc = Letters(), {2}, 2
    loss.examiner = SimpleNamespace(talk=None)
    prompt = prompts.single(prompts.CLASSIFY, prompts.task_of(prompts.CLASSIFY))
    monkeypatch.setattr(choices, "draw", lambda *_: choices.Choice(prompt, (), ("rain", "dog", "a long name")))
    ids = torch.tensor([[5, model.config.audio_token_id, 6, 7]])
    inputs = {"input_ids": ids, "audio_embeds": torch.zeros(1, loss.slots, model.config.feature_width)}
    inputs["audio_mask"] = torch.ones(1, loss.slots, dtype=torch.bool)
    monkeypatch.setattr(loss, "inputs", lambda *_: inputs)
    optimiser, values = torch.optim.Adam(model.parameters(), 0.003), []
    for step in range(12):
        optimiser.zero_grad()
        value = loss(model, np.random.default_rng(step))
        value.backward()
        optimiser.step()
        values.append(float(value.detach()))
    assert values[-1] < 0.2 * rewards.CHOICES < values[0] and loss.seen()["found"] > 0.5


def test_what_follows_a_prompt_is_padded_on_the_right():
    def inputs(length, windows):
        return {
            "input_ids": torch.arange(1, length + 1)[None],
            "audio_embeds": torch.ones(1, windows, 3),
            "audio_mask": torch.ones(1, windows, dtype=torch.bool),
        }

    batch = batch_of([(inputs(3, 2), (8, 9)), (inputs(4, 4), (7,))])
    assert batch["input_ids"].tolist() == [[1, 2, 3, 8, 9], [1, 2, 3, 4, 7]]
    assert batch["labels"].tolist() == [[-100, -100, -100, 8, 9], [-100, -100, -100, -100, 7]]
    assert batch["audio_mask"].tolist() == [[True, True, False, False], [True] * 4]


def test_it_wants_clips_that_are_spoken_about():
    loss = Rewards(SimpleNamespace(max_windows_per_audio=16))
    with pytest.raises(BadRequest, match="spoken about"):
        loss.prepare(None, Letters(), SimpleNamespace())
