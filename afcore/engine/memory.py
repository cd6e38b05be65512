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
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()
    trim()


def trim() -> None:
    """Hand freed pages back to the system, where the C library keeps them otherwise."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # other C libraries than glibc have no such call
            ctypes.CDLL("libc.so.6").malloc_trim(0)


class GpuLost(AfcoreError):
    """The GPU does not answer any more; only a new process can reach it again."""


@contextmanager
def enough(forget: Callable[[], None]) -> Iterator[None]:
    """Inside, a GPU without enough memory becomes `OutOfMemory`, after ``forget`` has dropped the caches, and one that
    does not answer any more `GpuLost`."""
    try:
        yield
    except torch.AcceleratorError as error:
        raise GpuLost(
            "The graphics card does not answer any more. What was saved is safe; start this server again."
        ) from error
    except torch.OutOfMemoryError as error:
        traceback.clear_frames(error.__traceback__)  # their local variables hold what filled the memory
        forget()
        release()
        raise OutOfMemory(
            "The GPU has too little memory for this; its caches were dropped, so try again, with fewer examples, "
            "candidates or beams if it is refused once more."
        ) from None
