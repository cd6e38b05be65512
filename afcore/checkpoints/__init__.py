"""Finding, converting and loading weights."""

from afcore.errors import AfcoreError


class CheckpointError(AfcoreError):
    """A weights file is not what it should be; the sentence names what is wrong in it."""


class Broken(CheckpointError):
    """A file is damaged or incomplete, so that fetching it again may help."""
