"""Errors whose message is one sentence for the person at the page or the command line.

Anything else that is raised is a defect of the program, not of its input.
"""


class AfcoreError(Exception):
    """Base of the errors that a person can act on; ``str(error)`` is one sentence that can be shown as it is."""


class AudioError(AfcoreError):
    """The sound cannot be read: empty, corrupt, not audio, not finite, or too large."""


class MissingPart(AfcoreError):
    """Weights, a package, a GPU or a program are absent; the message says what to do about it."""


class BadRequest(AfcoreError):
    """The request cannot be met as asked: no labels, too many shots, a prompt that is too long, a bad file."""


class Cancelled(AfcoreError):
    """The person stopped the work before it was done."""

    def __init__(self, message: str = "Stopped."):
        super().__init__(message)


def first_line(error: BaseException) -> str:
    """What another library's error says, as far as a sentence has room for it: its first line, or its kind where it
    says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
