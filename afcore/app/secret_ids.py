"""Ids of what is kept on the server and stands in an address: whoever has one may see it, and nobody can guess it."""

from __future__ import annotations

import re
import secrets

_ID = re.compile(r"[A-Za-z0-9_-]{22}")


def new_id() -> str:
    """22 characters, 128 bits that nobody can guess."""
    return secrets.token_urlsafe(16)


def is_id(text: str) -> bool:
    """Whether ``text``, from an address, could be one: then it is no path either."""
    return _ID.fullmatch(text) is not None
