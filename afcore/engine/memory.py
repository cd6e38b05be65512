"""Memory: what to do when a GPU has too little, and giving back what a model took that was put away."""

from __future__ import annotations

import ctypes
import gc
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import torch

from afcore.errors import AfcoreError


class OutOfMemory(AfcoreError):
    """The GPU's memory is used up; what was kept to answer faster has been dropped, and the next request can be met."""


def release() -> None:
    """Hand memory that nothing refers to any more back to the GPU and to the system."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # other C libraries than glibc have no such call
            ctypes.CDLL("libc.so.6").malloc_trim(0)  # freed pages are kept otherwise


@contextmanager
def enough(forget: Callable[[], None]) -> Iterator[None]:
    """Inside, a GPU without enough memory becomes `OutOfMemory`, after ``forget`` has dropped the caches."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        traceback.clear_frames(error.__traceback__)  # their local variables hold what filled the memory
        forget()
        release()
        raise OutOfMemory(
            "The GPU has too little memory for this; its caches were dropped, so try again, with fewer examples, "
            "candidates or beams if it is refused once more."
        ) from None
