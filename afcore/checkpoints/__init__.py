"""Finding, converting and loading weights."""

from collections.abc import Iterator
from contextlib import contextmanager

from afcore.errors import AfcoreError


class CheckpointError(AfcoreError):
    """A weights file is not what it should be; the sentence names what is wrong in it."""


class Broken(CheckpointError):
    """A file is damaged or incomplete, so that fetching it again may help."""


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """While weights are read, transformers draws no bars of its own: progress is told by whoever loads. Also a
    decorator."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
