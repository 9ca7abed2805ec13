"""`python -m fastlog.sim`: see `run`."""

import sys

from fastlog.sim.run import main

if __name__ == "__main__":
    sys.exit(main())
