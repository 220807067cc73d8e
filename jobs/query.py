"""`dfd query` as a Ray job: `ray job submit -- python jobs/query.py worst --reports s3://…`.

Takes the flags of `dfd query`. The package must be installed on the cluster. Ends with the exit
code of the query.
"""

import sys

from dfd_batch.cli import main

if __name__ == "__main__":
    main(["query", *sys.argv[1:]], "query.py")
