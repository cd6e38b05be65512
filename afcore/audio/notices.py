"""What a person should know about a sound beside the sound: one code, for programs, and one sentence, for people.

A notice goes with a clip wherever it goes: pages, tables, exports, ``--json``.
"""

from collections.abc import Iterable
from dataclasses import dataclass

NOTHING_TO_HEAR = "nothing to hear"
"""Said in place of a label, a caption or an answer where a sound is silent."""
NOTHING_SENTENCE = "There is nothing to hear."

SHORT = "short"
SILENT = "silent"
"""The file holds nothing to hear."""
SILENT_PART = "silent_part"
"""The part that is heard holds nothing to hear."""
QUIET = "quiet"
LOUD = "loud"
"""Samples go beyond full scale."""
LOW_RATE, HIGH_RATE = "low_rate", "high_rate"
CROPPED = "cropped"
CHANNEL = "channel"
"""One of several channels is heard."""
MIX = "mix"
"""The mix of the channels is heard."""
BANK_CHANNELS = "bank_channels"
"""The channels are heard as those of the chosen example banks are, or cannot be."""
TRACKS = "tracks"
DAMAGED, CUT_OFF = "damaged", "cut_off"
LATE_START = "late_start"
GAPS = "gaps"
PAUSES = "pauses"
"""A recorder for speech left pauses out."""
EDITS = "edits"
"""The file's edit list asks for what is not done here."""
RATE_CHANGES = "rate_changes"


@dataclass(frozen=True)
class Notice:
    """Something unusual about a sound that is heard all the same."""

    code: str
    """One of this module's."""
    sentence: str

    def __str__(self) -> str:
        return self.sentence

    def to_json(self) -> dict[str, str]:
        """Plain data, as in ``--json``."""
        return {"code": self.code, "sentence": self.sentence}

    @classmethod
    def from_json(cls, data: dict[str, str]) -> "Notice":
        """From what `to_json` gave."""
        return cls(data["code"], data["sentence"])


def in_one_cell(notices: Iterable[Notice]) -> str:
    """Codes and sentences for a cell of a table: ``low_rate: Its …; cropped: Only …``."""
    return "; ".join(f"{notice.code}: {notice.sentence.removesuffix('.')}" for notice in notices)
