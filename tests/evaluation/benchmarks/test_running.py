"""Runs: what is asked of whom, what examples are taken from, that nothing is asked twice, and what a summary says."""

import json
from functools import partial

import pytest
from fakes import FakeClap, FakeEngine, direction
from miniatures import MINIATURES, document, sound, table

from afcore import paths
from afcore.cli.main import main
from afcore.errors import BadRequest
from afcore.evaluation import metrics
from afcore.evaluation.benchmarks import folder as folders
from afcore.evaluation.benchmarks import report
from afcore.evaluation.benchmarks.item import DIALOGUE
from afcore.evaluation.benchmarks.results import Run
from afcore.evaluation.benchmarks.running import plan, run
from afcore.evaluation.benchmarks.setting import Setting
from afcore.evaluation.benchmarks.table import FILES, benchmark
from afcore.json_lines import read_lines
from afcore.retrieval.bank import Bank


class ByContent(FakeClap):
    """Every sound has a direction of its own."""

    def audio(self, clip):
        return direction(clip.key)


@pytest.fixture
def engine(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "DATA", tmp_path / "data")
    monkeypatch.setattr(metrics, "java_here", lambda: False)  # Java takes a second to start; `test_metrics` runs it
    return FakeEngine(Bank(tmp_path / "bank", create=True), clap=ByContent, answer="dog bark .")


@pytest.fixture
def ask(engine, tmp_path):
    """Runs a benchmark's miniature and reads the run."""

    def ask(name, again=False, **how):
        root = tmp_path / name
        if not again:
            MINIATURES[name](root)
        chosen = benchmark(name)
        return Run.read(run(chosen, chosen.read(root), engine, "w1", Setting(**how)))

    return ask


@pytest.mark.parametrize("name", FILES)
def test_each_benchmark_runs_from_its_folder_to_its_report(ask, engine, name):
    shots = 0 if benchmark(name).kind == DIALOGUE else 1
    done = ask(name, shots=shots)
    assert done.summary["counts"]["answered"] == done.summary["counts"]["asked"] > 0
    assert done.scores and all(score.low <= score.value + 1e-9 and score.n for score in done.scores)
    text = report.markdown([done])
    assert done.summary["title"] in text and "weights w1" in text
    asked = [prompt for prompt, _ in engine.prompts]
    assert all(len(prompt.audios) == shots + 1 for prompt in asked), "with an example beside each"


def test_the_prompt_is_the_published_one_with_all_labels(ask, engine):
    ask("cochlscene")
    [first, _] = [prompt.text for prompt, _ in engine.prompts]
    assert first.startswith("the task is scene classification.<audio>classify this sound.\nOPTIONS:\n - bus.\n - cafe.")
    assert first.endswith(" - subwaystation.\nanswer:<SEP>") and first.count("\n - ") == 13


def test_shots_say_what_is_similar_and_list_no_options(ask, engine):
    ask("cochlscene", shots=2)
    text = engine.prompts[0][0].text
    assert text.startswith("Here are similar examples. The task is scene classification. <audio>classify this sound.\n")
    assert text.count("OPTIONS:") == 1 and text.count("<|endofchunk|>") == 2
    engine.prompts.clear()
    ask("cochlscene", again=True, shots=2, retrieval="random")
    assert engine.prompts[0][0].text.startswith("Here are random examples.")


def test_neighbours_as_text_have_no_sound(ask, engine):
    ask("clotho-v2", shots=1, examples="text")
    prompt = engine.prompts[0][0]
    assert "similar sounds are described as: a dog barks once, in development. describe the sound" in prompt.text
    assert len(prompt.audios) == 1


def test_questions_of_yes_and_no_list_them(ask, engine):
    ask("clotho-aqa")
    texts = {prompt.text for prompt, _ in engine.prompts}
    assert any("please answer this question: is there a dog?\nOPTIONS:\nyes.\nno.\nanswer:" in text for text in texts)
    assert any("please answer this question: what barks?\nanswer:" in text for text in texts)


def test_examples_are_never_of_the_querys_own_source_or_fold(ask):
    done = ask("crema-d", shots=2)
    records = {record["id"]: record for record in read_lines(done.folder / "items.jsonl")}
    one = records["1001_DFA_ANG_XX"]
    assert [shot["sha256"] for shot in one["shots"]] == [records["1002_DFA_ANG_XX"]["sha256"]]
    assert {shot["sha256"] for shot in records["1002_DFA_ANG_XX"]["shots"]} == {
        records["1001_DFA_ANG_XX"]["sha256"],
        records["1001_DFA_SAD_XX"]["sha256"],
    }


def test_folds_of_a_folder_are_dealt_by_source(tmp_path, engine):
    MINIATURES["folder"](tmp_path / "own")
    items = folders.read(tmp_path / "own")
    planned = plan(folders.as_asked(items), items, Setting(shots=1, folds=3))
    assert {item.fold for item in planned.asked} <= {"1", "2", "3"} and len(planned.bank) == 4


def test_nothing_is_asked_twice_and_a_cut_line_is_asked_again(ask, engine):
    first = ask("gtzan")
    assert len(engine.prompts) == 4
    ask("gtzan", again=True)
    assert len(engine.prompts) == 4, "all answers were kept"
    file = first.folder / "items.jsonl"
    file.write_text(file.read_text()[:-40])  # as a kill leaves it
    again = ask("gtzan", again=True)
    assert len(engine.prompts) == 5 and again.summary["values"] == first.summary["values"]
    ask("gtzan", again=True, shots=1)
    assert len(engine.prompts) == 9, "another setting asks anew"


def test_a_sound_that_changed_is_asked_again(ask, engine, tmp_path):
    ask("gtzan")
    sound(tmp_path / "gtzan" / "genres" / "blues" / "blues.00000.wav", 1111)
    ask("gtzan", again=True)
    assert len(engine.prompts) == 5


def test_what_is_missing_or_no_sound_is_counted_and_the_rest_goes_on(ask, tmp_path):
    ask("esc-50")
    (tmp_path / "esc-50" / "audio" / "1-100032-A-0.wav").write_bytes(b"%PDF")
    done = ask("esc-50", again=True)
    assert done.summary["counts"]["could not be heard"] == 1 and done.summary["counts"]["answered"] == 1
    (tmp_path / "esc-50" / "audio" / "1-100032-A-0.wav").unlink()
    done = ask("esc-50", again=True)
    assert done.summary["counts"]["sounds not there"] == 1
    assert "1 of 2 sounds are missing" in done.not_comparable(done.scores[0])
    (tmp_path / "esc-50" / "audio" / "2-2-A-9.wav").unlink()
    with pytest.raises(BadRequest, match="None of the 2 sounds is there"):
        ask("esc-50", again=True)


def test_accuracy_by_text_and_by_likelihood_are_two_measures(ask):
    done = ask("folder", likelihood=True, judges=True)
    found = {score.name: score.value for score in done.scores}
    assert found["accuracy"] == 0.5, "“dog bark” is right for two of four"
    assert (
        found["accuracy by likelihood"] == found["accuracy, all judges"] == 0.5
        and 0 < found["F1, mean over labels"] < 1
    )


def test_a_dialogue_goes_turn_by_turn_with_its_own_answers_as_history(ask, engine):
    done = ask("af-dialogue-musiccaps")
    second = engine.prompts[1][0].text
    assert "user: What is heard? \nassistant: <SEP>dog bark.<|endofchunk|>" in second
    assert second.endswith("user: How often does it? \nassistant: <SEP>")
    assert [score.name for score in done.scores] == ["CIDEr", "BLEU-4", "ROUGE-L"] and done.scores[0].n == 2
    with pytest.raises(BadRequest, match="without examples"):
        ask("af-dialogue-musiccaps", again=True, shots=1)


def test_a_limit_draws_the_same_items_and_is_not_comparable(ask):
    few, more = ask("clotho-aqa", limit=2), ask("clotho-aqa", again=True, limit=3)
    assert set(few.summary["values"]) < set(more.summary["values"])
    assert "2 of 4 items" in few.not_comparable(few.scores[0])


def test_a_report_pairs_runs_and_stands_beside_the_paper(ask, engine, tmp_path):
    none = ask("clotho-v2")
    engine.script.answer = "A dog barks loudly, in evaluation ."
    shown = ask("clotho-v2", again=True, shots=1)
    text = report.markdown([none, shown])
    assert "Audio Flamingo | 0.465" in text and "Qwen-Audio | 0.441" in text and "reproduced" in text
    assert "against mini, no examples, CIDEr, 2 items that both answered: **+" in text
    report.write([none, shown], tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "<table>" in page and "Qwen-Audio" in page and page.startswith("<!doctype html>")
    with pytest.raises(BadRequest, match=r"\.md or \.html"):
        report.write([none], tmp_path / "r.pdf")


def test_without_java_captions_are_not_set_beside_a_paper(ask):
    done = ask("audiocaps")
    assert done.scores[0].tokenizer == "plain words"
    assert "not comparable: tokenized without Java" in report.markdown([done])
    done.summary["scores"][0]["tokenizer"] = metrics.PTB
    assert done.not_comparable(done.scores[0]) == ""


def test_the_command_line(tmp_path, engine, capsys):
    MINIATURES["folder"](tmp_path / "own")
    sound(tmp_path / "bank" / "glass" / "x.wav", 900)
    asked = partial(main, load=lambda name, device, progress: engine)
    begin = ["evaluate", "folder", "--data", str(tmp_path / "own"), "--out", str(tmp_path / "run"), "--beams", "1"]
    assert asked([*begin, "--json", "--shots", "1", "--bank", str(tmp_path / "bank")]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["decoding"]["num_beams"] == 1 and summary["decoding"]["max_new_tokens"] == 128
    assert summary["counts"]["in the bank"] == 1 and summary["weights"]
    assert "glass" in engine.prompts[0][0].text
    assert asked(["evaluate", "report", str(tmp_path / "run"), "--out", str(tmp_path / "report.md")]) == 0
    assert "## A folder" in (tmp_path / "report.md").read_text()
    assert asked(["evaluate", "folder"]) == 2 and "--data DIR" in capsys.readouterr().err
    assert asked(["evaluate", "report", str(tmp_path / "own")]) == 2 and "no finished run" in capsys.readouterr().err
    assert asked(["evaluate", "mini"]) == 2 and "--work" in capsys.readouterr().err
    table(tmp_path / "empty" / "a.csv", ("file", "answer"), ("gone.wav", "dog"))
    assert asked(["evaluate", "folder", "--data", str(tmp_path / "empty")]) == 2
    document(tmp_path / "bad" / "summary.json", {"scores": 3})
    assert asked(["evaluate", "report", str(tmp_path / "bad")]) == 2


@pytest.mark.slow
def test_mini_answers_every_benchmark(tmp_path, monkeypatch):
    from afcore.engine.loading import load_engine
    from afcore.model.generation import GenerationSettings

    monkeypatch.setattr(paths, "DATA", tmp_path / "data")
    mini, decoding = load_engine("mini"), GenerationSettings(max_new_tokens=6)
    for name in FILES:
        MINIATURES[name](tmp_path / name)
        chosen = benchmark(name)
        shots = 0 if chosen.kind == DIALOGUE else 1
        setting = Setting(shots=shots, decoding=decoding, limit=1)
        done = Run.read(run(chosen, chosen.read(tmp_path / name), mini, "w1", setting))
        assert done.summary["counts"]["answered"] == 1 and done.scores, name
