"""Submit jobs/scan.py to a Ray cluster under an id that follows from what there is to do.

`python jobs/submit.py [--address http://HEAD:8265] [--no-wait] s3://… --out s3://… [flags of dfd
scan]`. Equal plans have equal ids, so overlapping schedules do not scan twice. The plan is made
here, so this machine reads the bucket too; the package must be installed on both sides.
"""

import argparse
import hashlib
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient

POLL_S = 2.0
STARTS_WITHIN_S = 120.0
"""A cluster that has just come up takes jobs only after its agents have come up too."""


def main() -> int:
    """Submit, maybe wait, and return 0 where the scan succeeded or there is nothing to do."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", default=os.environ.get("RAY_API_SERVER_ADDRESS"))
    parser.add_argument("--no-wait", action="store_true", help="return once it is submitted")
    parser.add_argument("--out", "-o", required=True, help="where the verdicts go")
    own, scan = parser.parse_known_args()
    scan += ["--out", own.out]
    planned = subprocess.run(  # noqa: S603 - our own command line
        [sys.executable, "-m", "dfd_batch.cli", "plan", *scan, "--json"],
        stdout=subprocess.PIPE,
        check=False,
    )
    if planned.returncode:
        return planned.returncode
    plan = json.loads(planned.stdout)
    if not plan["n_planned"]:
        print(f"Nothing to do: all {plan['n_listed']} objects have their verdict.")
        return 0
    try:
        client = JobSubmissionClient(own.address)
    except (ConnectionError, AuthenticationError) as error:
        first_line = str(error).splitlines()[0]
        print(f"No Ray cluster takes jobs at {own.address or 'the default address'}: {first_line}")
        return 2
    job = f"dfd-{plan['digest']}-{hashlib.sha256(own.out.encode()).hexdigest()[:8]}"
    until = time.monotonic() + STARTS_WITHIN_S
    while refused := submit(client, job, shlex.join(["python", "scan.py", *scan])):
        if time.monotonic() > until:
            print(f"The Ray cluster does not take the job: {refused}")
            return 2
        time.sleep(POLL_S)
    return 0 if own.no_wait else wait(client, job)


def submit(client: JobSubmissionClient, job: str, entrypoint: str) -> str | None:
    """Submit a job unless one of its id runs or has succeeded; one that failed is replaced.

    Returns why the cluster does not take it just now; None where it has it.
    """
    known = {info.submission_id: info.status for info in client.list_jobs()}
    if job in known and known[job] not in {JobStatus.FAILED, JobStatus.STOPPED}:
        print(f"{job} was submitted before: {known[job].value}.")
        return None
    if job in known:
        client.delete_job(job)
    here = str(Path(__file__).resolve().parent)
    try:
        client.submit_job(
            entrypoint=entrypoint, submission_id=job, runtime_env={"working_dir": here}
        )
        print(f"{job} submitted: {entrypoint}")
    except RuntimeError as error:
        if "already" not in str(error):
            return str(error).splitlines()[0]
        # another submitter was a moment faster
        print(f"{job} was submitted by someone else just now.")
    return None


def wait(client: JobSubmissionClient, job: str) -> int:
    """Return 0 when the job has succeeded, else 1, with the end of its log."""
    while not (status := client.get_job_status(job)).is_terminal():
        time.sleep(POLL_S)
    print(client.get_job_logs(job)[-4000:])
    print(f"{job}: {status.value}")
    return 0 if status == JobStatus.SUCCEEDED else 1


if __name__ == "__main__":
    sys.exit(main())
