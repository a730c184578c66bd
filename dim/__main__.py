"""The command `dim` as `python -m dim`; `accelerate launch -m dim caption ...` runs it on several processes."""

import sys

from dim.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
