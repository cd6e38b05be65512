"""The loop: embed, predict, keep fresh what is shown next; and the tutorial."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from teaching import DOGS, NamedEngine, sound, sounds
from tiny import RATE, TONES, tiny_engine, tone

from afcore import paths
from afcore.audio.recording import from_samples, open_recording
from afcore.errors import BadRequest, MissingPart
from afcore.retrieval.bank import Bank
from afcore.retrieval.nearest import Shot
from afcore.teach import predict
from afcore.teach.ingest import add_files, cut
from afcore.teach.loop import Loop
from afcore.teach.predict import classify, hear, passes
from afcore.teach.proof import of_project
from afcore.teach.review import ReviewQueue
from afcore.teach.schema import Label, Settings
from afcore.teach.store import Store
from afcore.teach.tutorial import CLASSES, GIVEN, QUEUED, TESTED, make_tutorial


def _named(project, name):
    return next(item for item in project.items() if item.name == name)


# Embedding


def test_embedding_is_kept_resumed_and_not_repeated(loop, monkeypatch):
    monkeypatch.setattr("afcore.teach.loop._TOGETHER", 5)
    stop = threading.Event()
    assert loop.embed(lambda done, total: stop.set() if done == 5 else None, stop) == 5
    seen = []
    assert loop.embed(lambda done, total: seen.append((done, total))) == 7 and seen[-1] == (7, 7)
    assert loop.embed() == 0 and len(loop.engine.heard_names) == 12
    other = Loop(loop.project, loop.engine)
    item = _named(loop.project, "dog 10.wav")
    heard = other.hear(item)
    assert (
        len(loop.engine.heard_names) == 12 and heard.vector @ other.hear(_named(loop.project, "dog 1.wav")).vector > 0.9
    )


def test_clips_are_embedded_in_batches_stored_at_once(loop, monkeypatch):
    """As many together as there is room for; what was stored is what each would be alone."""
    batches, hear = [], loop.engine.hear_many
    monkeypatch.setattr(loop.engine, "hear_many", lambda clips, *how: batches.append(len(clips)) or hear(clips, *how))
    monkeypatch.setattr("afcore.teach.loop._TOGETHER", 8)
    assert loop.embed() == 12 and batches == [8, 4]
    monkeypatch.undo()
    for item in loop.project.items()[:3]:
        together = loop.hear(item)
        loop.engine.forget()
        alone = loop._hear(item, None)
        assert np.allclose(together.features, alone.features, atol=1e-3) and np.allclose(together.vector, alone.vector)


def test_a_clip_that_cannot_be_heard_is_named_and_the_others_go_on(loop):
    project = loop.project
    lost, broken = _named(project, "dog 11.wav"), _named(project, "cat 11.wav")
    project.sound_path(lost).unlink()
    project.sound_path(broken).write_bytes(b"hello")
    assert loop.embed() == 12
    assert "is missing" in project.item(lost.id).fault and "not a sound file" in project.item(broken.id).fault
    assert project.counts().faulty == 2 and ReviewQueue(project).waiting() == 4
    assert loop.refresh(None) == 4


def test_segments_are_heard_where_they_are(loop):
    (clip_id,) = add_files(loop.project, [("dog long.wav", sound(99, 20.0))], "Mara").clips
    ids = cut(loop.project, clip_id, [(0, 8), (12, 20)], "Mara").clips
    loop.embed()
    first, last = (loop.hear(loop.project.item(i)) for i in ids)
    assert first.times[0][0] == 0 and last.times[0] == (12, 19) and last.times[-1][1] == 20


# Predicting


def test_methods_agree_with_their_examples(loop):
    item = _named(loop.project, "cat 10.wav")
    for method in ("lm-shots", "clap-nn", "clap-text"):
        found = loop.predict(item, method)
        assert found.label == "cat" and sum(found.probabilities.values()) == pytest.approx(1)
        assert list(found.probabilities) == ["dog", "cat"] and found.baselines.keys() == {"clap-nn", "clap-text"}
        assert found.similarity > 0.9
    zero = loop.predict(item, "lm-zero")
    assert zero.probabilities == {"dog": 0.5, "cat": 0.5} and zero.shots == () and len(zero.prompts) == 1
    assert loop.project.prediction(item.id) is None, "nothing is stored"


def test_shots_are_the_nearest_and_never_the_clip_itself(loop):
    found = loop.predict(_named(loop.project, "cat 1.wav"), k=3)
    assert [shot["label"] for shot in found.shots[:2]] == ["cat", "cat"] and len(found.shots) == 3
    assert _named(loop.project, "cat 1.wav").id not in [shot["id"] for shot in found.shots]
    similarities = [shot["similarity"] for shot in found.shots]
    assert similarities == sorted(similarities, reverse=True)
    text = found.prompts[0]
    assert text.count("<audio>") == 4 and text.index("OPTIONS") > text.rindex("<audio>")


def test_segments_of_a_file_are_shots_for_each_other_unless_they_overlap(loop):
    (clip_id,) = add_files(loop.project, [("cow moo.wav", sound(99, 9.0))], "Mara").clips
    ids = cut(loop.project, clip_id, [(0, 3), (2, 5), (6, 9)], "Mara").clips
    for i in ids[1:]:
        ReviewQueue(loop.project).accept(i, "dog", "Mara", 1)
    found = loop.predict(loop.project.item(ids[0]), k=8)
    assert ids[2] in [shot["id"] for shot in found.shots] and ids[1] not in [shot["id"] for shot in found.shots]


def test_more_shots_than_fit_are_read_in_several_passes(loop, monkeypatch):
    item = _named(loop.project, "cat 10.wav")
    whole = loop.predict(item, k=6)
    assert len(whole.prompts) == 1 and whole.note == ""
    monkeypatch.setattr(loop.engine, "max_shots", 2)
    parts = loop.predict(item, k=6)
    assert len(parts.prompts) == 3 and "3 passes" in parts.note and len(parts.shots) == 6
    assert [prompt.count("<audio>") for prompt in parts.prompts] == [3, 3, 3]
    # The fake doubles a label's odds for each of its shots: three of each label in all, so the passes even out.
    assert parts.probabilities["cat"] == pytest.approx(0.5)


def test_passes_share_near_and_far_shots():
    shots = [Shot(None, 1 - n / 10) for n in range(7)]
    dealt = passes(shots, 3)
    assert [len(some) for some in dealt] == [3, 2, 2] and [some[0] for some in dealt] == shots[:3]
    assert passes([], 3) == [[]]


def test_without_examples_or_labels(tmp_path):
    project = Store(tmp_path / "p").create("Empty", [], "Mara")
    add_files(project, sounds("dog 1.wav"), "Mara")
    loop = Loop(project, NamedEngine(tmp_path / "bank"))
    with pytest.raises(BadRequest, match="at least one label"):
        loop.predict(project.item(1))
    assert loop.start().wait(20) and project.counts().predicted == 0
    project.set_labels(["dog", "cat"], "Mara")
    found = loop.predict(project.item(1))
    assert found.shots == () and "no examples for this clip yet" in found.note and found.similarity is None
    assert loop.predict(project.item(1), "clap-nn").probabilities == {"dog": 0.5, "cat": 0.5}
    with pytest.raises(BadRequest, match="no method"):
        loop.predict(project.item(1), "magic")


def test_a_description_helps_the_text_side(loop):
    item = _named(loop.project, "cat 10.wav")
    before = loop.predict(item, "clap-text").probabilities["dog"]
    loop.project.set_labels([Label("dog", "cat cat cat"), "cat"], "Mara")
    assert loop.predict(item, "clap-text").probabilities["dog"] > before


def test_the_language_model_does_without_text_search(loop, monkeypatch):
    def absent(*_):
        raise MissingPart("Text search needs a package.")

    monkeypatch.setattr(predict, "_by_text", absent)
    found = loop.predict(_named(loop.project, "cat 10.wav"))
    assert found.label == "cat" and found.baselines.keys() == {"clap-nn"} and "needs a package" in found.note
    with pytest.raises(MissingPart):
        loop.predict(_named(loop.project, "cat 10.wav"), "clap-text")


def test_a_file_and_a_stored_clip_come_out_the_same(tmp_path):
    """With a real model, from features as stored and from the file as a batch run hears it."""
    engine = tiny_engine(tmp_path, bank=False)
    project = Store(tmp_path / "p").create("Tones", ["hum", "horn"], "Mara")
    for label in ("hum", "horn"):
        files = [(f"{n}.wav", from_samples(tone(TONES[label] * (1 + n / 40)), RATE).data) for n in range(2)]
        add_files(project, files, "Mara", label)
    data = from_samples(tone(TONES["horn"] * 1.01), RATE).data
    (clip_id,) = add_files(project, [("new.wav", data)], "Mara").clips
    loop = Loop(project, engine)
    loop.embed()
    engine.forget()
    stored = loop.predict(project.item(clip_id), k=2)
    recording = open_recording(data, "new.wav")
    fresh = classify(engine, hear(engine, recording.clip()), loop.examples(), "lm-shots", 2)
    assert stored.prompts == fresh.prompts and stored.probabilities == pytest.approx(fresh.probabilities, abs=1e-6)
    assert [shot["label"] for shot in fresh.shots] == ["horn", "horn"]


# Stale and fresh


def test_a_new_example_makes_predictions_stale(loop):
    project, queue = loop.project, ReviewQueue(loop.project)
    assert loop.stale() == 6 and loop.refresh(None) == 6 and loop.stale() == 0
    first = queue.next_clip("Mara")
    assert loop.is_fresh(project.prediction(first.id))
    assert project.prediction(first.id).label == first.name.split()[0]
    queue.accept(first.id, first.name.split()[0], "Mara", first.version)
    assert loop.stale() == 5 and not loop.is_fresh(project.prediction(queue.next_clip("Mara").id))
    assert loop.refresh(2) == 3, "the one in Mara's hands and the next two"
    assert loop.stale() == 2
    queue.undo("Mara")
    assert loop.stale() == 6, "without the example it is another set again"


def test_the_model_is_asked_again_only_where_the_prompt_changes(loop):
    loop.refresh(None)
    asked = loop.engine.said
    add_files(loop.project, sounds("bird 1.wav", seed=5), "Mara", "dog")  # far from all
    assert loop.stale() == 6 and loop.refresh(None) == 6 and loop.stale() == 0
    assert loop.engine.said == asked
    add_files(loop.project, sounds("dog 10.wav", seed=6), "Mara", "dog")  # much like one that waits
    loop.refresh(None)
    assert asked < loop.engine.said < asked + 6
    asked = loop.engine.said
    for name in DOGS:
        loop.project.relabel(_named(loop.project, name).id, "cat", "Mara", 1)
    loop.refresh(None)
    assert asked < loop.engine.said


def test_other_settings_make_predictions_stale(loop):
    loop.refresh(None)
    loop.project.set_settings(replace(loop.project.settings, order="entropy", reject_below=0.2), "Mara")
    assert loop.stale() == 0, "how they are read, not how they are made"
    loop.project.set_settings(replace(loop.project.settings, k=1), "Mara")
    assert loop.stale() == 6


def test_the_queue_is_ordered_by_uncertainty(loop):
    project = loop.project
    add_files(project, sounds("dog cat 1.wav", seed=7), "Mara")
    project.set_settings(Settings("clap-nn"), "Mara")
    loop.refresh(None)
    for order in ("margin", "entropy"):
        project.set_settings(Settings("clap-nn", order=order), "Mara")
        upcoming = ReviewQueue(project).upcoming()
        assert upcoming[0].name == "dog cat 1.wav" and len(upcoming) == 7
        margins = [abs(p["dog"] - p["cat"]) for p in (project.prediction(item.id).probabilities for item in upcoming)]
        assert margins == sorted(margins)
    add_files(project, sounds("dog new.wav", seed=8), "Mara")
    assert ReviewQueue(project).upcoming()[-1].name == "dog new.wav", "what was not predicted comes last"


def test_the_background_job_takes_up_what_is_added_meanwhile(loop):
    loop.engine.script.pace = 0.002
    job = loop.start()
    queue = ReviewQueue(loop.project)
    for _ in range(4):
        item = queue.next_clip("Mara")
        queue.accept(item.id, item.name.split()[0], "Mara", item.version)
        again = Loop(loop.project, loop.engine).start()
        assert again is job or job.done
        job = again
    assert job.wait(20) and job.error is None
    assert loop.stale() == 0 and loop.project.counts().example == 10
    assert loop.start() is not job


def test_what_comes_first_is_predicted_before_all_clips_are_heard(loop, monkeypatch):
    add_files(loop.project, sounds(*(f"dog {n}.wav" for n in range(30, 60)), seed=3), "Mara")
    heard, keep = [], loop.project.set_prediction

    def note(clip_id, prediction):
        heard.append(len(loop.engine.heard_names))
        keep(clip_id, prediction)

    monkeypatch.setattr(loop.project, "set_prediction", note)
    job = loop.start()
    assert job.wait(60) and job.error is None and loop.stale() == 0
    assert heard[0] == 7, "the six examples and the clip itself"
    assert heard[19] == 26 and heard[-1] == 42


def test_the_background_job_can_be_stopped_and_started_again(loop):
    loop.engine.script.pace = 0.02
    job = loop.start()
    job.stop()
    assert job.wait(10) and job.stopped
    loop.engine.script.pace = 0
    again = loop.start()
    assert again is not job and again.wait(20) and loop.stale() == 0


def test_new_weights_make_predictions_stale(loop, tmp_path, monkeypatch):
    loop.refresh(None)
    assert loop.stale() == 0
    again = Loop(loop.project, NamedEngine(tmp_path / "again"))
    assert again.stale() == 0, "the same weights, loaded anew"
    (tmp_path / "mini").mkdir()
    (tmp_path / "mini" / "flamingo.safetensors").write_bytes(b"new")
    monkeypatch.setattr(paths, "MINI", tmp_path / "mini")
    assert loop.stale() == 0, "files are replaced under an engine that goes on with what it has read"
    assert Loop(loop.project, NamedEngine(tmp_path / "new")).stale() == 6


# The tutorial


def test_the_tutorial_keeps_sources_apart_and_shows_the_gain(tmp_path):
    bank = Bank(tmp_path / "bank", create=True)
    number = 0
    for label, _ in CLASSES.values():
        for source in range(GIVEN + QUEUED + TESTED + 1):
            for _ in range(2):
                number += 1
                name = f"{label} {source}"
                bank.add(sound(number), label, label, 0.2, path=f"{name}.wav", group_key=name, licence="CC0")
    project = make_tutorial(Store(tmp_path / "projects"), bank, "Mara")
    counts = project.counts()
    assert (counts.example, counts.open, counts.test) == (4 * GIVEN, 4 * QUEUED, 4 * TESTED)
    items = project.items()
    assert len({item.group_key for item in items}) == len(items)
    assert {(item.truth, item.label) for item in project.items("open")} == {(label, None) for label in CLASSES}
    assert items[0].source == "CC0"
    engine = NamedEngine(tmp_path / "other")
    queue = ReviewQueue(project)
    while (item := queue.next_clip("Mara")) is not None:
        queue.accept(item.id, item.truth, "Mara", item.version)
    found = list(of_project(project, engine, shots=(0, 4)))[-1].result()
    assert found.total == 4 * TESTED and "test clips" in found.note
    assert found.score("lm-zero").accuracy == 0.25
    assert found.score("lm-shots", 4).accuracy > 0.8 and found.score("clap-nn").accuracy > 0.8


def test_a_bank_without_the_classes_makes_no_tutorial(tmp_path):
    store = Store(tmp_path / "projects")
    with pytest.raises(BadRequest, match="too few sounds"):
        make_tutorial(store, Bank(tmp_path / "bank", create=True), "Mara")
    assert store.projects() == []
