"""What the page shows and the webhook has heard of, in OUT/ticks: what a killed tick left untold.

Both are the ids of runs, which begin with their time.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath

from dfd_batch import storage as stores
from dfd_batch.reports.files import report_files
from dfd_batch.reports.read import run_ids
from dfd_batch.reports.write import reports_uri
from dfd_batch.settings import Storage


@dataclass(frozen=True)
class Seen:
    """Ids of the newest runs with rows; empty before the first one.

    Args:
        page: That the page was built from.
        told: That the webhook has heard of, or did not want to.
    """

    page: str = ""
    told: str = ""


def load(out: str, storage: Storage) -> Seen:
    """Return what is recorded; before there is a record, nothing that lies there is to be told.

    The first record is written at once: what a tick judges from now on is newer than it.

    Raises:
        UsageError: OUT cannot be read or written.
    """
    uri = _uri(out)
    try:
        if stores.exists(uri, storage):
            found = json.loads(stores.read_bytes(uri, storage))
            return Seen(str(found["page"]), str(found["told"]))
    except (ValueError, KeyError, TypeError):
        pass  # no record of ours
    seen = Seen(told=max(runs_with_rows(out, storage), default=""))
    save(seen, out, storage)
    return seen


def save(seen: Seen, out: str, storage: Storage) -> None:
    """Write the record.

    Raises:
        UsageError: It cannot be written.
    """
    stores.write_bytes(_uri(out), (json.dumps(asdict(seen), indent=1) + "\n").encode(), storage)


def runs_with_rows(out: str, storage: Storage) -> list[str]:
    """Return the ids of the runs that have rows in the reports, oldest first.

    Raises:
        UsageError: OUT cannot be listed.
    """
    if not stores.exists(reports_uri(out), storage):
        return []
    known: set[str] = set()
    for file in report_files(reports_uri(out), storage):
        # a run's own files begin with its id, which has dashes, too
        parts = PurePosixPath(file.path).name.split("-")
        own = {"-".join(parts[:n]) for n in range(1, len(parts))}
        known |= own if file.runs is None else file.runs
    return sorted(known.intersection(run_ids(out, storage)))


def _uri(out: str) -> str:
    return stores.join(out, "ticks", "seen.json")
