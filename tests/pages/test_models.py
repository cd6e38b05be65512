"""The pages over several models: choosing, fetching, changing one; decoding settings, candidates; too little memory."""

import io
import json
import threading
import zipfile
from dataclasses import replace

import pytest
from fakes import FakeEngine
from pages_support import ask, button, chat_texts, example, good, opened, page, session, slider, texts, visit
from streamlit.testing.v1 import AppTest

from afcore.app.model_host import ModelHost
from afcore.app.session_file import pack
from afcore.engine.loading import MODELS
from afcore.engine.memory import OutOfMemory
from afcore.errors import Cancelled, MissingPart
from afcore.model.generation import PRESETS
from afcore.published import download, items, peer_files
from afcore.published.items import ModelFiles
from pages import common

CHAT, FOUNDATION = "audio-flamingo-chat", "audio-flamingo-foundation"


def test_whole_settings_can_be_chosen_and_changed(app, engine):
    example(app)
    good(page(app, "chat"))
    good(button(app, "As in the paper's benchmarks").click().run())
    assert session(app).settings == PRESETS["benchmark"] and slider(app, "Beams").value == 3
    good(button(app, "As the published chat demo").click().run())
    assert (slider(app, "Top-k").value, slider(app, "Top-p").value, slider(app, "Temperature").value) == (50, 0.95, 1.0)
    good(slider(app, "Top-k").set_value(7).run())
    ask(app, "What is it?")
    assert engine.prompts[-1][1] == replace(PRESETS["chat"], top_k=7)


def test_the_answer_that_fits_best_comes_first(app, engine, monkeypatch):
    def candidates(heard, prompt, n, settings, stop=None):
        assert n == 3 and settings.temperature == 1.0 and settings.num_beams == 1
        return [("a dog", 0.51), ("a wolf", 0.4), ("a door", 0.02)]

    monkeypatch.setattr(engine, "candidates", candidates)
    example(app)
    good(page(app, "chat"))
    assert slider(app, "Answers to choose from").disabled  # at temperature 0 all would be the same
    good(button(app, "As the published chat demo").click().run())
    good(slider(app, "Answers to choose from").set_value(3).run())
    ask(app, "What is it?")
    assert chat_texts(app) == ["What is it?", "a dog"]
    [others] = [box for box in app.expander if box.label == "2 other answers"]
    assert [m.value.replace("\\", "") for m in others.markdown] == ["0.40 · a wolf", "0.02 · a door"]
    ask(app, "And then?")
    assert (session(app).turns[0].question, session(app).turns[0].answer) == ("What is it?", "a dog")

    data, second = pack(session(app)), visit()
    opened(second, data)
    assert [turn.ranked for turn in session(second).turns] == [[("a dog", 0.51), ("a wolf", 0.4), ("a door", 0.02)]] * 2
    assert session(second).candidates == 3
    good(page(second, "chat"))
    assert chat_texts(second) == chat_texts(app) and slider(second, "Answers to choose from").value == 3
    assert [box.label for box in second.expander if "other answers" in box.label] == ["2 other answers"] * 2
    assert pack(session(second)) == data


def test_a_session_file_from_before_candidates_were_kept_opens(app, engine):
    example(app)
    good(page(app, "chat"))
    ask(app, "What is it?")
    with zipfile.ZipFile(io.BytesIO(pack(session(app)))) as file:
        content, sound = json.loads(file.read("session.json")), file.read("sound")
    assert "candidates" not in content["turns"][0] and content["page"].pop("candidates") == 1
    old = io.BytesIO()
    with zipfile.ZipFile(old, "w") as file:
        file.writestr("session.json", json.dumps(content))
        file.writestr("sound", sound)
    second = visit()
    opened(second, old.getvalue())
    good(page(second, "chat"))
    assert chat_texts(second) == chat_texts(app) and session(second).candidates == 1


def test_a_gpu_without_enough_memory_is_said_and_the_chat_goes_on(app, engine, monkeypatch):
    def full(*_, **__):
        raise OutOfMemory("The GPU has too little memory.")
        yield

    example(app)
    good(page(app, "chat"))
    with monkeypatch.context() as patch:
        patch.setattr(engine, "stream", full)
        app.chat_input[0].set_value("What is it?").run()
        assert not app.exception and app.error[0].value == "The GPU has too little memory."
    app.chat_input[0].set_value("Once more?").run()
    assert not app.exception and chat_texts(app)[-1] == engine.answer.replace(" .", ".")


@pytest.fixture
def other(engine, monkeypatch):
    """A second model, which takes three examples and finds others."""
    notice = "Examples are found by mini CLAP."
    other = FakeEngine(engine.bank, name=CHAT, kind="chat", max_shots=3, notice=notice, answer="Something else .")
    monkeypatch.setitem(MODELS, CHAT, lambda device, dtype, progress: other)
    monkeypatch.setattr(ModelHost, "is_here", staticmethod(lambda name: name != FOUNDATION))
    return other


def choose_model(at: AppTest, name: str) -> AppTest:
    [box] = [box for box in at.selectbox if box.label == "Model"]
    box.set_value(name).run()
    common.model_host().loading_for(session(at).id).wait(30)
    return good(at.run())


def test_another_model_is_chosen_and_nothing_of_the_session_is_lost(engine, other):
    app, second = visit(), visit()
    example(second, "Bell")
    example(app)
    good(page(app, "retrieve"))
    good(slider(app, "How many examples").set_value(6).run())
    for _ in range(4):
        good(button(app, "Pin").click().run())
    good(page(app, "chat"))
    good(slider(app, "Longest answer").set_value(8).run())
    ask(app, "What is it?")
    clip, answer = session(app).clip.key, session(app).turns[0].answer
    choose_model(app, CHAT)
    assert not engine.closed and common.model_host().loading_for(session(app).id).result is other
    assert session(app).clip.key == clip and session(app).settings.max_new_tokens == 8
    assert chat_texts(app) == ["What is it?", answer]
    assert any("mini CLAP" in warning.value for warning in app.warning)
    good(app.toggle[0].set_value(True).run())
    ask(app, "And now?")
    assert chat_texts(app)[-1] == "Something else."
    prompt = other.prompts[-1][0]
    assert prompt.text.count("<audio>") == 4 and prompt.kind == "chat" and "user: What is it?" in prompt.text
    good(page(app, "retrieve"))
    assert (
        slider(app, "How many examples").max == 3 and len(session(app).choices) == 4 and len(session(app).shots()) == 3
    )
    assert good(second.run()) and session(second).model == "mini", "the choice was one person's"


def test_a_model_that_somebody_uses_is_replaced_only_after_a_yes(engine, other):
    one, two = visit(), visit()
    common.model_host()._fits = lambda name, leaving: "mini" in leaving
    box = next(box for box in one.selectbox if box.label == "Model")
    one_run = box.set_value(CHAT).run()
    assert not one_run.error and not engine.closed
    assert any("Another person uses mini" in warning.value for warning in one.warning)
    good(button(one, "Leave it").click().run())
    assert next(box for box in one.selectbox if box.label == "Model").value == "mini"
    next(box for box in one.selectbox if box.label == "Model").set_value(CHAT).run()
    good(button(one, "Replace it").click().run())
    assert common.model_host().loading.wait(30) and engine.closed
    assert good(two.run()) and session(two).model == CHAT, "both go on with it"


def _typed(at: AppTest, name: str):
    """The box of models with a name that is not among its options, as a browser sends it."""
    [box] = [box for box in at.selectbox if box.label == "Model"]
    box.options.append(name)
    return box.set_value(name)


def test_other_audio_models_are_listed_typed_and_fetched_after_their_licence(engine, other, monkeypatch):
    listed = ModelFiles("peer", "some/body", "some/body", ("config.json",), 16_000_000_000, "apache-2.0", agree=True)
    monkeypatch.setattr(ModelHost, "is_here", staticmethod(lambda name: not name.startswith("hf:")))
    monkeypatch.setattr(peer_files, "files_of", lambda name, stop: (listed, {}))
    got = []
    monkeypatch.setattr(download, "get", lambda name, agreed, progress, stop: got.append((name, agreed)))
    app = visit()
    box = next(box for box in app.selectbox if box.label == "Model")
    assert {"Qwen2-Audio-7B-Instruct", "audio-flamingo-3-hf"} <= set(box.options)
    good(_typed(app, "hf:some/body").run())
    assert "Not tested here" in texts(app) and got == []
    good(button(app, "Ask the hub for size and licence").click().run())
    assert "16.0 GB" in texts(app) and "apache-2.0" in texts(app) and button(app, "Get").disabled
    good(next(box for box in app.checkbox if "read its licence" in box.label).check().run())
    good(button(app, "Get").click().run())
    assert common.model_host().getting["hf:some/body"].wait(30) and got == [("hf:some/body", True)]
    for wrong in ("/etc", "hf:/etc", "nobody"):
        app = visit()
        _typed(app, wrong).run()
        assert not app.exception and any("OWNER/NAME" in warning.value for warning in app.warning)


def test_how_the_foundation_model_is_given_one_sound_is_chosen(app, engine, monkeypatch):
    def boxes():
        return [box for box in app.selectbox if box.label == "A sound without examples"]

    assert not boxes()
    padded = FakeEngine(engine.bank, name=FOUNDATION, kind="foundation", paddings=("demo", "benchmark"))
    monkeypatch.setitem(MODELS, FOUNDATION, lambda device, dtype, progress: padded)
    monkeypatch.setattr(ModelHost, "is_here", staticmethod(lambda name: True))
    example(app)
    choose_model(app, FOUNDATION)
    [box] = boxes()
    assert box.value == "demo"
    good(box.set_value("benchmark").run())
    assert padded.padding == "benchmark" and boxes()[0].value == "benchmark"
    good(page(app, "chat"))
    ask(app, "What is it?")
    assert padded.prompts[-1][0].padding == "benchmark"


def offline(wanted, stop):
    raise MissingPart("No hub.")


def test_what_the_hub_says_of_a_published_model_is_shown(engine, other, monkeypatch):
    def said(wanted, stop):
        return [
            replace(item, size=7_000_000_000, licence=f"{item.licence}; the hub names it “ms-pl”") for item in wanted
        ]

    monkeypatch.setattr(items, "as_the_hub_says", offline)
    app = visit()
    good(next(box for box in app.selectbox if box.label == "Model").set_value(FOUNDATION).run())
    assert button(app, "Ask the hub for sizes and licences").click().run().error[0].value == "No hub."
    monkeypatch.setattr(items, "as_the_hub_says", said)
    assert "About 22 GB" in texts(app) and "ms-pl" not in texts(app)
    good(button(app, "Ask the hub for sizes and licences").click().run())
    shown = texts(app)
    assert f"yet.** {7 * len(items.files_of(FOUNDATION))} GB to download" in shown and "ms-pl" in shown
    assert not [one for one in app.button if "Ask the hub" in one.label]


def test_a_model_that_is_not_here_is_offered_with_sizes_and_licences(engine, other, monkeypatch):
    asked, begun = [], threading.Event()

    def get(name, agreed, progress, stop):
        asked.append((name, agreed))
        begun.set()
        progress("Downloading foundation.pt (1.0 of 17.7 GB)", 0.05)
        assert stop.wait(60)
        raise Cancelled("Stopped.")

    monkeypatch.setattr(download, "get", get)
    app = visit()
    box = next(box for box in app.selectbox if box.label == "Model")
    good(box.set_value(FOUNDATION).run())
    shown = texts(app)
    assert (
        "About 22 GB" in shown
        and "17.7 GB" in shown
        and "non-commercial" in shown
        and common.model_host().loading.result is engine
    )
    good(button(app, "Which GPU, which licence: the guide").click().run())
    assert "NVIDIA GPU with 8 GB" in texts(app) and "17.7 GB | non-commercial" in texts(app)
    good(app.run())
    assert button(app, "Get").disabled
    good(next(box for box in app.checkbox if "I agree" in box.label).check().run())
    good(button(app, "Get").click().run())
    job = common.model_host().getting[FOUNDATION]
    assert begun.wait(30) and asked == [(FOUNDATION, True)] and not job.done
    good(button(app, "Cancel").click().run())
    assert job.wait(30) and job.stopped
    assert "goes on from there" in texts(good(app.run()))

    def fail(name, agreed, progress, stop):
        raise MissingPart("No connection.")

    monkeypatch.setattr(download, "get", fail)
    button(app, "Get").click().run()
    common.model_host().getting[FOUNDATION].wait(30)
    app.run()
    assert not app.exception and app.error[0].value == "No connection."

    def rest(name, agreed, progress, stop):
        monkeypatch.setattr(ModelHost, "is_here", staticmethod(lambda name: True))
        raise MissingPart("The model is ready, but without LAION-CLAP.")

    monkeypatch.setattr(download, "get", rest)
    button(app, "Get").click().run()
    common.model_host().getting[FOUNDATION].wait(30)
    assert "without LAION-CLAP" in good(app.run()).warning[0].value
    monkeypatch.setattr(download, "get", lambda *_, **__: "Ready.")
    good(button(app, "Get the rest").click().run())
    assert common.model_host().getting[FOUNDATION].wait(30)
    good(button(good(app.run()), "Use it now").click().run())
    assert common.model_host().name_for(session(app).id) == FOUNDATION


def test_models_are_told_apart_in_a_chat(app, engine):
    """Dialogues beyond what was trained, and a model that knows none, get a notice each."""
    example(app)
    good(page(app, "chat"))
    for number in range(5):
        ask(app, f"Question {number}?")
        assert ("trained on up to 4 turns" in texts(app)) == (number == 4)
    last, _ = engine.prompts[-1]
    assert last.text.count("user: Question") == 5  # a further turn works, and with all turns before it
    session(app).start = 1.0  # another part of the sound is another dialogue
    assert "trained on up to" not in texts(good(app.run()))
    session(app).start = 0.0
    engine.kind = "foundation"
    good(app.run())
    assert "answers each question by itself" in texts(app) and "trained on up to" not in texts(app)
