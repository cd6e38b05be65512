"""What one browser session holds for Teach beside what is saved: who reviews, which project, what runs. Nothing here draws.

A project's own data is never kept here: it is read from the disk each time, so that what others do is seen.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import streamlit as st

from afcore.errors import BadRequest
from afcore.jobs import Job
from afcore.teach.store import Store

if TYPE_CHECKING:
    from afcore.audio.recording import Recording
    from afcore.teach.loop import Loop
    from afcore.teach.project import Project

_KEY, _COOKIE = "teach", "reviewer"
SETUP, REVIEW, PROOF, LONG, EXPORT = "Set up", "Review", "Proof", "Long recordings", "Export"
TABS = (SETUP, REVIEW, PROOF, LONG, EXPORT)


@st.cache_resource(show_spinner=False)
def store() -> Store:
    """The projects of this server."""
    return Store()


@dataclass
class Teach:
    """One browser session. ``current()`` gives it to a page."""

    who: str = ""
    """The reviewer's name."""
    project_id: str | None = None
    tab: str = SETUP
    epoch: int = 0
    """Part of every widget's key; a new number makes widgets start again from what is saved."""
    jobs: dict[str, Job] = field(default_factory=dict)
    """This session's own slow work, by what it is; the project's background work is not among it."""
    loop: Loop | None = None
    work: Job | None = None
    """The project's background work as this session last saw it."""
    failed_on: str = ""
    """What the predictions depended on when it failed: without a change it would fail again."""
    shown: tuple[int, float] | None = None
    """The clip on the review card and the time of its prediction there (0: none)."""
    judged: int = 0
    """Clips judged in this sitting."""
    expect: dict[str, int] = field(default_factory=dict)
    """Versions of the labels and settings that this session's forms began from."""
    recording: Recording | None = None
    """A long recording that is looked at and not in the project."""
    said: str = ""
    """A sentence to show once: what has just been saved."""

    def __post_init__(self):
        weakref.finalize(self, _stop_all, self.jobs)  # nobody will read what a session that has ended waits for

    def key(self, name: str) -> str:
        """A widget's key."""
        return f"teach-{name}-{self.epoch}"

    def project(self) -> Project | None:
        """The project that is open, or None. Raises BadRequest where somebody has removed it."""
        return store().open(self.project_id) if self.project_id else None

    def open(self, project_id: str | None, tab: str = SETUP) -> None:
        """Another project, or None for the list of all."""
        self.let_go()
        _stop_all(self.jobs)
        self.jobs.clear()
        self.expect.clear()
        self.loop = self.work = self.recording = None
        self.failed_on, self.judged = "", 0
        self.project_id = project_id
        self.go(tab)

    def go(self, tab: str) -> None:
        """Another tab, by something other than a click on it."""
        self.tab = tab
        self.epoch += 1

    def let_go(self) -> None:
        """Gives the clip on the card back to the queue."""
        if self.shown is not None and self.loop is not None:
            self.loop.queue.release(self.who)
        self.shown = None

    def loop_for(self, project: Project, engine) -> Loop:
        """The project with the engine that answers now."""
        from afcore.teach.loop import Loop

        if self.loop is None or self.loop.engine is not engine or self.loop.project is not project:
            self.loop, self.work, self.failed_on = Loop(project, engine), None, ""
        return self.loop

    def keep_working(self) -> Job | None:
        """Has the background work done where something is to be done, unless it was paused or cannot be done now."""
        job, loop = self.work, self.loop
        if job is not None and (not job.done or job.stopped):
            return job
        if job is not None and job.error is not None:
            self.failed_on = self.failed_on or loop.basis()
            if self.failed_on == loop.basis():
                return job
        if loop.stale() or loop.project.unembedded(loop.engine.features_name, loop.engine.clap.name):
            self.resume()
        return self.work

    def resume(self) -> None:
        """Starts the background work, or tells it that there is more to do."""
        self.failed_on = ""
        self.work = self.loop.start()

    def nudge(self) -> None:
        """As `resume`, after a judgement: what somebody has paused stays paused."""
        if self.work is None or not self.work.stopped:
            self.resume()

    def begin(self, name: str, work: Callable[[Job], Any], key: Any = None) -> Job:
        """Starts this session's slow work ``name`` in place of the last of that name."""
        if name in self.jobs:
            self.jobs[name].stop()
        job = self.jobs[name] = Job(work, key=key).start()
        return job


def current() -> Teach:
    """The browser session's state; at first with the name that this browser gave before, and the project of the address."""
    if _KEY not in st.session_state:
        teach = st.session_state[_KEY] = Teach(who=name_in_browser())
        wanted = st.query_params.get("project", "")
        if teach.who:
            for one in store().projects():
                if one.id == wanted:
                    teach.open(wanted, REVIEW if one.counts.open and one.labels else SETUP)
    return st.session_state[_KEY]


def name_in_browser() -> str:
    """The name that this browser was given before, or ''."""
    return " ".join(unquote(st.context.cookies.get(_COOKIE, "")).split())[:60]


def check_named(teach: Teach) -> None:
    """Raises BadRequest where the reviewer has not said who they are."""
    if not teach.who.strip():
        raise BadRequest("Say who you are first: your name stands beside what you change.")


def remember(who: str) -> None:
    """Have the browser keep the name for a year; letters, digits and ``%`` are all that goes into the script."""
    value = quote(who, safe="")
    st.html(
        f'<script>document.cookie = "{_COOKIE}={value}; max-age=31536000; path=/; samesite=lax"</script>',
        unsafe_allow_javascript=True,
    )


def _stop_all(jobs: dict[str, Job]) -> None:
    for job in list(jobs.values()):
        if not job.done:
            job.stop()
