"""The models that a process holds: each loaded in a thread, exchanged for others, their files fetched meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from afcore.app import model_room
from afcore.engine import own_models
from afcore.engine.loading import MODELS, PEER, LoadEngine, load_engine
from afcore.errors import BadRequest, Cancelled, MissingPart
from afcore.jobs import Job
from afcore.published import folders, peer_files

if TYPE_CHECKING:
    from afcore.engine.engine import Engine


ACTIVE = 600.0
"""Seconds after its last drawing for which a session counts as one that uses its model."""
_FORGOTTEN = 86_400.0  # seconds after which a session's choice is let go


class InUse(BadRequest):
    """There is no room beside a model that somebody else uses; the person is asked whether to replace it."""


class NoRoom(MissingPart):
    """There is no memory for a model beside those that are in use."""


def offered(name: str) -> str:
    """A model's name, as a visitor may choose it: one that is offered, or ``hf:OWNER/NAME``, never a folder of the
    server. Raises BadRequest."""
    if name in MODELS or name in own_models.names():
        return name
    if not name.startswith(PEER):
        raise BadRequest(f"There is no model “{name}”: choose {', '.join(MODELS)}, or write {PEER}OWNER/NAME.")
    peer_files.repository_of(name)
    return name


class ModelHost:
    """The models that a process holds, each loaded once for all who have chosen it. Who chooses one changes it for
    themselves alone, as long as there is room for it beside those that others use.

    ``load``: where an engine comes from. ``fits``: whether there is room for a model once others are put away.
    """

    def __init__(
        self,
        name: str,
        load: LoadEngine = load_engine,
        fits: Callable[[str, Sequence[str]], bool] = model_room.fits,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load_engine, self._fits, self._now = load, fits, now
        self._lock, self._putting_away = threading.Lock(), threading.Lock()
        self._old: list[Job] = []
        """Loadings whose engines are still to be put away."""
        self._users: dict[str, tuple[str, float]] = {}
        """Session -> the model that it uses, and when it was last drawn."""
        self._beside: dict[tuple[str, str], float] = {}
        """(session, model that it compares with its own) -> when it last asked for it."""
        self.name = self._own = name
        """What who has chosen nothing gets."""
        self.padding = ""
        """How samples are padded, for models that are (`Engine.use_padding`); '' as each does by itself."""
        self.retrieval = ""
        """The CLAP by which neighbours are found (`afcore.published.finders`); '' for each model's own."""
        self.getting: dict[str, Job] = {}
        """What is or was being fetched, by the model's name."""
        self._loadings = {name: self._load(name)}

    @property
    def loading(self) -> Job:
        """Of the model `name`; its result is the engine."""
        return self._loadings[self.name]

    @property
    def held(self) -> list[str]:
        """Names of the models that are loaded or being loaded."""
        return list(self._loadings)

    def name_for(self, who: str) -> str:
        """The model that the session ``who`` uses: the one it chose, while that is held."""
        name, _ = self._users.get(who, ("", 0.0))
        return name if name in self._loadings else self.name

    def loading_for(self, who: str) -> Job:
        """The loading of `name_for`; the session counts as one that uses it."""
        with self._lock:
            name = self.name_for(who)
            self._users[who] = name, self._now()
            return self._loadings[name]

    @staticmethod
    def is_here(name: str) -> bool:
        """Whether the model's files are on this machine; mini's always are, and so are those of a saved one."""
        if name.startswith(PEER):
            return peer_files.folder_of(name) is not None
        kinds = dict(zip(folders.NAMES, folders.KINDS, strict=True))
        return name not in kinds or folders.is_ready(kinds[name])

    def choose(self, name: str, who: str = "", replace: bool = False) -> None:
        """Have the session ``who`` use the model ``name`` from now on; without ``who``, everybody who has chosen none.

        It is loaded unless it is held. Models that nobody uses any more, but for the server's own, are put away, after
        the answer that each is giving, and where there is no room for one more, others too; with ``replace`` those that
        somebody else uses, who then use this one. Choosing a model that failed to load tries again.

        Raises BadRequest for a name that is unknown, or of files that are not here, InUse.
        """
        if name not in MODELS and own_models.find(name) is None:
            offered(name)
        if not self.is_here(name):
            raise BadRequest(f"The files of {name} are not on this machine yet.")
        with self._lock:
            known = self._loadings.get(name)
            leaving = self._idle(name, who) if known is not None and known.error is None else self._leaving(name, who)
            if not replace and (count := self._others(leaving, who)):
                people = "Another person uses" if count == 1 else f"{count} other people use"
                which = " and ".join(leaving)
                raise InUse(f"{people} {which} just now, and there is no room for {name} beside it.")
            for other in leaving:
                self._loadings[other].stop()  # before it can be found among the old ones: it never waits for itself
                self._old.append(self._loadings.pop(other))
            self._users = {w: (n, at) for w, (n, at) in self._users.items() if self._now() - at < _FORGOTTEN}
            if who:
                self._users[who] = name, self._now()
            if not who or self.name in leaving or name == self._own:
                self.name = name
            if known is None or known.error is not None:
                self._loadings[name] = self._load(name)  # which waits for those that leave
            elif leaving:
                Job(lambda job: self._put_away(job.report), kind="put away").start()

    def beside(self, name: str, who: str, in_turn: bool = False) -> Job:
        """The loading of the model ``name``, for the session ``who`` to compare with its own, which stays what it is.

        It is loaded unless it is held, and then stays for the next comparison, until its room is wanted. It takes no
        room from a model that somebody uses; ``in_turn``: those that this session compared before make room too.

        Raises BadRequest for a name that is unknown, or of files that are not here, NoRoom.
        """
        offered(name)
        if not self.is_here(name):
            raise BadRequest(f"The files of {name} are not on this machine yet.")
        with self._lock:
            known = self._loadings.get(name)
            if known is None or known.error is not None:
                leaving = self._makes_room(name, who, in_turn)
                for other in leaving:
                    self._loadings[other].stop()
                    self._old.append(self._loadings.pop(other))
                self._loadings[name] = self._load(name)
            self._beside = {key: at for key, at in self._beside.items() if self._now() - at < _FORGOTTEN}
            self._beside[who, name] = self._now()
            return self._loadings[name]

    def _makes_room(self, name: str, who: str, in_turn: bool) -> list[str]:
        """What is put away so that ``name`` can stand beside the rest. Raises NoRoom."""
        mine, _ = self._users.get(who, ("", 0.0))
        others = [other for other in self._loadings if other not in (name, self.name, mine)]
        nobodys = [other for other in others if not self._others([other], "")]
        compared = [other for other in others if not self._others([other], who)]
        for leaving in ([], nobodys, compared if in_turn else nobodys):
            if self._fits(name, leaving):
                return leaving
        raise NoRoom(
            f"There is not enough memory for {name} beside the models that are in use: choose it in the sidebar, which "
            "puts another one away."
        )

    def _idle(self, name: str, who: str) -> list[str]:
        """Models beside ``name`` that nobody but ``who`` uses; not the server's own, unless that is what changes."""
        return [
            other
            for other in self._loadings
            if other != name and (other != self.name or not who) and not self._others([other], who)
        ]

    def _leaving(self, name: str, who: str) -> list[str]:
        """What is put away for ``name``: as few of the others as there must be."""
        others = [other for other in self._loadings if other != name]
        idle = self._idle(name, who)
        unused = [other for other in others if not self._others([other], who)]
        return next((leaving for leaving in (idle, unused) if self._fits(name, leaving)), others)

    def _others(self, names: Sequence[str], who: str) -> int:
        """How many sessions but ``who`` use one of ``names``."""
        now = self._now()
        used = [(session, name) for session, (name, at) in self._users.items() if now - at < ACTIVE]
        used += [key for key, at in self._beside.items() if now - at < ACTIVE]
        return len({session for session, name in used if session != who and name in names})

    def use_padding(self, way: str, who: str = "") -> None:
        """Have samples padded as ``way`` says from now on, by the model of the session ``who`` and by those that are
        loaded later.

        Raises BadRequest where the present model has no such way.
        """
        engine: Engine | None = self._loadings[self.name_for(who)].result
        if engine is not None:
            engine.use_padding(way)
        self.padding = way

    def use_retrieval(self, name: str) -> None:
        """Have neighbours found by the CLAP ``name`` from now on, '' for each model's own: the models that are held are
        loaded again with it, after the answers that they are giving.

        Raises BadRequest for one that is not here (`folders.claps`).
        """
        if name and name not in folders.claps():
            raise BadRequest(f"There is no CLAP “{name}” on this server.")
        with self._lock:
            if name == self.retrieval:
                return
            self.retrieval = name
            for loading in self._loadings.values():
                loading.stop()
                self._old.append(loading)
            self._loadings = {model: self._load(model) for model in self._loadings}

    def get(self, name: str) -> Job:
        """Fetch the files of a published model, whose licences the person has agreed to; stopping the job ends that."""

        def work(job: Job) -> str:
            from afcore.published import download

            return download.get(name, agreed=True, progress=job.report, stop=job.stopping)

        with self._lock:
            job = self.getting.get(name)
            if job is None or job.done:
                job = self.getting[name] = Job(work, kind="get").start()
            return job

    def _load(self, name: str) -> Job:
        def work(job: Job) -> Engine:
            def report(stage: str, fraction: float) -> None:
                if job.stopping.is_set():  # yet another was chosen
                    raise Cancelled()
                job.report(stage, fraction)

            self._put_away(report)
            more = {"retrieval": self.retrieval} if self.retrieval else {}
            engine = self._load_engine(name, progress=report, **more)
            if self.padding in engine.paddings:
                engine.use_padding(self.padding)
            return engine

        return Job(work, kind="load").start()

    def _put_away(self, report: Callable[[str, float], None]) -> None:
        """Free what earlier loadings hold. One of them may be at this very thing, so each is waited for."""
        for old in list(self._old):
            if not old.done:
                report("Ending what is under way", 0.0)
                old.stop()
                old.wait()
        while not self._putting_away.acquire(timeout=0.2):  # two are loaded at once
            report("Putting the other model away", 0.0)
        try:
            while self._old:
                old = self._old[-1]
                report("Putting the other model away", 0.0)
                old.wait()
                engine = old.take()
                if engine is not None:
                    engine.close()
                    del engine  # its memory is free before the next is loaded
                self._old.remove(old)
        finally:
            self._putting_away.release()


def device_name(device: Any) -> str:
    """Where a model computes, as people say it."""
    kind = str(device)
    return "this server's processor" if kind == "cpu" else f"its graphics card ({kind})"


def number_format(dtype: Any) -> str:
    """How exactly it computes, as people say it."""
    name = str(dtype).removeprefix("torch.")
    return {"float32": "at full precision", "bfloat16": "at half precision", "float16": "at half precision"}.get(
        name, f"in {name}"
    )
