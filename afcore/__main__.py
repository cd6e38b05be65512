"""``python -m afcore``: see `afcore.cli.main`."""

import sys

from afcore import threads

if __name__ == "__main__":
    threads.settle()  # before torch is imported
    from afcore.cli.main import main

    sys.exit(main())
