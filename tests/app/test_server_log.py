"""The server's log: figures of jobs and places of errors, and nothing that anybody wrote."""

import json
import logging

import pytest

from afcore.app import server_log
from afcore.app.problems import sentence_of
from afcore.errors import BadRequest
from afcore.jobs import Job

SECRET = "what my neighbour said"


def _fails(job):
    raise ValueError(SECRET)


def _refuses(job):
    raise BadRequest(SECRET)


@pytest.fixture
def lines():
    """What the log's lines of JSON are."""
    found, own = [], logging.getLogger("afcore")
    server_log.settle()
    formatter = server_log.JsonLines()
    handler = logging.Handler()
    handler.emit = lambda record: found.append(formatter.format(record))
    own.addHandler(handler)
    server_log.recent.jobs.clear()
    yield found
    own.removeHandler(handler)


def test_jobs_and_errors_are_told_without_what_was_said(lines):
    for work in (lambda job: job.say(SECRET), _fails, _refuses):
        assert Job(work, key=SECRET, kind="chat").start().wait(10)
    while len(server_log.recent.jobs) < 3:
        pass
    sentence_of(ValueError(SECRET), "A page failed")
    assert SECRET not in "".join(lines)
    told = [json.loads(line) for line in lines]
    ended = [line["outcome"] for line in told if line["event"] == "A job ended"]
    assert sorted(ended) == ["done", "failed", "refused"]
    [failed] = [line for line in told if line["event"] == "A job failed"]
    assert failed["error"] == "ValueError" and "_fails" in failed["at"][-1] and failed["level"] == "error"
    [row] = server_log.timings()
    assert row["kind"] == "chat" and row["jobs"] == 3 and row["failed"] == row["refused"] == row["done"] == 1
