"""Settings side by side: each cell is asked once, by its own settings; a run is a file that is opened again."""

import json
import time
from types import SimpleNamespace

import pytest
from fakes import FakeEngine
from media import chirps, encode

from afcore.app.comparison import GREEDY, Comparison, Setup, marked, to_table
from afcore.app.kept_comparisons import KeptComparisons
from afcore.app.model_host import ModelHost, NoRoom
from afcore.app.shares import MONTH
from afcore.audio.recording import open_recording
from afcore.errors import BadRequest, MissingPart
from afcore.jobs import Job
from afcore.retrieval.bank import Bank


@pytest.fixture
def engine(tmp_path):
    bank = Bank(tmp_path / "bank", create=True)
    for name in ("bell", "rain"):
        bank.add(name.encode(), name, f"A {name}.", 1.0)
    return FakeEngine(bank)


@pytest.fixture
def recordings():
    found = [open_recording(encode(chirps(0.5, 16_000, seed), 16_000), f"{seed}.wav") for seed in range(2)]
    return {one.sha256: one for one in found}


def comparison(recordings, *setups, labels=()):
    return Comparison(setups, {sha: one.name for sha, one in recordings.items()}, labels)


def finished(run, recordings, engine, load=None):
    job = Job(lambda job: run.run(job, recordings, engine, load)).start()
    assert job.wait(60) and job.error is None
    return job


def test_each_column_is_asked_by_its_own_settings(engine, recordings):
    run = comparison(
        recordings,
        Setup(),
        Setup(shots=2, prompt="What barks?", decoding="3 beams, as the benchmarks"),
        labels=("dog", "bell"),
    )
    job = finished(run, recordings, engine)
    assert len(job.items) == len(run.cells) == 4
    plain, shown = (next(c for (_, n), c in run.cells.items() if n == column) for column in (0, 1))
    assert plain.answer == shown.answer == "I hear a dog that barks twice."
    assert "what is this sound?" in plain.prompt and plain.examples == []
    assert "what barks?" in shown.prompt and sorted(shown.examples) == ["bell", "rain"]
    assert {settings.num_beams for _, settings in engine.prompts} == {1, 3}
    assert sum(shown.probabilities.values()) == pytest.approx(1) and shown.probabilities["bell"] > 0.5
    assert run.agreeing(1) == (2, 2) and run.mean(0, lambda c: c.first_token) >= 0
    likeliest = {"A: likeliest", "B: likeliest"}
    assert all(
        set(row) == {"sound", "A: mini, no examples", f"B: {run.setups[1].title}"} | likeliest for row in to_table(run)
    )
    assert all(row["B: likeliest"].startswith("bell ") for row in to_table(run))


def test_examples_as_text_only_are_words_in_the_prompt_without_their_sounds(engine, recordings):
    run = comparison(recordings, Setup(shots=2), Setup(shots=2, text_only=True), labels=("dog", "bell"))
    finished(run, recordings, engine)
    sounds, words = (next(c for (_, n), c in run.cells.items() if n == column) for column in (0, 1))
    assert sounds.prompt.count("<audio>") == 3 and words.prompt.count("<audio>") == 1
    assert "similar sounds are described as:" in words.prompt and "a bell." in words.prompt
    assert words.examples == sounds.examples and sum(words.probabilities.values()) == pytest.approx(1)
    assert run.setups[1].title == "mini, 2 examples, as text only"
    old = json.loads(run.to_json())
    for setup in old["setups"]:
        del setup["text_only"]
    assert not any(setup.text_only for setup in Comparison.from_json(json.dumps(old).encode()).setups)


def test_a_run_behind_a_link_is_found_for_a_month_by_its_id_alone(engine, recordings, tmp_path):
    clock = [time.time()]
    kept = KeptComparisons(tmp_path / "kept", now=lambda: clock[0])
    run = comparison(recordings, Setup(), Setup(shots=1))
    finished(run, recordings, engine)
    name = kept.keep(run)
    assert len(name) == 22 and kept.find(name).cells == run.cells
    assert kept.find("x" * 22) is None and kept.find(f"../kept/{name}") is None
    clock[0] += MONTH + 1
    assert kept.find(name) is None and list((tmp_path / "kept").iterdir()) == []


def test_a_run_is_a_file_that_is_opened_again_and_gone_on_with(engine, recordings):
    run = comparison(recordings, Setup(), Setup(shots=1))
    finished(run, recordings, engine)
    first = next(iter(run.cells.values()))
    assert run.thumb(first, False).thumb == "down" and run.thumbs(0) == (0, 1)
    opened = Comparison.from_json(run.to_json().encode())
    assert opened.setups == run.setups and opened.sounds == run.sounds and opened.cells == run.cells
    key, cell = opened.cells.popitem()
    asked = len(engine.prompts)
    finished(opened, recordings, engine)
    assert len(engine.prompts) == asked + 1 and opened.cells[key].answer == cell.answer
    assert run.thumb(first, None) is None and run.thumbs(0) == (0, 0)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c | {"format": "other"},
        lambda c: c | {"setups": c["setups"][:1]},
        lambda c: c | {"setups": [{**s, "decoding": "odd"} for s in c["setups"]]},
        lambda c: c | {"cells": [{"sound": "x", "column": 9}]},
        lambda c: c | {"sounds": []},
    ],
)
def test_a_file_that_is_another_is_refused_in_a_sentence(recordings, change):
    content = json.loads(comparison(recordings, Setup(), Setup()).to_json())
    with pytest.raises(BadRequest, match=r"[.]$"):
        Comparison.from_json(json.dumps(change(content)).encode())


def another(folder, name, answer):
    return FakeEngine(Bank(folder, create=True), name=name, answer=answer)


def test_models_with_room_together_are_asked_sound_by_sound_and_stay(engine, recordings, tmp_path):
    other = another(tmp_path / "other", "hf:some/body", "Rain .")
    loading = Job(lambda job: other).start()
    run = comparison(recordings, Setup("hf:some/body"), Setup())
    job = finished(run, recordings, engine, load=lambda name, in_turn: loading)
    assert [cell.column for cell in job.items] == [0, 1, 0, 1]
    assert not other.closed and not engine.closed
    assert {cell.answer for (_, column), cell in run.cells.items() if column == 0} == {"Rain."}


def test_models_without_room_together_come_after_the_others_in_turn(engine, recordings, tmp_path):
    others = {f"hf:some/{n}": another(tmp_path / n, f"hf:some/{n}", f"{n} .") for n in ("rain", "wind")}

    def load(name, in_turn):
        if not in_turn:
            raise NoRoom("No room.")
        return Job(lambda job: others[name]).start()

    run = comparison(recordings, Setup("hf:some/rain"), Setup(), Setup("hf:some/wind"))
    job = finished(run, recordings, engine, load)
    assert [cell.column for cell in job.items] == [1, 1, 0, 0, 2, 2]
    assert [job.items[n].answer for n in (2, 4)] == ["rain.", "wind."]


def test_a_model_that_cannot_be_had_leaves_the_other_columns_their_answers(engine, recordings):
    def load(name, in_turn):
        if name == "hf:/etc":
            return ModelHost.beside(SimpleNamespace(), name, "ann", in_turn)

        def work(job):
            raise MissingPart("Its weights are missing.")

        return Job(work).start()

    run = comparison(recordings, Setup("hf:some/body"), Setup(), Setup("hf:/etc"))
    finished(run, recordings, engine, load)
    assert {cell.error for (_, column), cell in run.cells.items() if column == 0} == {"Its weights are missing."}
    assert all("no model of the Hugging Face hub" in c.error for (_, n), c in run.cells.items() if n == 2), (
        "folders are not opened"
    )
    assert all(cell.answer for (_, column), cell in run.cells.items() if column == 1)


def test_a_comparison_is_stopped_while_a_model_is_loaded(engine, recordings):
    loading = Job(lambda job: job.stopping.wait(60)).start()
    run = comparison(recordings, Setup("hf:some/body"), Setup())
    job = Job(lambda job: run.run(job, recordings, engine, lambda name, in_turn: loading)).start()
    assert not job.wait(0.3)
    job.stop()
    assert job.wait(5) and job.stopped and run.cells == {}
    loading.stop()


def test_what_cannot_be_compared_is_refused(recordings):
    for setups in ((Setup(),), (Setup(),) * 5):
        with pytest.raises(BadRequest, match="2 to 4 columns"):
            comparison(recordings, *setups)
    with pytest.raises(BadRequest, match="at least one sound"):
        comparison({}, Setup(), Setup())


def test_words_that_differ_are_marked():
    told = marked("A dog barks twice.", "A small dog barks, twice and again.")
    assert [word for word, differs in told if differs] == ["small", "and", "again."]
    assert marked("the same", "The same.") == [("The", False), ("same.", False)]
    assert Setup().title == "mini, no examples" and GREEDY not in Setup().title
