"""Finding, converting and loading weights."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from afcore.errors import AfcoreError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class CheckpointError(AfcoreError):
    """A weights file is not what it should be; the sentence names what is wrong in it."""


class Broken(CheckpointError):
    """A file is damaged or incomplete, so that fetching it again may help."""


def token_ids(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str]) -> list[int]:
    """The number of each of ``tokens``."""
    found = tokenizer.convert_tokens_to_ids(list(tokens))
    assert isinstance(found, list), "a list was asked for"
    return found


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Inside, weights of the model ``name`` that are damaged, cut off or another's become `Broken`."""
    from safetensors import SafetensorError

    try:
        yield
    except (SafetensorError, KeyError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise Broken(_UNREADABLE.format(name=name)) from error
    except RuntimeError as error:
        if "Error(s) in loading state_dict" not in str(error):
            raise
        raise Broken(_UNREADABLE.format(name=name)) from error


_UNREADABLE = (
    "The weights of {name} are damaged, cut off or another model's: `python -m afcore check` says which file; restore "
    "it, or remove the folder that was made on this machine and start again."
)


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
