"""What went wrong, as one sentence that a visitor can read."""

import logging

from afcore.errors import AfcoreError
from afcore.jobs import UNEXPECTED

_log = logging.getLogger(__name__)


def sentence_of(error: Exception, doing: str) -> str:
    """A refusal in its own words; for a defect of the program a general sentence, and its traceback in the server's log
    under ``doing``, for instance "A page failed"."""
    if isinstance(error, AfcoreError):
        return str(error)
    _log.error(doing, exc_info=error)
    return UNEXPECTED
