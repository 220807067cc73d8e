"""`dfd evaluate` as a Ray job: `ray job submit -- python jobs/evaluate.py TEST… --out …`.

Takes the flags of `dfd evaluate`; the cluster is the one that runs the job (`RAY_ADDRESS`). The
package must be installed on the cluster. Ends with the exit code of the evaluation.
"""

import sys

from dfd_batch.cli import main

if __name__ == "__main__":
    main(["evaluate", *sys.argv[1:]], "evaluate.py")
