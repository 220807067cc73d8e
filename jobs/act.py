"""`dfd act` as a Ray job: `ray job submit -- python jobs/act.py --reports s3://… --apply`.

Takes the flags of `dfd act`. The package must be installed on the cluster. Ends with the exit
code of the command.
"""

import sys

from dfd_batch.cli import main

if __name__ == "__main__":
    main(["act", *sys.argv[1:]], "act.py")
