"""Finding, converting and loading weights."""
from afcore.errors import AfcoreError


class CheckpointError(AfcoreError):
    """A weights file is not what it should be; the sentence names what is wrong in it."""
