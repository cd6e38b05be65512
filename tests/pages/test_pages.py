"""The pages, driven by Streamlit's AppTest over an engine whose answers are made up; everything else is real."""

import threading
import time
import tomllib

import numpy as np
import pytest
import streamlit as st
from media import chirps, encode
from pages_support import (
    LABELS,
    RATE,
    ROOT,
    ask,
    button,
    chat_texts,
    example,
    figures,
    good,
    page,
    session,
    shot_boxes,
    slider,
    texts,
    upload,
    visit,
)
from streamlit.testing.v1 import AppTest

from afcore.app import plots
from afcore.app.session import BrowserSession
from afcore.app.session_file import pack
from afcore.audio.recording import MAX_SECONDS
from afcore.engine.loading import MODELS
from afcore.errors import MissingPart
from afcore.jobs import UNEXPECTED, Job
from pages import common
from pages.teach_common import store


def test_first_visit_offers_examples_and_says_where_audio_goes(app):
    assert {b.label for b in app.button} >= {"Dog", "Rain", "Bell"}
    assert "stays on this server" in texts(app) and "mini" in texts(app) and "No sound yet" in texts(app)
    assert figures(app) == 0


def test_one_click_gives_windows_tags_and_a_caption(app, engine):
    example(app)
    assert engine.answer.removesuffix(" .") in texts(app)
    assert figures(app) == 3  # waveform, spectrogram, tags
    assert "dog.ogg" in texts(app) and "one window" in texts(app)
    assert [prompt.text.count("<audio>") for prompt, _ in engine.prompts] == [1]
    assert [code.value for code in app.code] == [engine.prompts[0][0].text]


def test_uploads_of_every_kind_are_heard(app):
    sound = chirps(2.0, 48_000)
    for name, data in {
        "a.flac": encode(sound, 48_000, "flac", "flac"),
        "a.mp3": encode(sound, 48_000, "mp3", "libmp3lame"),
        "a.webm": encode(sound, 48_000, "webm", "libopus", video=True),
    }.items():
        good(upload(app, data, name))
        assert session(app).recording.name == name and name in texts(app)


@pytest.mark.parametrize(
    "name, data",
    [
        ("empty.wav", b""),
        ("noise.mp3", bytes(range(256)) * 40),
        ("paper.wav", b"%PDF-1.7\n1 0 obj\n<< >>\nendobj\n%%EOF\n"),
        ("cut.ogg", b"OggS" + b"\0" * 60),
        ("nan.wav", encode(np.full(4000, np.nan, np.float32), RATE)),
    ],
)
def test_what_cannot_be_read_is_refused_in_a_sentence_and_the_session_goes_on(app, name, data):
    upload(app, data, name)
    assert not app.exception
    [error] = app.error
    assert name in error.value and error.value.count("\n") == 0 and "Traceback" not in error.value
    assert session(app).recording is None
    example(app)
    assert session(app).recording is not None


@pytest.mark.parametrize(
    "samples, rate, words",
    [
        (np.full(80, 0.1, np.float32), 8000, "short"),
        (np.zeros(RATE, np.float32), RATE, "silent"),
        (np.tile(chirps(1.0, RATE), (8, 1)), RATE, "channels"),
        (chirps(1.0, 4000), 4000, "kHz"),
        (chirps(0.5, 192_000), 192_000, "kHz"),
    ],
)
def test_what_is_unusual_is_answered_with_a_notice(app, samples, rate, words):
    good(upload(app, encode(samples, rate)))
    assert any(words in info.value for info in app.info)
    assert session(app).jobs["caption"].text


def test_channels_can_be_chosen_and_silence_is_nothing_to_hear(app):
    good(upload(app, encode(np.stack([np.zeros(RATE), chirps(1, RATE)]), RATE)))
    assert any("the mix of its 2 channels is heard" in info.value for info in app.info)
    good(app.selectbox(key=session(app).key("channels")).set_value("one").run())
    assert any("which is the one heard, is silent" in info.value for info in app.info)
    assert session(app).jobs["caption"].text == "There is nothing to hear." and session(app).clip.silent
    for name in ("chat", "retrieve"):
        good(page(app, name))
        assert any("which is the one heard, is silent" in info.value for info in app.info)


def test_a_long_sound_shows_what_is_not_heard_and_lets_you_choose(app):
    good(upload(app, encode(chirps(50.0, 8000), 8000)))
    assert session(app).clip.duration == pytest.approx(MAX_SECONDS, abs=0.01)
    [slider] = app.slider
    assert slider.max == pytest.approx(50.0 - MAX_SECONDS, abs=0.26)
    good(slider.set_value(10.0).run())
    assert session(app).clip.start == 10.0
    assert any("Only 10 s to 43.25 s of 50 s is heard." in info.value for info in app.info)
    good(page(app, "about"))
    good(page(app, "listen"))
    assert session(app).clip.start == 10.0 and app.slider[0].value == 10.0


def test_pages_without_a_sound_offer_one_and_the_chat_does_without(app, engine):
    for name in ("retrieve", "chat"):
        good(page(app, name))
        assert "First, a sound" in [heading.value for heading in app.header]
    ask(app, "Who are you?")
    ask(app, "Who am I?")
    prompt, _ = engine.prompts[-1]
    assert "<audio>" not in prompt.text and prompt.text.count("user:") == 2 and prompt.audios == ()
    assert len(chat_texts(app)) == 4 and "was not trained on that" in texts(app)
    good(button(app, "Rain").click().run())
    assert "Rain" in session(app).recording.name.capitalize() and app.chat_input and chat_texts(app) == []
    [alone] = [toggle for toggle in app.toggle if toggle.label == "Without the sound"]
    good(alone.set_value(True).run())
    assert len(chat_texts(app)) == 4 and not session(app).turns


def test_neighbours_are_unticked_pinned_and_added(app, engine):
    example(app)
    good(page(app, "retrieve"))
    assert len(shot_boxes(app)) == 4 and len(session(app).shots()) == 4
    similarities = [shot.similarity for shot in session(app).shots()]
    assert similarities == sorted(similarities)  # nearest last
    good(shot_boxes(app)[0].uncheck().run())
    assert len(session(app).shots()) == 3

    kept = session(app).choices[3].id
    good([b for b in app.button if b.label == "Pin"][3].click().run())
    good(slider(app, "How many examples").set_value(2).run())
    assert kept in [choice.id for choice in session(app).choices] and len(session(app).choices) == 2

    good(app.text_input(key="search").set_value("bell").run())
    fresh = button(app, "Add")
    added = int(fresh.key.split("-")[1])
    good(fresh.click().run())
    assert session(app).choices[0].id == added and session(app).choices[0].pinned and session(app).k == 3
    good(page(app, "about"))
    good(page(app, "retrieve"))
    assert {added, kept} <= {choice.id for choice in session(app).choices}


def test_the_prompt_that_is_shown_is_the_prompt_that_is_sent(app, engine):
    example(app)
    good(page(app, "retrieve"))
    good(app.text_input(key=session(app).key("question")).set_value("what animal is this?").run())
    [shown] = [code.value for code in app.code]
    assert shown.count("<audio>") == 5
    good(button(app, "Compare").click().run())
    assert engine.prompts[-2][0].text == shown


def test_one_question_three_answers(app, engine):
    example(app)
    good(page(app, "retrieve"))
    good(app.text_input(key=session(app).key("labels")).set_value("dog, rain; bell").run())
    good(button(app, "Compare").click().run())
    without, these, mixed = (answer for answer in session(app).jobs["compare"].items)
    assert (len(without.shots), len(these.shots), len(mixed.shots)) == (0, 4, 4)
    assert [s.example.sha256 for s in these.shots] == [s.example.sha256 for s in mixed.shots]
    assert set(these.probabilities) == set(LABELS) and figures(app) == 1
    count = len(engine.prompts)
    good(page(app, "about"))
    good(page(app, "retrieve"))
    assert figures(app) == 1 and len(engine.prompts) == count  # shown again, not asked again


def test_the_map_is_drawn_once_it_is_opened(app, monkeypatch):
    drawn, draw = [], plots.neighbours
    monkeypatch.setattr(plots, "neighbours", lambda *a: drawn.append(a) or draw(*a))
    example(app)
    good(page(app, "retrieve"))
    assert figures(app) == 0 and not drawn
    app.session_state["map-box"] = True
    good(app.run())
    assert figures(app) == 1 and [len(shots) for _, _, _, shots in drawn] == [4]


def test_one_label_is_too_few(app):
    example(app)
    good(page(app, "retrieve"))
    app.text_input(key=session(app).key("labels")).set_value("dog").run()
    assert not app.exception and "two labels" in app.error[0].value


def test_a_chat_has_turns_settings_shots_and_ends(app, engine):
    example(app)
    good(page(app, "chat"))
    ask(app, "What is it?")
    good(slider(app, "Temperature").set_value(0.7).run())
    good(slider(app, "Longest answer").set_value(8).run())
    ask(app, "How often?")
    answer = engine.answer.replace(" .", ".")
    assert chat_texts(app) == ["What is it?", answer, "How often?", answer]
    assert not any("Stopped" in caption.value for caption in app.caption), (
        "the next question stops no answer that is whole"
    )
    assert not any("stopped" in turn.as_dict() for turn in session(app).turns)
    prompt, settings = engine.prompts[-1]
    assert "user: What is it?" in prompt.text and "user: How often?" in prompt.text
    assert settings.temperature == 0.7 and settings.max_new_tokens == 8
    assert [code.value for code in app.code] == [prompt.text]

    good(page(app, "listen"))
    good(page(app, "chat"))
    assert len(chat_texts(app)) == 4
    assert slider(app, "Temperature").value == 0.7

    good(app.toggle[0].set_value(True).run())
    ask(app, "And now?")
    assert engine.prompts[-1][0].text.count("<audio>") == 5
    assert len(session(app).turns[-1].as_dict()["shots"]) == 4
    good(button(app, "Clear").click().run())
    assert chat_texts(app) == [] and session(app).turns == []


def test_a_thumb_on_any_answer_is_kept_with_its_exact_prompt(app, engine):
    common.feedback().clear()
    example(app)
    good(page(app, "chat"))
    ask(app, "What is it?")
    [thumb] = app.feedback
    good(thumb.set_value(0).run())
    [kept] = common.feedback().all()
    assert (kept.thumb, kept.question, kept.answer) == ("down", "What is it?", engine.answer.replace(" .", "."))
    assert kept.prompt == engine.prompts[-1][0].text and kept.sha256 == session(app).recording.sha256
    ask(app, "And now?")
    assert [thumb.value for thumb in app.feedback] == [0, None], "each answer has its own"

    good(page(app, "retrieve"))
    good(button(app, "Compare").click().run())
    assert session(app).jobs["compare"].wait(30)
    good(app.run())
    assert len(app.feedback) == 3
    good(app.feedback[1].set_value(1).run())
    good(page(app, "shelf"))
    good(button(app, "Describe 1 sound").click().run())
    assert session(app).jobs["shelf"].wait(30)
    good(app.run())
    good(app.feedback[0].set_value(1).run())
    told = [(one.thumb, one.prompt.count("<audio>")) for one in common.feedback().all()]
    assert told == [("down", 1), ("up", 5), ("up", 1)]


def test_each_sound_has_its_own_chat(app):
    example(app, "Dog")
    good(page(app, "chat"))
    ask(app, "What is it?")
    good(page(app, "listen"))
    example(app, "Rain")
    good(page(app, "chat"))
    assert chat_texts(app) == []
    good(page(app, "listen"))
    example(app, "Dog")
    good(page(app, "chat"))
    assert chat_texts(app)[0] == "What is it?"


def test_switching_pages_in_mid_answer_loses_nothing(app, engine, monkeypatch):
    example(app)
    good(page(app, "chat"))
    heard = session(app).jobs["hear"].result
    go = threading.Event()

    def slow(heard, prompt, settings=None, stop=None, timings=None):
        yield "first half"
        go.wait(30)
        yield " and second half"

    monkeypatch.setattr(engine, "stream", slow)
    turn = session(app).ask(engine, heard, "What is it?")
    next(piece for piece in turn.job.follow() if piece)
    good(page(app, "about"))
    assert turn.open and turn.answer == "first half"
    go.set()
    good(page(app, "chat"))
    assert chat_texts(app) == ["What is it?", "first half and second half"]


def test_a_stopped_answer_keeps_what_was_said(app, engine, monkeypatch):
    example(app)
    good(page(app, "chat"))
    heard = session(app).jobs["hear"].result

    def endless(heard, prompt, settings=None, stop=None, timings=None):
        yield "a dog"
        stop.wait(30)

    monkeypatch.setattr(engine, "stream", endless)
    turn = session(app).ask(engine, heard, "What is it?")
    next(piece for piece in turn.job.follow() if piece)
    turn.job.stop()
    good(page(app, "chat"))
    assert chat_texts(app) == ["What is it?", "a dog"] and "Stopped" in texts(app)
    entry = turn.as_dict()
    assert entry["answer"] == "a dog" and entry["stopped"]


def test_marks_in_a_question_are_refused_and_the_chat_goes_on(app, engine):
    example(app)
    good(page(app, "chat"))
    app.chat_input[0].set_value("what is <audio>?").run()
    assert not app.exception and "<audio>" in app.error[0].value
    app.chat_input[0].set_value("What is it?").run()
    assert not app.exception and chat_texts(app)[-1] == engine.answer.replace(" .", ".")


def test_a_session_is_kept_in_a_file_and_opened_again(app, engine):
    example(app)
    good(page(app, "retrieve"))
    good(shot_boxes(app)[1].uncheck().run())
    good(button(app, "Pin").click().run())
    good(page(app, "chat"))
    good(slider(app, "Temperature").set_value(0.7).run())
    ask(app, "What is it?")
    before = session(app)
    data = pack(before)

    other = visit()
    widget = next(w for w in other.file_uploader if w.label == "Open a session file")
    good(widget.upload("session.zip", data, "application/zip").run())
    after = session(other)
    assert after.recording.sha256 == before.recording.sha256 and after.settings == before.settings
    good(page(other, "retrieve"))
    assert [(c.id, c.use, c.pinned) for c in after.choices] == [(c.id, c.use, c.pinned) for c in before.choices]
    good(page(other, "chat"))
    assert chat_texts(other) == chat_texts(app)


def test_what_is_no_session_file_is_refused_and_nothing_changes(app):
    example(app)
    widget = next(w for w in app.file_uploader if w.label == "Open a session file")
    widget.upload("session.zip", b"PK not at all", "application/zip").run()
    assert not app.exception and "session file" in app.error[0].value
    assert session(app).recording is not None


def test_two_browser_sessions_have_their_own_sound_and_chat(engine):
    one, two = visit(), visit()
    example(one, "Dog")
    example(two, "Bell")
    good(page(one, "chat"))
    ask(one, "What is it?")
    good(page(two, "chat"))
    assert session(one).recording.sha256 != session(two).recording.sha256
    assert len(chat_texts(one)) == 2 and chat_texts(two) == []


def test_who_waits_sees_how_many_people_are_ahead(engine):
    mine = BrowserSession()
    with engine.turns.wait():
        other = Job(lambda job: None, engine.turns).start()
        while other.ahead != 1:
            assert not other.done
        first = mine.run("hear", 1, lambda job: None, engine.turns)
        while first.ahead != 2:
            assert not first.done
        second = mine.run("chat", 2, lambda job: None, engine.turns)
        while second.ahead != 3:
            assert not second.done
        assert mine.people_ahead(first) == 2 and mine.people_ahead(second) == 2  # one's own job is nobody else
        assert common.ahead(2) == "2 people are ahead of you." and common.ahead(1) == "1 person is ahead of you."
    assert first.wait(10) and second.wait(10)


def test_a_missing_model_is_said_and_can_be_tried_again(engine, monkeypatch):
    def absent(device, dtype, progress):
        raise MissingPart("Mini's weights are missing: run make run once.")

    monkeypatch.setitem(MODELS, "mini", absent)
    st.cache_resource.clear()
    at = visit()
    button(at, "Dog").click().run()
    assert not at.exception and at.error[0].value == "Mini's weights are missing: run make run once."
    monkeypatch.setitem(MODELS, "mini", lambda device, dtype, progress: engine)
    good(button(at, "Try again").click().run())
    assert engine.answer.removesuffix(" .") in texts(at)


def test_a_defect_is_one_sentence_too(app, engine, monkeypatch):
    example(app)  # Listen looks for neighbours too
    monkeypatch.setattr(engine, "neighbours", lambda *a, **k: 1 / 0)
    page(app, "retrieve")
    assert not app.exception and [error.value for error in app.error] == [UNEXPECTED]
    good(page(app, "about"))


def test_settings_of_the_server():
    config = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())
    assert config["server"]["maxUploadSize"] == 200
    assert config["browser"]["gatherUsageStats"] is False
    assert config["client"]["showErrorDetails"] == "none"
    assert config["runner"]["fastReruns"] is True


def test_a_reload_finds_the_sound_and_its_chat_as_a_copy(app):
    example(app, "Rain")
    good(page(app, "chat"))
    ask(app, "What is it?")
    good(app.run())
    name = session(app).kept_as
    again = AppTest.from_file(str(ROOT / "pages" / "frame.py"), default_timeout=240)
    again.query_params["session"] = name
    good(again.run())
    assert "rain.ogg" in texts(again) and session(again).recording.sha256 == session(app).recording.sha256
    assert session(again).turns[0].question == "What is it?"
    assert session(again).kept_as not in ("", name), "a copy has an address of its own"
    ask(good(page(again, "chat")), "And now?")
    assert len(session(app).turns) == 1

    good(button(again, "Forget this sound now").click().run())
    assert session(again).recording is None and common.kept_sessions().find(name) is not None


def test_a_reload_in_mid_answer_finds_the_question(app, engine, monkeypatch):
    example(app)
    good(page(app, "chat"))
    mine, found = session(app), []

    def slow(heard, prompt, settings=None, stop=None, timings=None):
        until = time.monotonic() + 30
        while not found and time.monotonic() < until:  # the page asks first, then writes down
            kept = common.kept_sessions().find(mine.kept_as)
            found.extend(kept.turns if kept else ())
        yield "a dog"

    monkeypatch.setattr(engine, "stream", slow)
    ask(app, "What is it?")
    assert [turn["question"] for turn in found] == ["What is it?"] and found[0]["stopped"]


def test_pins_of_another_sound_are_shown_as_such_and_used_only_when_wanted(app):
    example(app, "Dog")
    good(page(app, "retrieve"))
    good(button(app, "Pin").click().run())
    pinned = next(choice.id for choice in session(app).choices if choice.pinned)
    good(page(app, "listen"))
    example(app, "Rain")
    good(page(app, "retrieve"))
    assert not any(choice.pinned for choice in session(app).choices) and "Pinned for “dog.ogg”" in texts(app)
    good(button(app, "Use them here too").click().run())
    assert [choice.id for choice in session(app).choices if choice.pinned] == [pinned]
    assert "Pinned for" not in texts(app)


def test_while_a_new_sound_waits_nothing_is_said_under_its_name(app, engine):
    example(app, "Dog")
    with engine.turns.wait():  # somebody else's turn
        at = button(app, "Rain").click()
        drawn = threading.Thread(target=at.run)
        drawn.start()
        job = session(app).jobs["hear"]
        for _ in range(200):
            if (job := session(app).jobs["hear"]).ahead:
                break
            time.sleep(0.05)
        assert job.ahead == 1 and session(app).recording.name == "rain.ogg"
        assert session(app).jobs["caption"].key[1] != session(app).clip.key, "the last caption is of another sound"
    drawn.join(60)
    assert session(app).jobs["caption"].key[1] == session(app).clip.key


def test_listen_asks_which_of_these_and_takes_a_correction(app, engine):
    example(app)
    [labels] = app.multiselect
    assert len(labels.value) >= 2 and "dog" in [option.lower() for option in labels.options]
    good(labels.set_value(list(labels.options[:2])).run())
    count = figures(app)
    good(button(app, "Ask").click().run())
    assert session(app).jobs["closed"].wait(30)
    good(app.run())
    assert figures(app) == count + 1 and "Judged by" in texts(app)
    assert set(session(app).jobs["closed"].result.probabilities) == set(labels.options[:2])

    good(next(w for w in app.text_input if w.label == "What is it?").set_value("wolf").run())
    good(next(w for w in app.text_input if w.label == "Your name").set_value("Mara").run())
    good(button(app, "Add it as an example").click().run())
    [summary] = store().projects()
    [item] = store().open(summary.id).items()
    assert (item.label, item.who, item.name) == ("wolf", "Mara", "dog.ogg")
    assert any("wolf" in box.value for box in app.success)


def test_of_several_sounds_the_good_ones_come_on_the_shelf_and_each_bad_one_is_named(app):
    good(page(app, "shelf"))
    [widget] = [w for w in app.file_uploader if w.label == "Drop several sounds at once"]
    files = {"a.wav": encode(chirps(1.0, RATE), RATE), "bad.wav": b"RIFF", "b.wav": encode(chirps(1.0, RATE, 1), RATE)}
    widget.set_value([(name, data, "audio/wav") for name, data in {**files, "empty.ogg": b""}.items()])
    button(app, "Add them").click().run()
    assert [one.recording.name for one in session(app).shelf.sounds.values()] == ["a.wav", "b.wav"]
    [said] = [error.value for error in app.error]
    assert "“bad.wav”" in said and "“empty.ogg” is empty." in said
    good(app.run())


def test_sounds_of_a_visit_are_on_the_shelf_described_filtered_and_opened(app):
    example(app, "Dog")
    example(app, "Rain")
    good(page(app, "shelf"))
    assert "dog.ogg" in texts(app) and "rain.ogg" in texts(app)
    good(button(app, "Describe 2 sounds").click().run())
    assert session(app).jobs["shelf"].wait(30)
    good(app.run())
    assert "Not described yet" not in texts(app)
    good(app.text_input(key="shelf-words").set_value("rain.ogg").run())
    assert "1 of 2 sounds" in texts(app)
    good(button(app, "Ask both").click().run())
    assert len(session(app).jobs["two"].items) == 2
    good(app.text_input(key="shelf-words").set_value("dog.ogg").run())
    good(button(app, "Open").click().run())
    assert session(app).recording.name == "dog.ogg"
