"""``python -m afcore``: see `afcore.cli.main`."""

import sys

from afcore.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
