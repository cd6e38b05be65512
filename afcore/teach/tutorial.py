"""The project that a newcomer labels in three minutes: a few classes of the shipped bank, and the gain at the end.

Of each class a few sounds are given as examples, some wait in the queue, and some are a hidden test set, never shown
and never a shot. Sources (`Example.group_key`) are kept apart: no test clip shares one with what the newcomer hears.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from afcore.errors import BadRequest
from afcore.teach.changes import check_who
from afcore.teach.ingest import add_from_bank
from afcore.teach.project import Project
from afcore.teach.schema import Label, Settings
from afcore.teach.store import Store

if TYPE_CHECKING:
    from afcore.retrieval.bank import Bank

NAME = "Tutorial"
CLASSES = {
    "djembe": "a goblet drum played with the hands",
    "gun reloading": "metal parts that slide and click",
    "laser gun": "a synthetic zap that falls in pitch",
    "missile launch": "a hiss that swells into a roar",
}
"""Labels of the bank, with descriptions, that make up the tutorial."""
GIVEN, QUEUED, TESTED = 1, 3, 3
"""Examples given, clips to label, and hidden test clips, of each class."""


def make_tutorial(store: Store, bank: Bank, who: str, classes: dict[str, str] | None = None) -> Project:
    """A new tutorial project. Raises BadRequest where ``bank`` has too few sounds of the classes, NoSpace."""
    who, classes = check_who(who), classes or CLASSES
    chosen = {label: _distinct(bank, label) for label in classes}
    for label, ids in chosen.items():
        if len(ids) < GIVEN + QUEUED + TESTED:
            raise BadRequest(
                f"The example bank has too few sounds of “{label}” from different sources for the tutorial."
            )
    project = store.create(NAME, [Label(*pair) for pair in classes.items()], who, Settings(k=4))
    lists = list(chosen.values())
    add_from_bank(project, bank, [i for ids in lists for i in ids[:GIVEN]], who, own_labels=True)
    # One class after the other in turn, so that nobody can guess from the order.
    queued = [ids[GIVEN + n] for n in range(QUEUED) for ids in lists]
    add_from_bank(project, bank, queued, who, hide_truth=True)
    tests = [i for ids in lists for i in ids[GIVEN + QUEUED :][:TESTED]]
    add_from_bank(project, bank, tests, who, own_labels=True, test=True)
    return project


def _distinct(bank: Bank, label: str) -> list[int]:
    """Ids of examples of ``label``, one of each source."""
    by_source: dict[str, int] = {}
    for example in bank.examples():
        if example.label == label:
            by_source.setdefault(example.group_key or example.sha256, example.id)
    return list(by_source.values())
