"""`dfd compact` as a Ray job: `ray job submit -- python jobs/compact.py --reports s3://…`.

Takes the flags of `dfd compact`. The package must be installed on the cluster. Ends with the exit
code of the compaction.
"""

import sys

from dfd_batch.cli import main

if __name__ == "__main__":
    main(["compact", *sys.argv[1:]], "compact.py")
