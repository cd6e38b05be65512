"""What one browser session holds for Teach beside what is saved: who reviews, which project, what runs.

A project's own data is never kept here: it is read from the disk each time, so that what others do is seen.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from afcore.app.review_keys import ReviewKeys, presses_of
from afcore.audio.channels import AUTO
from afcore.audio.recording import Recording, open_recording
from afcore.errors import BadRequest
from afcore.jobs import Job
from afcore.teach.schema import EXAMPLE, NONE, SKIPPED, Change, ProjectClip, Settings, Summary
from afcore.teach.store import Store

if TYPE_CHECKING:
    from afcore.engine.engine import Engine
    from afcore.teach.loop import Loop
    from afcore.teach.project import Project

TEACH = "teach"
"""Under which name Streamlit's ``st.session_state`` holds it."""
COOKIE = "reviewer"
"""Name of the cookie by which a browser remembers its reviewer's name."""
SETUP, REVIEW, PROOF, LONG, EXPORT = "Set up", "Review", "Proof", "Long recordings", "Export"
TABS = (SETUP, REVIEW, PROOF, LONG, EXPORT)


@dataclass
class TeachSession:
    """One browser session on the Teach page; `teach_session_in` finds it."""

    store: Store
    """The projects of this server."""
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
    other_place: bool = False
    """Changes with each clip on the card: which of two places it stands at."""
    judged: int = 0
    """Clips judged in this sitting."""
    keys: ReviewKeys = field(default_factory=ReviewKeys)
    """What was pressed on the review card."""
    expect: dict[str, int] = field(default_factory=dict)
    """Versions of the labels and settings that this session's forms began from."""
    recording: Recording | None = None
    """A long recording that is looked at and not in the project."""
    said: str = ""
    """A sentence to show once: what has just been saved."""

    def __post_init__(self) -> None:
        weakref.finalize(self, _stop_all, self.jobs)  # nobody will read what a session that has ended waits for

    def key(self, name: str) -> str:
        """A widget's key."""
        return f"teach-{name}-{self.epoch}"

    def project(self) -> Project | None:
        """The project that is open, or None. Raises BadRequest where somebody has removed it."""
        return self.store.open(self.project_id) if self.project_id else None

    def open(self, project_id: str | None, tab: str = SETUP) -> None:
        """Another project, or None for the list of all."""
        self.let_go()
        _stop_all(self.jobs)
        self.jobs.clear()
        self.expect.clear()
        self.loop = self.work = self.recording = None
        self.failed_on, self.judged = "", 0
        self.keys = ReviewKeys(self.keys.taken)
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

    def loop_for(self, project: Project, engine: Engine) -> Loop:
        """The project with the engine that answers now."""
        from afcore.teach.loop import Loop

        if self.loop is None or self.loop.engine is not engine or self.loop.project is not project:
            self.loop, self.work, self.failed_on = Loop(project, engine), None, ""
        return self.loop

    def open_loop(self) -> Loop:
        """What `loop_for` made last. Raises BadRequest where no project is open."""
        if self.loop is None:
            raise BadRequest("No project is open: open one first.")
        return self.loop

    def keep_working(self) -> Job | None:
        """Has the background work done where something is to be done, unless it was paused or cannot be done now."""
        job, loop = self.work, self.open_loop()
        if job is not None and (not job.done or job.stopped):
            return job
        if job is not None and job.error is not None:
            self.failed_on = self.failed_on or loop.basis()
            if self.failed_on == loop.basis():
                return job
        if loop.stale() or loop.unembedded():
            self.resume()
        return self.work

    def resume(self) -> None:
        """Starts the background work, or tells it that there is more to do."""
        self.failed_on = ""
        self.work = self.open_loop().start()

    def nudge(self) -> None:
        """As `resume`, after a judgement: what somebody has paused stays paused."""
        if self.work is None or not self.work.stopped:
            self.resume()

    def show(self, item: ProjectClip | None) -> None:
        """Note which clip is on the review card, and with which prediction."""
        before, self.shown = self.shown, self._with_prediction(item.id) if item else None
        if before is None or self.shown is None or before[0] != self.shown[0]:
            self.other_place = not self.other_place

    def card_is_stale(self) -> bool:
        """Whether the clip on the card has another prediction by now."""
        return self.shown is not None and self.shown != self._with_prediction(self.shown[0])

    def _with_prediction(self, clip_id: int) -> tuple[int, float]:
        prediction = self.open_loop().project.prediction(clip_id)
        return clip_id, prediction.at if prediction else 0.0

    def check_named(self) -> None:
        """Raises BadRequest where the reviewer has not said who they are."""
        if not self.who.strip():
            raise BadRequest("Say who you are first: your name stands beside what you change.")

    def rename_reviewer(self, who: str) -> None:
        """Go on as ``who``; the clip on the card goes back to the queue."""
        self.let_go()
        self.who = " ".join(who.split())

    def begin_anew(self) -> None:
        """Have all forms begin from what is saved."""
        self.expect.clear()
        self.epoch += 1

    def use_settings(self, project: Project, settings: Settings, said: str) -> None:
        """Have ``project`` work by ``settings`` from now on, and say so. Raises BadRequest."""
        project.set_settings(settings, self.who)
        self.expect.pop("settings", None)
        self.epoch += 1
        self.said = said

    def open_recording(self, data: bytes, name: str) -> None:
        """Look at a long recording that is not in the project. Raises AudioError."""
        project = self.project()
        self.recording = open_recording(data, name, project.settings.channels if project else AUTO)
        self.jobs.pop("long", None)

    def judge(self, item: ProjectClip, label: str | None) -> None:
        """Accept the judgement that ``item``, as it was shown, is ``label`` (None: none of these).

        A click or a key that comes twice is one judgement: the second finds that it is saved already and does nothing.
        Raises BadRequest, `Changed` where somebody else was faster.
        """
        loop = self.open_loop()
        now = loop.project.item(item.id)
        judged = (item.version + 1, EXAMPLE if label else NONE, label, self.who)
        if (now.version, now.state, now.label, now.who) == judged:
            return
        loop.queue.accept(item.id, label, self.who, item.version)
        self.judged += 1
        self.nudge()

    def press(self, sent: Any) -> None:
        """Carry out the keys that the browser ``sent``, each for the clip that it was pressed for. What is refused does
        not keep the others back: raises BadRequest with its sentence when all is done."""
        judged, refused = self.keys.take(self.open_loop(), self.who, presses_of(sent))
        self.judged += judged
        self.nudge()
        if refused:
            raise BadRequest(refused[-1])

    def skip(self, item: ProjectClip) -> None:
        """Put ``item``, as it was shown, aside; once, however often it is asked for. Raises as `judge`."""
        loop = self.open_loop()
        if loop.project.item(item.id).state != SKIPPED:
            loop.queue.skip(item.id, self.who, item.version)

    def undo(self) -> None:
        """Take this reviewer's last judgement back. Raises BadRequest."""
        self.open_loop().queue.undo(self.who)
        self.nudge()

    def take_back(self, change: Change) -> None:
        """Take one change back, whoever made it. Raises BadRequest, `Changed` where it was changed since."""
        self.open_loop().project.undo_change(change.id, self.who)
        self.nudge()

    def remove_project(self, project: Project, for_good: bool = False) -> None:
        """Take ``project`` off the list and show the list; ``for_good``: with its sounds, so that nobody can bring it
        back. Raises BadRequest while the model works on it."""
        if self.work is not None and not self.work.done:
            raise BadRequest("The model is at work on this project: pause that in the Review tab first.")
        self.store.remove(project.id, self.who, for_good)
        self.open(None)

    def begin(self, name: str, work: Callable[[Job], Any], key: Any = None) -> Job:
        """Starts this session's slow work ``name`` in place of the last of that name."""
        if name in self.jobs:
            self.jobs[name].stop()
        job = self.jobs[name] = Job(work, key=key, kind=f"teach {name}").start()
        return job


def teach_session_in(
    state: MutableMapping[Any, Any], store: Store, cookie: str = "", project_id: str = ""
) -> TeachSession:
    """The Teach session that ``state``, Streamlit's ``st.session_state``, holds; made where there is none yet.

    A new one begins with the reviewer's name that the browser's ``cookie`` holds and, where there is a name, in the
    project ``project_id`` of the page's address.
    """
    if TEACH not in state:
        teach = state[TEACH] = TeachSession(store, name_of_cookie(cookie))
        if teach.who:
            for summary in store.projects():
                if summary.id == project_id:
                    teach.open(project_id, first_tab(summary))
    return state[TEACH]


def first_tab(summary: Summary) -> str:
    """The tab on which a project is opened: the review where there is something to review."""
    return REVIEW if summary.counts.open and summary.labels else SETUP


def cookie_of(who: str) -> str:
    """The reviewer's name as the value of a cookie: letters, digits and ``% _ . - ~`` are all that is in it."""
    return quote(who, safe="")


def name_of_cookie(value: str) -> str:
    """The name that `cookie_of` made a cookie of, or ''."""
    return " ".join(unquote(value).split())[:60]


def _stop_all(jobs: dict[str, Job]) -> None:
    for job in list(jobs.values()):
        if not job.done:
            job.stop()
