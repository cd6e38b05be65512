"""``python -m afcore``: see `afcore.cli`."""

import sys

from afcore.cli import main

if __name__ == "__main__":
    sys.exit(main())
