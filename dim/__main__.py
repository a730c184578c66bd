"""`python -m dim` is the command `dim`; `accelerate launch -m dim caption ...` starts it on several processes."""

import sys

from dim.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
