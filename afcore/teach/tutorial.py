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
    "hallway": ("footsteps", "somebody walks through the house"),
    "garden": ("bird chirping", "what comes in by the open window"),
    "fireplace": ("fire crackling", "the fire is on"),
    "tap left on": ("water flowing", "water runs, and nobody turns it off"),
}
"""What a house should know: its own names for places and events, with the bank's label of their sounds and a
description. The names do not say how they sound, so it is the examples that teach them."""
GIVEN, QUEUED, TESTED = 1, 3, 3
"""Examples given, clips to label, and hidden test clips, of each class."""


def make_tutorial(store: Store, bank: Bank, who: str, classes: dict[str, tuple[str, str]] | None = None) -> Project:
    """A new tutorial project. Raises BadRequest where ``bank`` has too few sounds of the classes, NoSpace."""
    who, classes = check_who(who), classes or CLASSES
    chosen = {label: _distinct(bank, sound) for label, (sound, _) in classes.items()}
    for label, ids in chosen.items():
        if len(ids) < GIVEN + QUEUED + TESTED:
            raise BadRequest(
                f"The example bank has too few sounds of “{classes[label][0]}” from different sources for the tutorial."
            )
    described = [Label(label, says) for label, (_, says) in classes.items()]
    project = store.create(NAME, described, who, Settings(k=4))
    for label, ids in chosen.items():
        add_from_bank(project, bank, ids[:GIVEN], who, label)
    # One class after the other in turn, so that nobody can guess from the order.
    for number in range(QUEUED):
        for label, ids in chosen.items():
            add_from_bank(project, bank, [ids[GIVEN + number]], who, truth=label)
    for label, ids in chosen.items():
        add_from_bank(project, bank, ids[GIVEN + QUEUED :][:TESTED], who, label, test=True)
    return project


def _distinct(bank: Bank, label: str) -> list[int]:
    """Ids of examples of ``label``, one of each source."""
    by_source: dict[str, int] = {}
    for example in bank.examples():
        if example.label == label:
            by_source.setdefault(example.group_key or example.sha256, example.id)
    return list(by_source.values())
