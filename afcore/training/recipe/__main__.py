"""`python -m afcore.training.recipe CONFIG --work DIR`: trains the stages of a config; run again, it goes on where it
stopped."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from afcore.errors import AfcoreError


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m afcore.training.recipe", description=__doc__)
    parser.add_argument("config", type=Path, help="a JSON file; afcore/training/configs has some")
    parser.add_argument(
        "--work", type=Path, default=Path("work"), help="folder for caches, logs and checkpoints (default: work)"
    )
    parser.add_argument("--stage", help="only the stage of this name")
    parser.add_argument("--prepare", action="store_true", help="encode all sounds and find all neighbours, then stop")
    options = parser.parse_args(arguments)
    from afcore.training.recipe import config, parallel, sources, stages

    try:
        loaded = config.load(options.config, options.work)
        world = parallel.join(loaded.device)
        folder = stages.run(loaded, world, options.stage, options.prepare, sources.all_parts())
        if world.first:
            print("Ready to train." if options.prepare else f"Done: {folder}", flush=True)
    except AfcoreError as error:
        sys.exit(str(error) if int(os.environ.get("RANK", 0)) == 0 else 1)
    finally:
        parallel.leave()


if __name__ == "__main__":
    main()
