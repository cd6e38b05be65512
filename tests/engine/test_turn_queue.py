"""The queue in front of the model: order, places, cancelling, exceptions."""

import threading

import pytest

from afcore.engine.turn_queue import TurnQueue
from afcore.errors import Cancelled

PATIENCE = 10  # seconds until a test that hangs fails


class Visitor:
    """A thread that waits for its turn, keeps it until told to leave, and writes down what it saw."""

    def __init__(self, turns: TurnQueue, log: list, name: str, background: bool = False):
        self.background = background
        self.places, self.outcome = [], None
        self.inside, self.leave, self.stop = threading.Event(), threading.Event(), threading.Event()
        self.moved = threading.Condition()
        self.thread = threading.Thread(target=self._run, args=(turns, log, name), daemon=True)

    def _run(self, turns, log, name):
        try:
            with turns.wait(on_wait=self._place, stop=self.stop, background=self.background):
                log.append(name)
                self.inside.set()
                self.leave.wait(PATIENCE)
            self.outcome = "left"
        except Cancelled:
            self.outcome = "cancelled"

    def _place(self, ahead):
        with self.moved:
            self.places.append(ahead)
            self.moved.notify_all()

    def start(self, place):
        self.thread.start()
        self.reach(place)
        return self

    def reach(self, place):
        with self.moved:
            assert self.moved.wait_for(lambda: self.places and self.places[-1] == place, PATIENCE)

    def join(self):
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()


def test_first_come_first_served_with_places():
    turns, log = TurnQueue(), []
    visitors = [Visitor(turns, log, name).start(i) for i, name in enumerate("abc")]
    assert len(turns) == 3 and log == ["a"]
    for number, visitor in enumerate(visitors):
        for place, waiting in enumerate(visitors[number:]):
            waiting.reach(place)  # one who wakes up late may miss a place
        assert visitor.inside.wait(PATIENCE)
        visitor.leave.set()
        visitor.join()
    assert log == ["a", "b", "c"] and [v.places for v in visitors] == [[0], [1, 0], [2, 1, 0]]
    assert len(turns) == 0


def test_cancelling_while_waiting_lets_the_next_move_up():
    turns, log = TurnQueue(), []
    a, b, c = (Visitor(turns, log, name).start(i) for i, name in enumerate("abc"))
    b.stop.set()
    b.join()
    assert b.outcome == "cancelled" and not b.inside.is_set()
    c.reach(1)
    a.leave.set()
    assert c.inside.wait(PATIENCE)
    c.leave.set()
    a.join(), c.join()
    assert log == ["a", "c"]


def test_cancelling_at_the_end_lets_nobody_in_early():
    turns, log = TurnQueue(), []
    a, b, c = (Visitor(turns, log, name).start(i) for i, name in enumerate("abc"))
    c.stop.set()
    c.join()
    assert not b.inside.wait(0.2) and b.places == [1]
    a.leave.set()
    assert b.inside.wait(PATIENCE)
    b.leave.set()
    a.join(), b.join()
    assert log == ["a", "b"]


def test_an_exception_gives_the_turn_back():
    turns = TurnQueue()
    with pytest.raises(RuntimeError), turns.wait():
        raise RuntimeError

    def broken(ahead):
        raise KeyError

    with pytest.raises(KeyError), turns.wait(on_wait=broken):
        pass
    assert len(turns) == 0


def test_a_thread_that_has_the_turn_goes_straight_in():
    turns = TurnQueue()
    with turns.wait(), turns.wait():
        assert len(turns) == 1
    other = Visitor(turns, [], "other").start(0)
    assert other.inside.wait(PATIENCE)
    other.leave.set()
    other.join()


def test_background_work_lets_people_pass_but_is_not_thrown_out():
    turns, log = TurnQueue(), []
    queue = [Visitor(turns, log, name, background=True).start(n) for n, name in enumerate(("now", "later", "last"))]
    queue += [Visitor(turns, log, "Ann").start(1), Visitor(turns, log, "Ben").start(2)]
    queue[1].reach(3)  # and it hears that two came before it
    for visitor in [queue[0], *queue[3:], *queue[1:3]]:
        assert visitor.inside.wait(PATIENCE)
        visitor.leave.set()
        visitor.join()
    assert log == ["now", "Ann", "Ben", "later", "last"]
