"""The page with the model card: the card itself, and its failure cases played and asked."""

import pytest
from pages_support import button, good, page, texts, visit

from afcore import paths
from afcore.evaluation import failures
from afcore.evaluation.failures import CaseSounds
from afcore.retrieval.bank import Bank
from afcore.teach import predict


@pytest.fixture
def card(app):
    """A browser session on the page."""
    return good(page(app, "model_card"))


@pytest.fixture
def cases():
    return failures.asked(failures.read())


def said(at) -> dict[str, int]:
    """How many cases it gets right and wrong now, and how many were not asked."""
    return {
        "right": len(at.success),
        "wrong": len(at.warning),
        "open": sum(c.value == "Not asked yet." for c in at.caption),
    }


def test_the_card_is_shown_with_its_table_and_about_leads_to_it(card):
    assert [title.value for title in card.title] == ["Model card"]
    text = texts(card)
    saved = [
        one for one in card.get("download_button") if one.proto.id.endswith(tuple(f"csv-card-{n}" for n in range(4)))
    ]
    assert len(saved) == 4 and {one.proto.label for one in saved} == {"CSV"}, "each chart's numbers can be saved"
    assert ", zero-shot |" in text and "(`docs/mini-card.md`)" in text and "](../" not in text
    good(page(card, "about"))
    assert any("model card" in link.proto.label for link in card.get("page_link"))


def test_every_case_can_be_played_and_nothing_is_claimed_before_it_is_asked(card, cases, engine):
    sounds = CaseSounds(Bank(paths.SHIPPED_BANK))
    assert len(card.get("audio")) == len(cases)
    assert said(card) == {"right": 0, "wrong": 0, "open": len(cases)} and not engine.prompts
    text = texts(card)
    for case in cases:
        assert case.in_words() in text and failures.WHY[case.kind] in text
    assert texts(card).count("of a sound that it met often") == sum(case.beside is not None for case in cases)
    assert "When the list was last written" not in text
    assert "classify this sound" not in text, "a person is asked in words for people"
    assert "Right would be" not in text and "To be heard" not in text, "the answer is hidden until one has guessed"
    for number in range(len(cases)):
        card.session_state[f"guessed-{number}"] = True
    text = texts(good(card.run()))
    for case in cases:
        assert f"Right would be: **{case.right}**" in text and sounds.labels(case)[0] in text
        assert f"When the list was last written, mini said: “{case.said}”" in text or not case.said
    rare = next(case for case in cases if case.beside is not None)
    assert f"of which its training had {rare.clips} clip" in text
    assert f"of which its training had {rare.beside.clips} clips" in text


def test_each_sound_has_its_own_ask(card, cases, engine):
    engine.script.answer = "I cannot tell ."
    [one] = [b for b in card.button if b.key == "ask-0"]
    good(one.click().run())
    assert said(card)["open"] == len(cases) - 1
    number = next(n for n, case in enumerate(failures.read()) if case.beside is not None)
    [one] = [b for b in card.button if b.key == f"ask-{number}"]
    good(one.click().run())
    assert said(card)["open"] == len(cases) - 3, "what stands beside it is asked with it"


def test_a_press_asks_the_model_of_now_and_what_it_gets_right_is_said(card, cases, engine, monkeypatch):
    engine.script.answer = "I cannot tell, yes ."
    good(button(card, "Ask mini about all of them").click().run())
    in_words = [case for case in cases if case.kind != failures.ALIKE]
    assert len(engine.prompts) == len(in_words)
    right = sum(case.is_right("I cannot tell, yes.") for case in in_words)
    assert 0 < right <= said(card)["right"] and said(card)["open"] == 0
    assert sum(said(card).values()) == len(cases)
    assert all(box.value.startswith(("Mended: it gets it right now: “", "Right: “")) for box in card.success)
    beside = {case.beside for case in cases}
    mended = sum(box.value.startswith("Mended") for box in card.success)
    listed = sum(case not in beside for case in cases)
    assert f"Of {listed} it gets **{listed - mended} wrong** now; {mended} are mended." in texts(card)

    before = said(card)
    other = good(page(visit(), "model_card"))
    assert said(other) == before, "what was said is kept for everybody"
    asked = len(engine.prompts)
    good(button(other, "Ask mini about all of them").click().run())
    assert len(engine.prompts) == asked
    monkeypatch.setattr(predict, "model_name", lambda engine: "mini with other weights")
    engine.script.answer = "A goat ."
    good(other.run())
    assert said(other)["open"] == len(cases)
    good(button(other, "Ask mini about all of them").click().run())
    assert said(other)["wrong"] > before["wrong"] and "A goat" in other.warning[-1].value


def test_a_failure_of_the_model_is_a_sentence_and_the_page_stays(card, cases, engine, monkeypatch):
    from afcore.engine.memory import OutOfMemory

    def full(*_, **__):
        raise OutOfMemory("The GPU has too little memory.")

    with monkeypatch.context() as patch:
        patch.setattr(engine, "hear", full)
        button(card, "Ask mini about all of them").click().run()
        assert not card.exception and [error.value for error in card.error] == ["The GPU has too little memory."]
        assert said(card)["open"] == len(cases) == len(card.get("audio"))
    good(button(card, "Ask mini about all of them").click().run())
    assert said(card)["open"] == 0
