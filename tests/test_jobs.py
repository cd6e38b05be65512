"""A job keeps what was said, waits its turn, stops, and turns failures into a sentence."""

import gc
import json
import threading
import weakref
from contextlib import contextmanager

from afcore.app.transcripts import to_json, to_markdown
from afcore.errors import AudioError, Cancelled
from afcore.jobs import UNEXPECTED, Job


def test_text_is_followed_from_the_beginning_by_everyone():
    go = threading.Event()

    def work(job):
        job.say("a dog ")
        go.wait(10)
        job.say("barks")
        return 7

    job = Job(work).start()
    first = job.follow(tick=0.01)
    assert next(piece for piece in first if piece) == "a dog "
    go.set()
    assert "".join(first) == "barks"
    assert "".join(job.follow()) == job.text == "a dog barks"
    assert job.wait(10) and job.result == 7 and job.error is None and not job.stopped


def test_stopping_keeps_what_was_said():
    def work(job):
        job.say("half an")
        job.stopping.wait(10)

    job = Job(work).start()
    next(piece for piece in job.follow() if piece)
    job.stop()
    assert job.wait(10) and job.stopped and job.text == "half an"


def test_work_that_has_ended_cannot_be_stopped():
    job = Job(lambda job: job.say("all of it")).start()
    assert job.wait(10)
    job.stop()
    assert not job.stopped and not job.stopping.is_set() and job.text == "all of it"


def test_a_refusal_is_its_own_sentence_and_a_defect_is_not_shown():
    def refuse(job):
        raise AudioError("This file is empty.")

    refused, broken = Job(refuse).start(), Job(lambda job: 1 / 0).start()
    assert refused.wait(10) and refused.error == "This file is empty."
    assert broken.wait(10) and broken.error == UNEXPECTED and not broken.stopped


def test_a_finished_job_holds_nothing_of_what_it_worked_on():
    """A page keeps its jobs, and the model that they asked must be able to go."""

    class Model:
        pass

    model = Model()
    gone = weakref.ref(model)
    job = Job(lambda job, model=model: "done").start()
    del model
    assert job.wait(10) and job.result == "done"
    gc.collect()
    assert gone() is None


class Line:
    """A queue in which two people are ahead until ``free`` is set."""

    def __init__(self):
        self.free = threading.Event()

    @contextmanager
    def wait(self, on_wait=None, stop=None):
        on_wait(2)
        while not self.free.wait(0.01):
            if stop.is_set():
                raise Cancelled
        yield


def test_the_place_in_the_queue_shows_and_goes():
    line = Line()
    job = Job(lambda job: "done", line).start()
    while job.ahead is None:
        assert not job.done
    assert job.ahead == 2 and not job.running
    line.free.set()
    assert job.wait(10) and job.ahead is None and job.result == "done"


def test_stopping_in_the_queue_never_runs_the_work():
    ran = []
    job = Job(ran.append, Line()).start()
    job.stop()
    assert job.wait(10) and job.stopped and not ran


def test_transcripts_hold_every_turn():
    about = {"Sound": "rain.ogg", "Model": "mini"}
    turns = [
        {"question": "What\nis it?", "answer": "rain", "shots": [{"label": "rain"}, {"label": "wind"}]},
        {"question": "Indoors?", "answer": "per", "stopped": True, "shots": []},
        {"question": "Why?", "answer": "", "error": "Too long."},
        {
            "question": "Loud?",
            "answer": "yes",
            "candidates": [{"answer": "yes", "similarity": 0.514}, {"answer": "no\nidea", "similarity": -0.2}],
        },
        {"question": "Sure?", "answer": "yes", "candidates": [{"answer": "yes", "similarity": 0.514}]},
    ]
    text = to_markdown(about, turns)
    assert "## 1. What is it?\n\nrain\n" in text and "rain, wind" in text
    assert "## 2. Indoors?\n\nper\n\n*Stopped before the end.*" in text and "*Too long.*" in text
    assert (
        "## 4. Loud?\n\nyes\n\nChosen by its CLAP similarity to the sound, 0.51; the others:\n\n- -0.20 no idea\n"
        in text
    )
    assert text.endswith("## 5. Sure?\n\nyes\n")
    assert json.loads(to_json(about, turns)) == {"about": about, "turns": turns}
