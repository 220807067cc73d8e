"""The table of what was done to objects: `OUT/actions/action_date=…/*.parquet`."""

from __future__ import annotations

import hashlib
from datetime import datetime
from enum import StrEnum
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pds
import pyarrow.fs

from dfd_batch import storage as stores
from dfd_batch.reports.files import is_report
from dfd_batch.reports.write import write_table
from dfd_batch.schema import TIMESTAMP
from dfd_batch.settings import Storage


class Action(StrEnum):
    """What may be done to an object, in order of harm; `restore` undoes a quarantine."""

    ALLOW = "allow"
    TAG = "tag"
    QUARANTINE = "quarantine"
    DELETE = "delete"
    RESTORE = "restore"


class Status(StrEnum):
    """How far an action came."""

    STARTED = "started"  # written before anything is removed: an interrupted removal is known by it
    DONE = "done"
    CHANGED = "changed"  # another content lies there than was judged: left alone
    MISSING = "missing"  # nothing lies there any more
    LOCKED = "locked"  # the store holds it: retention or legal hold
    DENIED = "denied"  # the credentials or the bucket's policy forbid it
    KEPT = "kept"  # its owner's tag says so
    FAILED = "failed"  # anything else; tried again by the next time


REMOVALS = frozenset({Action.QUARANTINE, Action.DELETE})
STANDING = frozenset({Status.CHANGED, Status.MISSING, Status.LOCKED, Status.KEPT})
"""Reasons that last until somebody outside takes them away."""

ACTIONS = pa.schema(
    [
        pa.field("media_id", pa.string(), nullable=False),
        pa.field("action", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        ("detail", pa.string()),
        ("uri", pa.string()),
        ("etag", pa.string()),  # of the content that was judged
        ("size_bytes", pa.int64()),
        ("version_id", pa.string()),  # of a versioned bucket: what was acted on
        ("kept_at", pa.string()),  # where a quarantined object lies
        ("etag_after", pa.string()),  # of what lies at uri after a restore
        ("verdict", pa.string()),
        ("probability", pa.float64()),
        ("detector_id", pa.string()),
        ("run_id", pa.string()),  # that judged it
        ("policy", pa.string()),  # digest of the policy that asked for it
        ("act_id", pa.string()),  # one call of act or restore
        ("acted_at", TIMESTAMP),
        ("package_version", pa.string()),
    ]
)


def actions_uri(out: str) -> str:
    """Return where the actions of an output folder lie."""
    return stores.join(out, "actions")


def write(rows: list[dict[str, Any]], out: str, act_id: str, day: datetime, store: Storage) -> str:
    """Write rows of `ACTIONS` as one file, whole or not at all, and return its URI.

    Raises:
        UsageError: It cannot be written.
    """
    told = "\n".join(sorted(f"{r['media_id']} {r['action']} {r['status']}" for r in rows))
    name = f"{act_id}-{hashlib.sha256(told.encode()).hexdigest()[:16]}.parquet"
    folder = f"action_date={day:%Y-%m-%d}"
    uri = stores.join(actions_uri(out), folder, name)
    write_table(pa.Table.from_pylist(rows, schema=ACTIONS), uri, store)
    return uri


def read(out: str, storage: Storage) -> pa.Table:
    """Return all rows of `ACTIONS`; none before the first action.

    Raises:
        UsageError: They cannot be read.
    """
    uri = actions_uri(out)
    filesystem, root = stores.filesystem(uri, storage)
    selector = pyarrow.fs.FileSelector(root, recursive=True, allow_not_found=True)
    try:
        infos = filesystem.get_file_info(selector)
        paths = sorted(i.path for i in infos if i.is_file and is_report(i.path.removeprefix(root)))
        if not paths:
            return ACTIONS.empty_table()
        found = pds.dataset(paths, filesystem=filesystem, format="parquet", schema=ACTIONS)
        return found.to_table()
    except stores.raised() as error:
        raise stores.explain(error, uri) from error


def newest(table: pa.Table) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the newest row of each (media_id, action)."""
    rows = table.sort_by([("acted_at", "ascending")]).to_pylist()
    return {(row["media_id"], row["action"]): row for row in rows}


def latest(table: pa.Table) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the newest row of each (media_id, action), of those that are done where one is."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in table.sort_by([("acted_at", "ascending")]).to_pylist():
        key = (row["media_id"], row["action"])
        before = found.get(key)
        if before is None or row["status"] == Status.DONE or before["status"] != Status.DONE:
            found[key] = row
    return found
