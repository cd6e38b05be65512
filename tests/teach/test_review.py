"""The review queue: who has which clip, what they say, what is taken back, and that nobody waits for the model."""

import threading

import numpy as np
import pytest
from teaching import NamedEngine, sounds

from afcore.errors import BadRequest
from afcore.teach import review
from afcore.teach.ingest import add_files
from afcore.teach.loop import Loop
from afcore.teach.review import ReviewQueue
from afcore.teach.schema import Changed, Settings
from afcore.teach.store import Store


def test_two_reviewers_never_have_the_same_clip(loop):
    queue = ReviewQueue(loop.project)
    mine, theirs = queue.next_clip("Mara"), queue.next_clip("Jo")
    assert mine.id != theirs.id and queue.next_clip("Mara") == mine
    assert {(item.id, who) for item, who in queue.in_hands()} == {(mine.id, "Mara"), (theirs.id, "Jo")}
    with pytest.raises(Changed, match="Mara is judging"):
        queue.accept(mine.id, "dog", "Jo", mine.version)
    queue.release("Mara")
    assert queue.next_clip("Ada").id == mine.id


def test_judgements(loop):
    queue, project = ReviewQueue(loop.project), loop.project
    revision = project.revision
    first, second, third = (queue.upcoming()[n] for n in range(3))
    assert queue.accept(first.id, "dog", "Mara", 1).state == "example" and project.revision == revision + 1
    assert queue.accept(second.id, None, "Mara", 1).state == "none" and project.revision == revision + 1
    assert queue.skip(third.id, "Mara", 1).state == "skipped" and queue.waiting() == 3
    i = queue.upcoming()[0].id
    for wrong in ((first.id, "cat", "Jo", 2), (i, "cow", "Jo", 1), (999, "dog", "Jo", 1), (i, "dog", " ", 1)):
        with pytest.raises(BadRequest):
            queue.accept(*wrong)
    assert queue.restore_skipped("Jo") == 1 and queue.waiting() == 4
    assert project.counts().none == 1


def test_undo_takes_back_ones_own_last_judgement(loop):
    queue, project = ReviewQueue(loop.project), loop.project
    with pytest.raises(BadRequest, match="nothing of yours"):
        queue.undo("Mara")
    revision = project.revision
    first = queue.next_clip("Mara")
    queue.accept(first.id, "dog", "Mara", first.version)
    second = queue.next_clip("Mara")
    queue.skip(second.id, "Mara", second.version)
    other = queue.next_clip("Jo")
    queue.accept(other.id, "cat", "Jo", other.version)
    third = queue.next_clip("Mara")
    assert queue.undo("Mara").id == second.id and queue.next_clip("Mara").id == second.id
    assert queue.undo("Mara").id == first.id and project.item(first.id).state == "open"
    assert queue.next_clip("Mara").id == first.id and third.id in [item.id for item in queue.upcoming()]
    assert project.revision == revision + 3 and project.item(other.id).label == "cat"
    with pytest.raises(BadRequest, match="nothing of yours"):
        queue.undo("Mara")


def test_what_somebody_has_changed_since_is_not_taken_back(loop):
    queue, project = ReviewQueue(loop.project), loop.project
    first = queue.next_clip("Mara")
    accepted = queue.accept(first.id, "dog", "Mara", first.version)
    project.relabel(first.id, "cat", "Jo", accepted.version)
    with pytest.raises(Changed, match="Jo changed"):
        queue.undo("Mara")
    assert project.item(first.id).label == "cat"


def test_many_threads_share_a_queue(loop):
    queue, taken, lock = ReviewQueue(loop.project), [], threading.Lock()

    def review(who):
        while (item := queue.next_clip(who)) is not None:
            with lock:
                taken.append(item.id)
            queue.accept(item.id, "dog", who, item.version)

    threads = [threading.Thread(target=review, args=(f"r{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(set(taken)) and len(taken) == 6 and loop.project.revision == 12


def test_leases_run_out(tmp_path, monkeypatch):
    project = Store(tmp_path / "projects").create("Pumps", ["running", "cavitating"], "Mara")
    add_files(project, sounds("a.wav"), "Mara")
    queue, clock = ReviewQueue(project), [1000.0]
    monkeypatch.setattr(review, "now", lambda: clock[0])
    mine = queue.next_clip("Mara")
    assert queue.next_clip("Jo") is None and queue.next_clip("Mara") == mine
    clock[0] += review.LEASE_SECONDS + 1
    theirs = queue.next_clip("Jo")
    assert theirs.id == mine.id
    with pytest.raises(Changed, match=r"Jo is judging “a.wav”"):
        queue.accept(mine.id, "running", "Mara", mine.version)
    queue.accept(theirs.id, "cavitating", "Jo", theirs.version)
    with pytest.raises(Changed, match=r"Jo changed “a.wav” meanwhile"):
        queue.accept(mine.id, "running", "Mara", mine.version)
    assert project.item(1).label == "cavitating"


def test_a_hundred_clips_are_reviewed_without_waiting_for_the_model(tmp_path):
    """While somebody listens to a clip the model comes to three others, no more."""
    project = Store(tmp_path / "projects").create("Animals", ["dog", "cat"], "Mara", Settings(k=2))
    for n, animal in enumerate(("dog", "cat")):
        add_files(project, sounds(f"{animal} 0.wav", f"{animal} 1.wav", seed=n), "Mara", animal)
    add_files(
        project, sounds(*(f"{animal} {n}.wav" for n in range(2, 52) for animal in ("dog", "cat")), seed=2), "Mara"
    )
    loop = Loop(project, NamedEngine(tmp_path / "bank"))
    loop.embed()
    loop.refresh()
    behind, turn, predict_one = [], threading.Semaphore(0), loop._refresh_one

    def in_time(*given):
        turn.acquire()
        predict_one(*given)
        came.release()

    came = threading.Semaphore(0)
    loop._refresh_one = in_time
    for _ in range(100):
        item = loop.queue.next_clip("Mara")
        prediction = project.prediction(item.id)
        assert prediction is not None and prediction.label == item.name.split()[0]
        behind.append(project.revision - int(prediction.basis.rpartition(" ")[2]))
        job = loop.start()
        turn.release(3)
        for _ in range(3):
            while not came.acquire(timeout=0.02) and not job.done:
                pass
        loop.queue.accept(item.id, prediction.label, "Mara", item.version)
    turn.release(1000)
    assert job.wait(60) and loop.queue.waiting() == 0
    assert np.mean(behind) <= 2 and max(behind) <= 20, "judgements that the prediction on the card does not know of yet"
