"""What a bank holds of one sound."""

from __future__ import annotations

from dataclasses import dataclass, field

from afcore.audio.notices import Notice


@dataclass(frozen=True)
class Example:
    """One sound of a bank."""

    id: int
    label: str
    caption: str
    sha256: str
    """Of the file's bytes."""
    seconds: float
    package: str = ""
    """Debian package that it comes from, '' for a person's own."""
    version: str = ""
    path: str = ""
    """In the package; in a bank from a folder: in that folder."""
    author: str = ""
    licence: str = ""
    source_url: str = ""
    group_key: str = ""
    """Takes of one source share it."""
    tags: tuple[str, ...] = field(default=())
    """AudioSet classes heard in it."""
    notices: tuple[Notice, ...] = field(default=())
    """What is unusual about it; in a bank from a folder."""
