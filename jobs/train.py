"""`dfd train` as a Ray job: `ray job submit -- python jobs/train.py --work … --out … --workers 8`.

Takes the flags of `dfd train`; the cluster is the one that runs the job (`RAY_ADDRESS`). The
package must be installed on the cluster, and --work be a place that all nodes reach. Ends with the
exit code of the training.
"""

import sys

from dfd_batch.cli import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]], "train.py")
