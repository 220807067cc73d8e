"""`dfd tick` as a Ray job: `ray job submit -- python jobs/scheduled_scan.py tick.toml`.

Takes the file and the flags of `dfd tick`; the cluster is the one that runs the job
(`RAY_ADDRESS`). The package must be installed on the cluster. Ends with the exit code of the tick.
"""

import sys

from dfd_batch.cli import main

if __name__ == "__main__":
    main(["tick", *sys.argv[1:]], "scheduled_scan.py")
