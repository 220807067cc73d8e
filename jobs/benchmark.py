"""`dfd benchmark` as a Ray job or alone: `python jobs/benchmark.py --quick --json figures.json`.

Takes the flags of `dfd benchmark`. It measures the machine that runs it, on a Ray of its own.
"""

import sys

from dfd_batch.cli import main

if __name__ == "__main__":
    main(["benchmark", *sys.argv[1:]], name="benchmark.py")
