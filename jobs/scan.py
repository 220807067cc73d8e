"""`dfd scan` as a Ray job: `ray job submit -- python jobs/scan.py s3://… --out s3://…`.

Takes the flags of `dfd scan`; the cluster is the one that runs the job (`RAY_ADDRESS`). The
package must be installed on the cluster. Ends with the exit code of the scan.
"""

import sys

from dfd_batch.cli import main

if __name__ == "__main__":
    main(["scan", *sys.argv[1:]], "scan.py")
