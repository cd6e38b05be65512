"""Where shipped and locally made files live; the folders can be moved by environment variables."""

import os
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parent.parent


def _folder(variable: str, default: Path) -> Path:
    # An empty variable means "not set": Path("") would be the current folder.
    return Path(os.environ.get(variable) or default).expanduser().resolve()


ASSETS = _folder("AFCORE_ASSETS", _REPOSITORY / "assets")
"""Shipped with the repository, only read: mini's weights, the example bank, label lists."""

DATA = _folder("AFCORE_DATA", _REPOSITORY / "data")
"""Made on this machine, not in git: dequantised or converted weights, local banks, projects."""

MINI = ASSETS / "mini"
SHIPPED_BANK = ASSETS / "bank"
BANK = _folder("AFCORE_BANK", SHIPPED_BANK)
"""The example bank: the shipped one, or one that `python -m afcore bank build` made."""
