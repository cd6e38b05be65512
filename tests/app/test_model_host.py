"""The models of a process: loading, changing for oneself alone, in the middle of anything, and asking first where that
takes another's; fetching files meanwhile."""

import threading
import weakref
from types import SimpleNamespace

import psutil
import pytest
import torch
from tiny import tiny_engine, tone_clip

from afcore.app.model_host import ACTIVE, InUse, ModelHost, NoRoom
from afcore.errors import BadRequest, Cancelled, MissingPart
from afcore.model.generation import GenerationSettings
from afcore.published import download

CHAT, FOUNDATION = "audio-flamingo-chat", "audio-flamingo-foundation"


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Every model is the tiny one with 200 MB on top; `load.hold[name]`, if there, is waited for while it loads."""

    def load_engine(name, progress):
        progress("Loading", 0.5)
        if name in load_engine.hold:
            load_engine.begun.set()
            load_engine.hold[name].wait(60)
        progress("Loading", 0.6)
        engine = tiny_engine(tmp_path, name=name)
        engine.language.model.register_buffer("ballast", torch.ones(50_000_000))
        return engine

    load_engine.hold, load_engine.begun = {}, threading.Event()
    monkeypatch.setattr(ModelHost, "is_here", staticmethod(lambda name: True))
    return load_engine


def ready(host):
    assert host.loading.wait(60) and host.loading.error is None
    return host.loading.result


def test_a_change_frees_the_memory_of_the_model_before(load):
    host = ModelHost("mini", load)
    mini = ready(host)
    heard = mini.hear(tone_clip(430))
    list(mini.stream(heard, mini.build_prompt(heard, "What?", mini.neighbours(heard, 2)), GenerationSettings(4)))
    model, before = weakref.ref(mini.language.model), psutil.Process().memory_info().rss
    host.choose(CHAT)
    assert ready(host).name == CHAT and host.name == CHAT
    assert mini.closed and model() is None
    assert psutil.Process().memory_info().rss - before < 50e6  # the new one's 200 MB came in the place of the old one's
    host.choose(CHAT)
    assert not ready(host).closed


def test_a_choice_is_for_oneself_alone_where_there_is_room(load):
    host = ModelHost("mini", load, fits=lambda name, leaving: True)
    mini = ready(host)
    assert host.loading_for("ann").result is mini and host.loading_for("bob").result is mini
    host.choose(CHAT, "ann")
    job = host.loading_for("ann")
    assert job.wait(60) and job.result.name == CHAT
    assert host.loading_for("bob").result is mini and not mini.closed and host.loading_for("new").result is mini
    host.choose("mini", "ann")  # nobody uses the other any more
    assert host.loading_for("ann").result is mini and host.held == ["mini"]
    deadline = threading.Event()
    while host._old and not deadline.wait(0.05):
        pass
    assert job.result is None, "it was put away"


def test_where_there_is_no_room_a_model_that_somebody_uses_is_replaced_only_after_a_yes(load):
    clock = [0.0]
    host = ModelHost("mini", load, fits=lambda name, leaving: "mini" in leaving, now=lambda: clock[0])
    mini = ready(host)
    host.loading_for("ann"), host.loading_for("bob")
    with pytest.raises(InUse, match="Another person uses mini just now, and there is no room for audio-flamingo-chat"):
        host.choose(CHAT, "ann")
    assert host.name_for("ann") == "mini" and not mini.closed
    host.choose(CHAT, "ann", replace=True)
    assert ready(host).name == CHAT and mini.closed and host.name_for("bob") == CHAT
    clock[0] += ACTIVE + 1  # bob has gone
    host.loading_for("ann")
    host._fits = lambda name, leaving: CHAT in leaving
    host.choose("mini", "ann")
    assert ready(host).name == "mini" and host.held == ["mini"]


def test_what_is_compared_is_loaded_once_beside_ones_own_and_stays(load):
    host = ModelHost("mini", load, fits=lambda name, leaving: True)
    mini = ready(host)
    host.loading_for("ann")
    job = host.beside(CHAT, "ann")
    assert job.wait(60) and job.result.name == CHAT
    assert host.beside(CHAT, "ann") is job and host.beside(CHAT, "bob") is job, "it is loaded once"
    assert host.loading_for("ann").result is mini and host.held == ["mini", CHAT]
    assert host.beside("mini", "ann").result is mini
    with pytest.raises(BadRequest, match="no model"):
        host.beside("/etc", "ann")


def test_what_is_compared_takes_no_room_from_what_somebody_uses(load):
    clock, room = [0.0], {CHAT: [], FOUNDATION: [CHAT]}
    host = ModelHost("mini", load, fits=lambda name, leaving: leaving == room[name], now=lambda: clock[0])
    mini = ready(host)
    host.loading_for("ann"), host.loading_for("bob")
    chat = host.beside(CHAT, "ann")
    assert chat.wait(60)
    with pytest.raises(NoRoom, match="not enough memory for audio-flamingo-foundation beside"):
        host.beside(FOUNDATION, "ann")
    host.beside(CHAT, "bob")
    with pytest.raises(NoRoom):
        host.beside(FOUNDATION, "ann", in_turn=True)  # bob compares with it too
    clock[0] += ACTIVE + 1  # bob has gone
    host.beside(CHAT, "ann")
    job = host.beside(FOUNDATION, "ann", in_turn=True)
    assert job.wait(60) and job.result.name == FOUNDATION and chat.result is None
    assert host.held == ["mini", FOUNDATION] and not mini.closed
    host.loading_for("bob")
    with pytest.raises(InUse, match="Another person uses mini and audio-flamingo-foundation"):  # ann
        host._fits = lambda name, leaving: FOUNDATION in leaving
        host.choose(CHAT, "bob")


def test_an_answer_under_way_ends_first(load):
    host = ModelHost("mini", load)
    mini = ready(host)
    with mini.turns.wait():
        host.choose(CHAT)
        assert not host.loading.wait(0.5) and not mini.closed and mini.language.model is not None
    assert ready(host).name == CHAT and mini.closed


def test_who_chooses_last_decides(load):
    host = ModelHost("mini", load)
    mini = ready(host)
    load.hold[CHAT] = threading.Event()
    host.choose(CHAT)
    assert load.begun.wait(60)
    abandoned = host.loading
    host.choose(FOUNDATION)
    load.hold[CHAT].set()
    assert ready(host).name == FOUNDATION and mini.closed
    assert abandoned.done and abandoned.result is None and host._old == []


def test_choosing_again_in_a_hurry_leaves_one_model(load):
    host = ModelHost("mini", load)
    loadings = [host.loading]
    for name in (CHAT, FOUNDATION, "mini", CHAT):
        host.choose(name)
        loadings.append(host.loading)
    assert ready(host).name == CHAT and host._old == []
    assert [job.result for job in loadings[:-1]] == [None] * 4


def test_a_model_that_does_not_load_can_be_tried_again(load):
    tries = []

    def absent_at_first(name, progress):
        tries.append(name)
        if len(tries) == 1:
            raise MissingPart("Not there.")
        return load(name, progress)

    host = ModelHost("mini", absent_at_first)
    assert host.loading.wait(60) and host.loading.error == "Not there."
    host.choose("mini")
    assert ready(host).name == "mini"


def test_what_cannot_be_chosen(load, monkeypatch):
    host = ModelHost("mini", load)
    monkeypatch.setattr(ModelHost, "is_here", staticmethod(lambda name: name == "mini"))
    with pytest.raises(BadRequest, match="not on this machine"):
        host.choose(CHAT)
    with pytest.raises(BadRequest, match="no model"):
        host.choose("nothing")
    assert not ready(host).closed


def test_mini_is_always_here_and_others_once_they_are_converted(tmp_path, monkeypatch):
    monkeypatch.setattr("afcore.paths.DATA", tmp_path)
    assert ModelHost.is_here("mini") and not ModelHost.is_here(CHAT)
    folder = tmp_path / "published" / CHAT
    folder.mkdir(parents=True)
    for name in ("config.json", "clapcap.safetensors"):
        (folder / name).touch()
    assert ModelHost.is_here(CHAT) and not ModelHost.is_here(FOUNDATION)


def test_getting_files_can_be_stopped_and_started_again(load, monkeypatch):
    def get(name, agreed, progress, stop):
        assert agreed
        progress(f"Downloading {name}", 0.1)
        stop.wait(60)
        raise Cancelled("Stopped.")

    monkeypatch.setattr(download, "get", get)
    host = ModelHost("mini", load)
    job = host.get(CHAT)
    assert host.get(CHAT) is job
    job.stop()
    assert job.wait(60) and job.stopped
    monkeypatch.setattr(download, "get", lambda name, **_: "Ready.")
    again = host.get(CHAT)
    assert again is not job and again.wait(60) and again.result == "Ready."
    ready(host)


def test_another_clap_is_loaded_with_every_model_that_is_held(monkeypatch):
    asked = []

    def load(name, progress, **more):
        asked.append((name, more))
        return SimpleNamespace(paddings=(), close=lambda: None)

    host = ModelHost("mini", load)
    assert host.loading.wait(30)
    host.use_retrieval("mini")
    assert host.loading.wait(30) and asked == [("mini", {}), ("mini", {"retrieval": "mini"})]
    host.use_retrieval("mini")
    with pytest.raises(BadRequest, match="no CLAP"):
        host.use_retrieval("/etc")
    assert len(asked) == 2 and host.retrieval == "mini"
    host.use_retrieval("")
    assert host.loading.wait(30) and asked[-1] == ("mini", {})
