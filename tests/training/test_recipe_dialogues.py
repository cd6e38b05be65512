"""Dialogue data: by templates and by a language model behind an OpenAI-compatible address, cleaned by rules and by
CLAP."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import tiny_recipe

from afcore.errors import BadRequest, MissingPart
from afcore.training.recipe import config, dialogues, manifests
from afcore.training.recipe.config import Data
from afcore.training.recipe.dialogues import Pair


class Claps:
    """Words are axes: a text points where it has words of `heard`, a sound where all of them are."""

    heard = ("rain", "dog", "barks")

    def text(self, texts):
        rows = np.array([[float(word in text.lower()) for word in self.heard] + [0.5] for text in texts], np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    vector = np.array([1, 1, 1, 0], np.float32) / 3**0.5


@pytest.fixture
def sounds(tmp_path):
    tiny_recipe.sounds(tmp_path / "sounds", each=1)
    facts = [
        {"audio": "hum-0.wav", "label": "dog", "caption": "a dog barks in the rain", "tags": ["Rain", "Animal"]},
        {"audio": "horn-0.wav", "label": "cat"},
        {"audio": "beep-0.wav", "events": [{"name": "rain", "from": 0.0, "to": 2.5}]},
        {"audio": "buzz-0.wav"},
    ]
    (tmp_path / "sounds" / "facts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in facts))
    return tmp_path


@pytest.fixture(autouse=True)
def no_weights(monkeypatch):
    """Every sound is a dog that barks in the rain."""
    monkeypatch.setattr(dialogues.Windows, "fill", lambda self, sounds: 0)
    monkeypatch.setattr(dialogues.Windows, "vector", lambda self, sound: Claps.vector)
    monkeypatch.setattr(dialogues.Windows, "clap", Claps())


def load(folder, **settings):
    stage = {"name": "chat", "train": "audio", "mix": {"dialogues": 1}, "steps": 1}
    settings = {"facts": "sounds/facts.jsonl", "out": "out/dialogues.jsonl"} | settings
    return config.load(tiny_recipe.config(folder, folder / "none", [stage], dialogues=settings), folder / "work")


@contextmanager
def server(replies):
    """A language model that gives `replies` in turn: a text, or a status. Yields its address and what it was asked."""
    asked, left = [], list(replies)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, self.headers.get("Authorization"), body))
            reply = left.pop(0) if left else 500
            content = json.dumps({"choices": [{"message": {"role": "assistant", "content": reply}}]}).encode()
            self.send_response(reply if isinstance(reply, int) else 200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    host = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=host.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{host.server_port}/v1", asked
    finally:
        host.shutdown()
        host.server_close()


def said(*pairs):
    return "\n".join(json.dumps({"user": question, "assistant": answer}) for question, answer in pairs)


def read(folder):
    return manifests.read(Data("d", folder / "out" / "dialogues.jsonl", folder / "out"))


def test_rules_drop_answers_that_do_not_speak_of_the_sound():
    good = Pair("What is it?", "A dog barks in the rain.")
    wrong = [
        Pair("Where?", "This cannot be determined from the audio."),
        Pair("When?", "It barks at 2.5s and again at 4 seconds."),
        Pair("Who?", "As an AI, no."),
        Pair("", "Rain."),
        Pair("How?", ""),
        Pair("Say", "word " * 61),
        Pair("What is it?", "Rain falls now here."),
        Pair("Again?", "A dog barks in the rain."),
        Pair("Mark?", "A <audio> dog."),
    ]
    assert dialogues.clean([good, *wrong]) == [good]
    assert dialogues.clean([good, Pair("Near?", "Yes.")]) == [good, Pair("Near?", "Yes.")]
    assert dialogues.clean([Pair("a?", "It is Loud.")], ("loud",)) == []
    assert dialogues.clean([Pair("When?", "I cannot tell when it was recorded.", grounded=False)])  # meant so


def test_similarity_drops_what_the_sound_does_not_bear_out():
    pairs = [
        Pair("What is it?", "A dog barks in the rain."),
        Pair("And?", "A car drives by now."),
        Pair("Is it a dog that barks?", "Yes."),
        Pair("Who?", "I cannot tell who.", grounded=False),
    ]
    assert dialogues.similar(pairs, Claps.vector, Claps().text, 0.3) == [pairs[0], pairs[2], pairs[3]]
    assert dialogues.similar(pairs, Claps.vector, Claps().text, 0.9) == [pairs[0], pairs[3]]
    assert (
        dialogues.similar(pairs[1:2] + pairs[3:], Claps.vector, Claps().text, 0.3) == []
    )  # only what nothing bears out is left


def test_templates_speak_of_what_is_known_and_say_what_they_do_not_know(sounds):
    maker = dialogues.Templates([{"label": "dog"}, {"label": "tin whistle"}])
    facts = {"label": "dog", "caption": "a dog barks in the rain", "tags": ["Raining", "Wind"]}
    turns = [pair for seed in range(40) for pair in maker(facts, 4, np.random.default_rng(seed))]
    answers = {pair.answer for pair in turns}
    assert "A dog barks in the rain." in answers and "Dog." in answers and "No, I do not hear tin whistle." in answers
    assert {a for a in answers if "as well" in a} == {"Wind as well."}  # rain has been named
    assert any(a.startswith("I cannot tell") for a in answers)
    assert {len(maker(facts, n, np.random.default_rng(0))) for n in (1, 2, 3, 4)} == {1, 2, 3, 4}
    assert all(p.grounded for p in turns if p.answer in ("Dog.", "A dog barks in the rain."))
    assert maker({"tags": []}, 4, np.random.default_rng(0)) == []


def test_templates_make_a_manifest_that_the_recipe_reads(sounds):
    counts = dialogues.make(load(sounds, similarity=0.3))
    rows = read(sounds)
    assert counts["sounds"] == 4 and counts["pairs"] > counts["after CLAP"] and counts["dialogues"] == len(rows) > 0
    assert rows[0].sound.file.resolve() == sounds / "sounds" / "hum-0.wav" and rows[0].task == "dialog"
    assert all(
        "cat" not in answer.lower() or answer.startswith("No") for row in rows for _, answer in row.turns
    )  # nothing here is a cat
    first = (sounds / "out" / "dialogues.jsonl").read_text()
    dialogues.make(load(sounds, similarity=0.3))
    assert (sounds / "out" / "dialogues.jsonl").read_text() == first
    with pytest.raises(BadRequest, match="lower it"):
        dialogues.make(load(sounds, similarity=0.999))


def test_a_language_model_is_asked_and_its_answers_are_cleaned(sounds, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "secret")
    replies = [
        said(("What do you hear?", "A dog barks in the rain."), ("Where?", "It cannot be determined."))
        + "\nThat is all.",
        said(("What is it?", "A violin plays softly here.")),
        503,
        said(("And now?", "Rain on a dog that barks.")),
        "I would rather not.",
    ]
    with server(replies) as (address, asked):
        settings = {
            "maker": "language model",
            "address": address,
            "name": "some-model",
            "key_variable": "SOME_KEY",
            "most_turns": 3,
        }
        dialogues.make(load(sounds, **settings))
    assert [row.turns for row in read(sounds)] == [
        (("What do you hear?", "A dog barks in the rain."),),
        (("And now?", "Rain on a dog that barks."),),
    ]
    path, key, body = asked[0]
    assert (
        path == "/v1/chat/completions" and key == "Bearer secret" and body["model"] == "some-model" and len(asked) == 5
    )
    prompt = body["messages"][0]["content"]
    assert "“dog”" in prompt and "a dog barks in the rain" in prompt and "Rain, Animal" in prompt
    assert "rain [0s-2.5s]" in asked[3][2]["messages"][0]["content"]
    assert not (sounds / "out" / "dialogues.jsonl.said").exists()


def test_what_was_said_is_kept_when_the_server_goes_away(sounds):
    good = said(("What do you hear?", "A dog barks in the rain."))
    with server([good, good, 500, 500, 500]) as (address, asked):
        settings = {"maker": "language model", "address": address, "name": "some-model", "most_turns": 1}
        with pytest.raises(MissingPart, match="status 500"):
            dialogues.make(load(sounds, **settings))
    assert len(asked) == 5 and not (sounds / "out" / "dialogues.jsonl").exists()
    with server([good, good]) as (address, asked):
        assert dialogues.make(load(sounds, **settings | {"address": address}))["dialogues"] == 4
    assert len(asked) == 2  # not the first two again


@pytest.mark.parametrize(
    "settings, part",
    [
        ({"maker": "language model"}, "address"),
        (
            {"maker": "language model", "address": "http://127.0.0.1:9/v1", "name": "m"},
            "http://127.0.0.1:9/v1 could not be asked: ConnectionError",
        ),
        (
            {"maker": "language model", "address": "http://x/v1", "name": "m", "key_variable": "NO_SUCH_KEY"},
            "NO_SUCH_KEY",
        ),
        ({"facts": "sounds/none.jsonl"}, "cannot be opened"),
    ],
)
def test_what_is_missing_is_said_in_one_sentence(sounds, settings, part):
    with pytest.raises((BadRequest, MissingPart)) as error:
        dialogues.make(load(sounds, **settings))
    assert part in str(error.value) and "\n" not in str(error.value)


def test_facts_that_are_not_right_are_refused_by_line(sounds):
    (sounds / "sounds" / "facts.jsonl").write_text('{"audio": "hum-0.wav"}\n{"label": "dog"}\n')
    with pytest.raises(BadRequest, match=r"Line 2 of facts.jsonl"):
        dialogues.make(load(sounds))
