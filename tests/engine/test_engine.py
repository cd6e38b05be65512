"""The engine on a tiny random model: what is heard, retrieved, asked and scored, and what is passed on to whom."""

import functools
import threading
import weakref
from dataclasses import replace

import numpy as np
import psutil
import pytest
import torch
from tiny import RATE, TONES, tiny_engine, tone, tone_clip

from afcore import prompts
from afcore.audio.recording import from_samples
from afcore.engine.calibration import Calibration
from afcore.engine.loading import load_engine
from afcore.engine.memory import OutOfMemory
from afcore.errors import AudioError, BadRequest, MissingPart
from afcore.jobs import Job
from afcore.model.generation import GenerationSettings, stream
from afcore.retrieval.bank import Bank
from afcore.retrieval.nearest import embed_bank, prompt_order

SHORT = GenerationSettings(max_new_tokens=6)


@pytest.fixture
def engine(tmp_path):
    return tiny_engine(tmp_path)


@pytest.fixture
def heard(engine):
    return engine.hear(tone_clip(430))


def labels_of(shots):
    return [shot.example.label for shot in shots]


def test_hearing_gives_windows_vector_and_tags(engine):
    recording = from_samples(tone(300, 20.0), RATE, "long")
    heard = engine.hear(recording.clip(2.0, 10.0))
    assert heard.times == [(2.0, 9.0), (3.75, 10.75), (5.5, 12.0)]
    assert heard.features.shape == (3, engine.encoder.width)
    assert np.linalg.norm(heard.vector) == pytest.approx(1, abs=1e-5)
    assert len(heard.tags) == 10 and heard.tags == sorted(heard.tags, key=lambda tag: -tag[1])
    assert heard.timings["encode"] > 0 and any("2 s to 12 s" in notice.sentence for notice in heard.notices)


def test_loudness_does_not_matter_and_a_clip_is_heard_once(engine, monkeypatch):
    clip = tone_clip(300)
    loud = engine.hear(clip)
    quiet = engine.hear(from_samples(tone(300) / 50, RATE, "quiet").clip())
    torch.testing.assert_close(quiet.features, loud.features, atol=0.02, rtol=0)
    monkeypatch.setattr(engine.encoder, "embed", None)
    assert engine.hear(clip).features is loud.features


def test_one_sound_under_two_names_is_heard_once_and_keeps_both(engine):
    clips = [from_samples(tone(310), RATE, name).clip() for name in ("mine", "yours")]
    mine, yours = engine.hear_many(clips, remember=False)
    assert (mine.clip.name, yours.clip.name) == ("mine", "yours") and mine.features is yours.features
    assert sorted(bool(one.timings["encode"]) for one in (mine, yours)) == [False, True]


def test_a_file_reports_decoding_and_a_bad_one_is_refused(engine, tmp_path):
    file = tmp_path / "tone.wav"
    file.write_bytes(from_samples(tone(300), RATE, "x").data)
    assert set(engine.hear_file(file).timings) == {"decode_audio", "encode"}
    with pytest.raises(AudioError):
        engine.hear_file(b"%PDF-1.4 not a sound")


def test_neighbours_are_by_sound_and_search_by_text(engine, heard):
    assert labels_of(engine.neighbours(heard, 1)) == ["horn"]
    horn = engine.neighbours(heard, 1)[0].example.id
    assert "horn" not in labels_of(engine.neighbours(heard, 5, exclude={horn}))
    assert engine.search("a loud whistle", 1)[0].example.label == "whistle"
    with pytest.raises(BadRequest):
        engine.search("  ")


def test_the_query_is_no_neighbour_of_itself(engine):
    heard = engine.hear(tone_clip(TONES["beep"]))
    assert "beep" not in labels_of(engine.neighbours(heard, 6))
    assert engine.as_shot(heard, next(e for e in engine.bank.examples() if e.label == "beep")).similarity > 0.999


def test_a_bank_is_embedded_once(engine, tmp_path, monkeypatch):
    """The second engine finds features and vectors in the bank, and fills in what one example lacks."""
    assert embed_bank(engine, engine.bank) == len(TONES)
    bank = Bank(tmp_path / "bank")
    lacking = bank.examples()[2].id
    bank._database.execute("DELETE FROM embedding WHERE example_id = ? AND kind = 'features'", (lacking,))
    heard, hear = [], engine.hear_files
    monkeypatch.setattr(engine, "hear_files", lambda files: heard.extend(file for file, _ in files) or hear(files))
    assert embed_bank(engine, bank) == 1 and heard == [bank.audio_path(lacking)]
    assert embed_bank(engine, bank) == 0


def test_without_a_bank_retrieval_says_what_to_do(tmp_path):
    engine = tiny_engine(tmp_path, bank=False)
    with pytest.raises(MissingPart, match="example bank"):
        engine.neighbours(engine.hear(tone_clip(300)))


def test_shots_answer_questions_about_classes_with_labels_and_others_with_captions(engine, heard):
    shots = prompt_order(engine.neighbours(heard, 2))
    names = labels_of(shots)
    caption = engine.build_prompt(heard, prompts.CAPTION, shots)
    assert caption.text == (
        "Here are similar examples. The task is audio captioning. "
        + "".join(f"<audio>describe the sound in a sentence.\nanswer:<SEP>a {n} sounds.<|endofchunk|>" for n in names)
        + "<audio>describe the sound in a sentence.\nanswer:<SEP>"
    )
    assert caption.audios == (*shots, prompts.QUERY)
    classify = engine.build_prompt(heard, prompts.CLASSIFY, shots[:1], labels=["Hum", "Horn"])
    assert classify.text == (
        "Here are similar examples. The task is event classification. "
        f"<audio>classify this sound.\nanswer:<SEP>{names[0]}<|endofchunk|>"
        "<audio>classify this sound.\nOPTIONS:\n - hum.\n - horn.\nanswer:<SEP>"
    )
    question = engine.build_prompt(heard, "Is it far?", shots[:1])
    assert question.text.endswith(
        f"describe the sound in a sentence.\nanswer:<SEP>a {names[0]} sounds.<|endofchunk|>"
        "<audio>please answer this question: is it far?\nOPTIONS:\nyes.\nno.\nanswer:<SEP>"
    )


def test_only_single_questions_for_yes_or_no_list_these_as_options(engine, heard):
    assert "yes.\nno." in engine.build_prompt(heard, "Is it far?").text
    assert "OPTIONS" not in engine.build_prompt(heard, "What is it?").text
    labelled = engine.build_prompt(heard, "Is it far?", labels=["a", "b"]).text
    assert labelled.endswith("is it far?\nOPTIONS:\n - a.\n - b.\nanswer:<SEP>")
    assert engine.build_prompt(heard, "Is it far?", chat=True) == prompts.chat([], "Is it far?")
    assert "OPTIONS" not in engine.build_prompt(heard, "Is it far?", history=[("What?", "A horn.")]).text


def test_dialogues(engine, heard):
    shot = engine.neighbours(heard, 1)
    assert engine.build_prompt(heard, "What is it?", chat=True) == prompts.chat([], "What is it?")
    with_history = engine.build_prompt(heard, "Where?", shot, history=[("What?", "A horn.")])
    assert with_history == prompts.chat(
        [("What?", "A horn.")], "Where?", shots=[(prompts.CAPTION, "A horn sounds.")], references=shot
    )


def test_labels_can_be_left_out_of_the_prompt(tmp_path):
    engine = tiny_engine(tmp_path, Calibration(options=False))
    assert "OPTIONS" not in engine.build_prompt(engine.hear(tone_clip(430)), prompts.CLASSIFY, labels=["a", "b"]).text


def test_what_cannot_be_asked_is_refused(engine, heard):
    assert engine.max_shots == 8
    with pytest.raises(BadRequest, match="at most 8"):
        engine.build_prompt(heard, "What?", engine.neighbours(heard, 6) * 2)
    with pytest.raises(BadRequest):
        engine.build_prompt(heard, "  ")
    for labels in ([], ["a", " "], ["dog bark", "Dog_bark"]):
        with pytest.raises(BadRequest):
            engine.classify(heard, labels)


def test_the_model_gets_the_sounds_in_the_prompts_order(engine, heard):
    shots = prompt_order(engine.neighbours(heard, 2))
    inputs = engine.inputs(heard, engine.build_prompt(heard, "What?", shots))
    embeds, mask = inputs["audio_embeds"][0].view(3, 16, -1), inputs["audio_mask"][0].view(3, 16)
    for place, features in enumerate([*map(engine.features_of, shots), heard.features]):
        assert torch.equal(embeds[place, : len(features)], features)
        assert mask[place].tolist() == [i < len(features) for i in range(16)]
    assert (inputs["input_ids"] == engine.language.model.config.audio_token_id).sum() == 3


def test_streaming_gives_the_whole_answer_with_timings(engine, heard):
    prompt, timings = engine.build_prompt(heard, "What?"), {}
    pieces = list(engine.stream(heard, prompt, SHORT, timings=timings))
    inputs = engine.inputs(heard, prompt)
    assert "".join(pieces) == "".join(stream(engine.language.model, engine.language.tokenizer, inputs, SHORT)) != ""
    assert 0 < timings["first_token"] <= timings["generate"]


def test_many_answered_together_are_answered_as_each_alone(engine, heard):
    other = engine.hear(tone_clip(900, 12.0))  # of several windows
    shots = engine.neighbours(heard, 3)
    asked = [
        (heard, engine.build_prompt(heard, "what is it?")),
        (other, engine.build_prompt(other, "and what is this long sound, if I may ask?", chat=True)),
        (heard, engine.build_prompt(heard, "which?", shots)),
    ]
    together = engine.language.answers([(prompt, engine.sounds(sound, prompt)) for sound, prompt in asked], SHORT)
    assert together == ["".join(engine.stream(sound, prompt, SHORT)) for sound, prompt in asked]
    with pytest.raises(BadRequest, match="likeliest"):
        engine.language.answers([], GenerationSettings(temperature=1))


def test_stopping_ends_within_a_token(engine, heard):
    made = []
    engine.language.model.register_forward_hook(lambda *_: made.append(1))
    stop = threading.Event()
    stop.set()
    list(engine.stream(heard, engine.build_prompt(heard, "What?"), GenerationSettings(max_new_tokens=50), stop))
    assert len(made) == 1


def test_the_next_turn_of_a_chat_reads_only_what_is_new(engine, heard, tmp_path):
    shots = engine.neighbours(heard, 2)
    first = engine.ask(heard, "What is it?", shots, settings=SHORT)  # other text, same sounds
    read = []
    engine.language.model.language_model.register_forward_pre_hook(
        lambda module, args, kwargs: read.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )

    def turn(history, question):
        read.clear()
        prompt = engine.build_prompt(heard, question, shots, history, chat=True)
        return "".join(engine.stream(heard, prompt, SHORT)), len(engine.language.tokenizer(prompt.text).input_ids)

    _, length = turn([], "What is it?")
    history = [("What is it?", "a horn")]
    second, longer = turn(history, "And where?")
    assert read[0] < longer - length + 12 < longer  # the turn's own text, not the sounds and shots before it
    fresh = tiny_engine(tmp_path)
    again = fresh.hear(heard.clip)
    prompt = fresh.build_prompt(again, "And where?", fresh.neighbours(again, 2), history, chat=True)
    assert "".join(fresh.stream(again, prompt, SHORT)) == second
    assert first.text != "" and first.model == "tiny"


def by_hand(engine, heard, prompt, label):
    """Sum of log-probabilities of the label's tokens, read in one pass without any cache."""
    inputs = engine.inputs(heard, prompt)
    tokens = engine.language.tokenizer(label, return_tensors="pt", add_special_tokens=False).input_ids
    start = inputs["input_ids"].shape[1]
    inputs["input_ids"] = torch.cat([inputs["input_ids"], tokens], 1)
    with torch.inference_mode():
        logits = engine.language.model(**inputs, use_cache=False).logits[0, start - 1 : -1].log_softmax(-1)
    return logits.gather(1, tokens[0, :, None]).sum().item()


@pytest.mark.parametrize("shots", [0, 3])
@pytest.mark.parametrize(
    "calibration", [Calibration(), Calibration("sum", 0.7, 2.0, end=True)], ids=["plain", "calibrated"]
)
def test_probabilities_come_from_the_likelihood_of_each_label(tmp_path, shots, calibration):
    engine = tiny_engine(tmp_path, calibration)
    heard = engine.hear(tone_clip(430))
    labels = ["Horn", "dog_bark", "a"]
    chosen = engine.neighbours(heard, shots)
    found = engine.classify(heard, labels, chosen)
    assert list(found) == labels and sum(found.values()) == pytest.approx(1, abs=1e-9)
    prompt = engine.build_prompt(heard, prompts.CLASSIFY, chosen, labels=labels)
    bare = engine.build_prompt(heard, prompts.CLASSIFY, labels=labels)
    end = "<|endofchunk|>" if calibration.end else ""
    references = engine.references()
    assert len(references) == len(TONES), "an example of every label of the bank"
    scores = []
    for answer in ("horn", "dog bark", "a"):
        score = by_hand(engine, heard, prompt, answer + end)
        if calibration.alpha:
            likely = [by_hand(engine, sound, bare, answer + end) for sound in references]
            own = torch.tensor(likely, dtype=torch.float64)
            score -= calibration.alpha * own.exp().mean().log().item()
        scores.append(score / len(answer) if calibration.normalise == "mean" else score)
    expected = torch.softmax(torch.tensor(scores, dtype=torch.float64) / calibration.temperature, 0)
    assert list(found.values()) == pytest.approx(expected.tolist(), abs=1e-4)


def test_what_labels_score_for_any_sound_is_kept(tmp_path, monkeypatch):
    """Label by label, and silence stands for any sound where there is no bank."""
    engine = tiny_engine(tmp_path, Calibration(alpha=0.5, options=False), bank=False)
    judge = engine.language_judge
    scored, score = [], judge.score_labels
    monkeypatch.setattr(
        judge,
        "score_labels",
        lambda heard, prompt, labels: scored.append((heard.clip.name, labels)) or score(heard, prompt, labels),
    )
    for hz in (300, 430, 900):
        engine.classify(engine.hear(tone_clip(hz)), ["horn", "hum"])
    assert [labels for name, labels in scored if name == "silence"] == [["horn", "hum"]] and len(scored) == 4
    first = engine.classify(engine.hear(tone_clip(300)), ["horn", "bell"])
    assert [labels for name, labels in scored if name == "silence"][1:] == [["bell"]]
    engine.forget()
    again = engine.classify(engine.hear(tone_clip(300)), ["horn", "bell"])
    assert list(again.values()) == pytest.approx(list(first.values()), abs=1e-6)


def test_what_was_forgotten_is_heard_again(engine, monkeypatch):
    clip = tone_clip(300)
    engine.hear(clip)
    engine.forget()
    monkeypatch.setattr(engine.encoder, "embed", None)
    with pytest.raises(TypeError):
        engine.hear(clip)


def test_three_answers(engine, heard):
    shots, seen = prompt_order(engine.neighbours(heard, 3)), []
    answers = engine.three_answers(
        heard, prompts.CLASSIFY, shots, ["horn", "hum"], settings=SHORT, on_answer=seen.append
    )
    assert seen == answers and [len(a.shots) for a in answers] == [0, 3, 3]
    _, with_shots, mixed = answers
    assert [s.example.id for s in mixed.shots] == [s.example.id for s in with_shots.shots]
    assert all(a.example.label != b.example.label for a, b in zip(with_shots.shots, mixed.shots, strict=True))
    assert sorted(labels_of(mixed.shots)) == sorted(labels_of(shots))
    assert with_shots.prompt.text != mixed.prompt.text and len({a.title for a in answers}) == 3
    assert all(sum(a.probabilities.values()) == pytest.approx(1) for a in answers)
    with pytest.raises(BadRequest):
        engine.three_answers(heard, "What?", [])


def test_candidates_come_nearest_first(engine, heard):
    settings = GenerationSettings(max_new_tokens=4, temperature=1.0, seed=1)
    found = engine.candidates(heard, engine.build_prompt(heard, "What?"), 5, settings)
    assert 1 < len(found) <= 5 and [s for _, s in found] == sorted((s for _, s in found), reverse=True)
    vectors = engine.clap.text([text for text, _ in found])
    assert [s for _, s in found] == pytest.approx((vectors @ heard.vector).tolist())


def test_the_best_of_several(engine, heard):
    settings = GenerationSettings(max_new_tokens=4, temperature=1.0, seed=1)
    answer = engine.best_of(heard, "What?", 5, settings=settings)
    assert list(answer.candidates) == engine.candidates(heard, engine.build_prompt(heard, "What?"), 5, settings)
    assert answer.text == answer.candidates[0][0] and answer.to_json()["candidates"][0]["answer"] == answer.text
    with pytest.raises(BadRequest, match="beam"):
        engine.best_of(heard, "What?", 5, settings=replace(settings, num_beams=2))


def test_a_gpu_without_enough_memory_is_a_sentence_and_the_next_request_is_met(engine, heard, monkeypatch):
    prompt, forward = engine.build_prompt(heard, "What?"), type(engine.language.model).forward
    asked = {
        "stream": lambda: list(engine.stream(heard, prompt, SHORT)),
        "candidates": lambda: engine.candidates(heard, prompt, 2, replace(SHORT, temperature=1.0)),
        "labels": lambda: engine.classify(heard, ["horn", "hum"]),
    }
    for ask in asked.values():
        engine.hear(heard.clip)
        list(engine.stream(heard, prompt, SHORT))
        assert engine.language.conversations and len(engine.ear)

        def full(*_, **__):
            raise torch.OutOfMemoryError("CUDA out of memory.")

        with monkeypatch.context() as patch:
            patch.setattr(type(engine.language.model), "forward", functools.wraps(forward)(full))
            with pytest.raises(OutOfMemory, match="GPU has too little memory"):
                ask()
            assert not engine.language.conversations and not len(engine.ear)
            job = Job(lambda job, ask=ask: ask()).start()
            assert job.wait(60) and job.error.startswith("The GPU") and not engine.turns
        assert ask() is not None

    monkeypatch.setattr(engine.encoder, "embed", full)
    with pytest.raises(OutOfMemory):
        engine.hear(tone_clip(777))


def test_a_model_that_is_put_away_gives_its_memory_back(engine, heard):
    """Although somebody still holds the engine; and whatever is asked of it then is refused in a sentence."""
    engine.language.model.register_buffer("ballast", torch.ones(50_000_000))  # 200 MB
    model, shots = weakref.ref(engine.language.model), engine.neighbours(heard, 2)
    prompt = engine.build_prompt(heard, "What?", shots)
    list(engine.stream(heard, prompt, SHORT))
    before = psutil.Process().memory_info().rss
    engine.close()
    assert model() is None and before - psutil.Process().memory_info().rss > 150e6
    for ask in (
        lambda: engine.hear(heard.clip),
        lambda: list(engine.stream(heard, prompt)),
        lambda: engine.neighbours(heard, 2),
        lambda: engine.candidates(heard, prompt, 2, SHORT),
    ):
        with pytest.raises(BadRequest, match="Another model was chosen"):
            ask()


def test_an_answer_as_json(engine, heard):
    shots = engine.neighbours(heard, 2)
    data = engine.ask(heard, "What?", shots, settings=SHORT).to_json()
    assert set(data) == {"answer", "shots", "windows", "prompt", "timings", "model"}
    assert [set(shot) for shot in data["shots"]] == [{"id", "label", "caption", "similarity", "notices"}] * 2
    assert data["windows"] == [{"start": 0.0, "end": 2.0}] and data["prompt"].endswith("<SEP>")
    assert {"encode", "first_token", "generate"} <= set(data["timings"])


def test_silence_and_ten_milliseconds_are_answered(engine):
    for samples in (np.zeros(RATE, np.float32), tone(300, 0.01)):
        heard = engine.hear(from_samples(samples, RATE).clip())
        assert heard.notices and isinstance(
            engine.ask(heard, "What?", engine.neighbours(heard, 2), settings=SHORT).text, str
        )


def test_half_precision(tmp_path):
    engine = tiny_engine(tmp_path, dtype=torch.bfloat16)
    heard = engine.hear(tone_clip(430))
    found = engine.classify(heard, ["horn", "hum"], engine.neighbours(heard, 2))
    assert sum(found.values()) == pytest.approx(1, abs=1e-9)
    assert isinstance(engine.ask(heard, "What?", settings=SHORT).text, str)


def test_an_unknown_model_is_refused():
    with pytest.raises(BadRequest, match="mini"):
        load_engine("nothing")
