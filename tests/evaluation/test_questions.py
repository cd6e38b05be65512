"""`evaluate questions` and `evaluate transcripts`: what is asked of which sounds, what is kept, the table, the page."""

import ast
import json
import re
from pathlib import Path

import numpy as np
import pytest
from tiny import tiny_engine

from afcore import prompts
from afcore.app.session import BrowserSession
from afcore.cli.main import main
from afcore.errors import BadRequest, MissingPart
from afcore.evaluation import asking, questions, transcripts
from afcore.evaluation.asking import Asked, Asker
from afcore.evaluation.grading import GRADERS
from afcore.evaluation.held_sounds import HeldSounds, apart, by_hash, mixtures
from afcore.knowledge.table import by_name
from afcore.model.generation import GenerationSettings

RATE = 32_000
ROOT = Path(__file__).parents[2]
HEARD = (
    "Bark",
    "Meow",
    "Moo",
    "Rain",
    "Train",
    "Helicopter",
    "Piano",
    "Trumpet",
    "Speech",
    "Snoring",
    "Siren",
    "Toilet flush",
)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder as training leaves it: of each class of `HEARD` a sound in a validation and in a training package, and a
    set."""
    folder, rng = tmp_path_factory.mktemp("work"), np.random.default_rng(0)
    for name, packages in (("corpus", ("bambam", "krank")), ("sounds", ("noise_of_life",))):
        rows, audio, tags, offset = [], [], [], 0
        for package in packages:
            for k, heard in enumerate(HEARD):
                x = (rng.standard_normal(int((0.3 + 0.1 * k) * RATE)) * 3000).astype(np.int16)
                bits = np.packbits(rng.random(512) < 0.5).tobytes().hex()
                path = f"{heard}-{10 * k}.ogg"
                row = {"id": f"{package}:{path}", "package": package, "path": path, "offset": offset, "length": len(x)}
                row |= {"peak": 9000, "active": 0.3, "seconds": 1.0, "fingerprint": f"{bits}:{1000 + 400 * k}"}
                rows.append(row | ({"label": heard.lower(), "source": ""} if name == "sounds" else {}))
                audio.append(x)
                offset += len(x)
                logits = np.full(911, -8, np.float32)
                logits[384 + by_name()[heard].index] = 3
                tags.append(logits)
        (folder / name).mkdir()
        np.concatenate(audio).tofile(folder / name / "audio.i16")
        (folder / name / "index.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        np.save(folder / name / "teacher.npy", np.stack(tags))
    rows = [{"id": "krank:Bark-0.ogg", "label": "dog barking"}]
    (folder / "corpus" / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(autouse=True)
def short_answers(monkeypatch):
    monkeypatch.setattr(asking, "SETTINGS", GenerationSettings(max_new_tokens=3))


@pytest.fixture(scope="module")
def sounds(work):
    return HeldSounds(work, "validation")


def test_only_sounds_of_the_split_are_asked_about(work, sounds):
    packages = {sound.id.split(":")[0] for sound in sounds.sounds}
    assert "krank" in packages and "bambam" not in packages
    bark = next(sound for sound in sounds.sounds if sound.id == "krank:Bark-0.ogg")
    assert bark.truth.label == "dog barking" and bark.truth.core == ("Bark",) and "Dog" in bark.truth.heard
    assert not {s.id for s in sounds.sounds} & {s.id for s in HeldSounds(work, "test").sounds}


def test_what_is_missing_is_said(work, tmp_path):
    with pytest.raises(MissingPart, match="no decoded sounds"):
        HeldSounds(tmp_path, "validation")
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "index.jsonl").write_text("")
    with pytest.raises(MissingPart, match="not tagged"):
        HeldSounds(tmp_path, "validation")
    with pytest.raises(BadRequest, match="colour"):
        questions.kinds_named("what,colour")


def test_kinds_are_asked_of_sounds_that_they_can_be_asked_of(sounds):
    asked = {kind: questions.items_of(kind, sounds.sounds) for kind in GRADERS}
    assert all(asked.values()), [kind for kind, items in asked.items() if not items]
    assert {item.sound.truth.main.kind for item in asked["which_animal"]} == {"animal"}
    assert {item.sound.truth.main.name for item in asked["which_instrument"]} == {"Piano", "Trumpet"}
    assert all("{" not in item.question.text for items in asked.values() for item in items)
    for item in asked["which_of"]:
        true = [name for _, name in item.question.options if name in item.sound.truth.heard]
        assert true == [item.sound.truth.core[0]] and len(item.question.options) == 4
        assert all(word in item.question.text for word, _ in item.question.options)
    there = [item.question.thing in item.sound.truth.heard for item in asked["is_there"]]
    assert abs(2 * sum(there) - len(there)) <= 2
    assert all(apart(item.sound.truth, item.other.truth) for items in asked.values() for item in items)
    assert any(" + " in item.sound.id for item in asked["what_else"])


def test_the_lists_are_frozen(sounds):
    again = questions.items_of("what", list(reversed(sounds.sounds)))
    assert again == questions.items_of("what", sounds.sounds)
    assert [i.sound.id for i in questions.items_of("what", sounds.sounds, 3)] == [i.sound.id for i in again[:3]]


def test_of_each_class_one_sound_comes_first(sounds):
    order = by_hash("any", sounds.sounds)
    first = [sound.truth.core[0] for sound in order[: len(HEARD)]]
    assert len(set(first)) == len(first)
    mixed = mixtures(order)[0]
    assert len(mixed.pieces) == 2 and len(mixed.truth.groups()) == 2
    assert 2 * RATE <= sounds.clip(mixed).samples.shape[0] <= 7 * RATE


def test_all_that_the_app_offers_is_asked(sounds):
    """README's examples, the chips of Chat, the questions of Retrieve, Listen and the command line's help."""
    offered = {offer.question for offer in questions.offers()}
    chat = ast.parse((ROOT / "pages" / "chat.py").read_text(encoding="utf-8"))
    assigned = {ast.unparse(node.targets[0]): node.value for node in chat.body if isinstance(node, ast.Assign)}
    shown = set(ast.literal_eval(assigned["SUGGESTIONS"]))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown |= set(re.findall(r'afcore ask \S+ "([^"]+)"', readme)) | set(re.findall(r'\.ask\(.*"([^"]+\?)"\)', readme))
    shown |= set(re.findall(r'for instance: "([^"]+)"', (ROOT / "afcore" / "cli" / "ask.py").read_text("utf-8")))
    assert shown | {BrowserSession.question, prompts.CAPTION} == offered
    items = questions.offered_items(sounds.sounds, 36)
    assert {item.question.text for item in items} == offered
    animals = [i for i in items if i.question.text == "Is there an animal?"]
    assert {item.question.thing in item.sound.truth.heard for item in animals} == {True, False}


def test_questions_are_answered_once_and_the_answers_kept(sounds, tmp_path):
    engine, said = tiny_engine(tmp_path), []
    run = {"kinds": ["what", "what_else", "offered"], "limit": 2, "controls": 1, "kept": tmp_path / "kept.jsonl"}
    result = questions.evaluate(engine, sounds, progress=said.append, **run)
    assert [row["row"] for row in result["rows"]][:3] == ["what", "what_else", "offered"]
    assert all(
        row[how]["n"] == (1 if "other" in how else row["n"])
        for row in result["rows"][:2]
        for how in questions.CONDITIONS
    )
    for row in result["rows"]:
        assert sum(
            row["plain"][verdict]["value"] for verdict in ("right", "partly", "wrong", "refused")
        ) == pytest.approx(1)
    second = next(a for a in result["answers"] if a["row"] == "what_else")
    assert second["earlier"][0][0] == questions.FIRST
    lines = (tmp_path / "kept.jsonl").read_text().count("\n")
    again = questions.evaluate(engine, sounds, **run)
    assert again == result and (tmp_path / "kept.jsonl").read_text().count("\n") == lines
    table_shown = questions.report({"split": "validation", "weights": "x", **result})
    assert table_shown.count("\n| ") == 1 + len(result["rows"])


def test_shots_are_in_the_prompt_and_a_dialogue_is_one(sounds, tmp_path):
    asker, sound = Asker(tiny_engine(tmp_path), sounds), sounds.sounds[0]
    assert asker.prompt(Asked(sound, "What?", shots=4)).text.count("<audio>") == 5
    said = asker.prompt(Asked(sound, "What?", (("Who?", "A dog."),))).text
    assert "user: Who?" in said and "A dog." in said
    assert "user:" not in asker.prompt(Asked(sound, "what?", chat=False)).text


def test_dialogues_are_of_five_kinds_that_fit(sounds):
    for sound in sounds.sounds:
        made = transcripts.dialogue(sound)
        assert len(set(made.questions)) == 5 and transcripts.dialogue(sound) == made
        animal = [text for text in made.questions if text in questions.read()["which_animal"]]
        assert not animal or sound.truth.main.kind == "animal"


def test_the_commands(work, tmp_path, capsys):
    def load(name, *rest):
        return tiny_engine(tmp_path)

    command = [
        "evaluate",
        "questions",
        "--work",
        str(work),
        "--limit",
        "2",
        "--only",
        "what,cannot_tell",
        "--controls",
        "1",
    ]
    assert main(command, load) == 0
    shown = capsys.readouterr().out
    assert "validation split" in shown and "\n| what | 2 (2) |" in shown and "\n| cannot_tell | 2 (2) |" in shown
    assert main([*command, "--json"], load) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["n"] == 2
    out = tmp_path / "page.md"
    assert main(["evaluate", "transcripts", "--work", str(work), "--out", str(out)], load) == 0
    page = out.read_text()
    assert page.count("\n### ") == min(20, page.count("\n### ")) and page.count("\n| 1 |") == 1
    assert main(["evaluate", "transcripts", "--work", str(work)], load) == 2
    assert "--out" in capsys.readouterr().err
