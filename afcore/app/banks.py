"""Banks of one's own in the app: which ones a session takes examples from, and the slow work about them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from afcore.audio.channels import AUTO
from afcore.errors import BadRequest, Cancelled
from afcore.jobs import Job
from afcore.retrieval import ExampleBank, own_banks
from afcore.retrieval.bank import Bank
from afcore.retrieval.nearest import embed_bank
from afcore.retrieval.several import SeveralBanks, number_of_bank

if TYPE_CHECKING:
    from afcore.engine.engine import Engine
    from afcore.engine.results import Heard
    from afcore.evaluation.bank_help import Help

SHIPPED = "shipped"
"""The name of the bank that comes with the app."""


class ChosenBanks:
    """The banks that are in use, opened once each and then the same objects, since an engine keeps an index for each.

    May be used from several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, tuple[int, Bank]] = {}
        """By name: the number of its file, which another bank of that name would not have."""
        self._made: dict[tuple, SeveralBanks] = {}

    def channels(self, names: Sequence[str]) -> str | int:
        """By which rule the sounds of the banks ``names``, and so the sound that is compared with them, are heard; the
        bank that comes with the app has one channel, so it follows any. Raises BadRequest where two rules differ."""
        rules = {self.open(name).channels(): name for name in _own(names)}
        if len(rules) > 1:
            each = ", ".join(f"“{name}” by the rule “{rule}”" for rule, name in rules.items())
            raise BadRequest(f"These example banks hear different channels, so a sound cannot follow both: {each}.")
        return next(iter(rules), AUTO)

    def of(self, engine: Engine, names: Sequence[str]) -> ExampleBank | None:
        """The banks ``names`` as one; None for the engine's own alone, or where none is there any more. Raises
        BadRequest where they hear different channels."""
        own = _own(names)
        if not own:
            return None
        self.channels(own)
        banks: dict[int, ExampleBank] = {number_of_bank(name): self.open(name) for name in own}
        if SHIPPED in names and engine.bank is not None:
            banks[0] = engine.bank
        # A bank that has grown is another one.
        key = (*((number, len(bank.examples())) for number, bank in sorted(banks.items())), id(engine.bank))
        with self._lock:
            return self._made.setdefault(key, SeveralBanks(banks))

    def open(self, name: str) -> Bank:
        """The bank ``name``, the same object each time. Raises BadRequest where there is none."""
        folder = own_banks.find(name)
        number = (folder / "bank.sqlite").stat().st_ino if folder is not None else 0
        with self._lock:
            known = self._open.get(name)
            if known is None or known[0] != number:
                known = self._open[name] = (number, own_banks.open_own(name))
            return known[1]


def _own(names: Sequence[str]) -> list[str]:
    """Those of ``names`` that are banks of one's own, and still there."""
    return [name for name in names if name != SHIPPED and own_banks.is_there(name)]


@dataclass(frozen=True)
class Made:
    """What became of the sounds that were given."""

    name: str
    summary: str
    left_out: dict[str, str]


def making(source: Path | bytes, name: str, engine: Engine, code_page: str = "cp437") -> Callable[[Job], Made]:
    """The work of a job: makes the bank ``name`` of a folder, zip or CSV, and has ``engine`` listen to it.
    ``code_page``: of a zip's names that are not UTF-8."""
    name = own_banks.check_name(name)

    def work(job: Job) -> Made:
        with ExitStack() as stack:
            job.report("Looking", 0.0)
            listing = own_banks.listed(source, stack, code_page=code_page)
            bank = own_banks.build(listing, own_banks.home() / name, job.report, job.stopping)
        listen(engine, bank, job)
        return Made(name, own_banks.summary(bank), bank.left_out)

    return work


def listen(engine: Engine, bank: ExampleBank, job: Job) -> None:
    """Gives the sounds of ``bank`` what they lack of ``engine``'s embeddings, one turn each, so that others go on.

    Raises Cancelled once the job is stopped; what was heard by then stays.
    """

    def report(share: float) -> None:
        job.report("Listening to the sounds (once)", share)
        if job.stopping.is_set():
            raise Cancelled()

    embed_bank(_OneTurnEach(engine, job), bank, report)


class _OneTurnEach:
    """An engine that listens when it is its turn."""

    def __init__(self, engine: Engine, job: Job):
        self._engine, self._job = engine, job
        self.features_name, self.clap_name = engine.features_name, engine.clap_name
        self.own_clap_name = engine.own_clap_name

    def hear_files(self, files: Sequence[tuple[Path, str | int]]) -> Sequence[Heard]:
        with self._engine.turns.wait(stop=self._job.stopping):
            return self._engine.hear_files(files)


def helping(engine: Engine, bank: ExampleBank) -> Callable[[Job], Help]:
    """The work of a job: does ``bank`` help? The job waits for its turn, since it takes the model for minutes."""

    def work(job: Job) -> Help:
        from afcore.evaluation import bank_help

        return bank_help.measure(engine, bank, progress=job.report, stop=job.stopping)

    return work
