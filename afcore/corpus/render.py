"""Step `rendered`: makes all sounds whose truth the rendering gives, instruments and voices.

    python -m afcore.corpus.render --work DIR

DIR/rendered holds what `afcore.corpus.rendered` says, and needs what it says.
"""

from __future__ import annotations

import argparse
from itertools import chain
from pathlib import Path

from afcore.corpus import instruments, voices
from afcore.corpus.rendered import Rendered, write
from afcore.encoders.mini import RATE


def render(folder: Path, seed: int = 0) -> list[Rendered]:
    """All instruments and voices into `folder`. Raises MissingPart for a program, font or voice that is not
    installed."""
    instruments.check()
    voices.check()
    return write(folder, chain(instruments.sounds(seed), voices.sounds(seed)))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m afcore.corpus.render", description=__doc__.split("\n\n")[0])
    parser.add_argument("--work", type=Path, required=True)
    rows = render(parser.parse_args().work / "rendered")
    for package in dict.fromkeys(row.package for row in rows):
        of = [row for row in rows if row.package == package]
        print(f"{package}: {len(of)} sounds, {sum(r.length for r in of) / RATE / 60:.1f} minutes, {of[0].split}")


if __name__ == "__main__":
    main()
