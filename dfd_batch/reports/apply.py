"""Doing what a plan asks for: each object alone, every result a row, safe to start again.

Before anything is removed, a row `started` is on storage: where the object is then gone, a later
start knows by whom. Tagging twice does no harm, and a quarantine ends with what it finds.
What is refused as it was before is told, but no row repeats it.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from dfd_batch import __version__
from dfd_batch import storage as stores
from dfd_batch.outcomes import UsageError
from dfd_batch.reports import actions
from dfd_batch.reports.act import ActPlan, Row, Task
from dfd_batch.reports.actions import REMOVALS, STANDING, Action, Status
from dfd_batch.reports.files import THREADS
from dfd_batch.reports.policy import Policy
from dfd_batch.settings import Storage
from dfd_batch.storage.acting import Head, Place, Refused, changed, place_of

BATCH = 64
"""Objects whose results share a file of the table of actions."""
KEEP_TAG = "dfd-keep"
"""An owner's tag: an object that has it is neither moved nor deleted."""
VERDICT_TAG, PROBABILITY_TAG, DETECTOR_TAG, ACCESS_TAG = (
    f"dfd-{name}" for name in ("verdict", "probability", "detector", "access")
)
ALLOWED = "allow"
ORIGIN = "origin.json"


def apply(
    plan: ActPlan,
    policy: Policy,
    out: str,
    storage: Storage,
    on_rows: Callable[[list[Row]], None] | None = None,
) -> list[Row]:
    """Do it, and return the rows of `actions.ACTIONS` that tell of it.

    Args:
        plan: Of `act.plan`.
        policy: The same one.
        out: Where the scan wrote; the rows go to `OUT/actions`.
        storage: How to reach it, and the objects.
        on_rows: Told after each batch.

    Raises:
        UsageError: The table of actions cannot be written; nothing is done without it.
    """
    act_id = new_id(policy.digest)
    told: list[Row] = []

    def settled(task: Task) -> tuple[Task, list[Row]]:
        return _settled(task, policy, act_id, storage)

    def one(task: Task) -> list[Row]:
        return list(_do(task, policy, act_id, storage))

    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(plan.tasks), BATCH):
            looked_at = list(pool.map(settled, plan.tasks[start : start + BATCH]))
            same = [row for _, found in looked_at for row in found]
            batch = [task for task, _ in looked_at if task.todo]
            begun = [
                row_of(task.row, action, Status.STARTED, act_id, policy.digest)
                for task in batch
                for action in task.todo
                if action in REMOVALS
            ]
            if begun:
                actions.write(begun, out, act_id, datetime.now(UTC), storage)

            rows = [row for found in pool.map(one, batch) for row in found]
            if rows:
                actions.write(rows, out, act_id, datetime.now(UTC), storage)
            told += same + rows
            if on_rows:
                on_rows(same + rows)
    return told


def new_id(digest: str) -> str:
    """Return the id of one call of act or restore; it begins with its time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{digest[:8]}"


def row_of(
    judged: Row, action: Action, status: Status, act_id: str, policy: str, **more: Any
) -> Row:
    """Return a row of `actions.ACTIONS`."""
    copied = ("media_id", "uri", "etag", "size_bytes", "verdict", "probability")
    return (
        dict.fromkeys(actions.ACTIONS.names)
        | {name: judged.get(name) for name in (*copied, "detector_id", "run_id")}
        | {
            "action": action.value,
            "status": status.value,
            "act_id": act_id,
            "policy": policy,
            "acted_at": datetime.now(UTC),
            "package_version": __version__,
        }
        | more
    )


def _settled(task: Task, policy: Policy, act_id: str, storage: Storage) -> tuple[Task, list[Row]]:
    """Return a task without what is refused for the same reason as before, and rows of that."""
    rows = []
    for action in task.todo:
        before = task.before.get(action)
        if before in STANDING:
            refusal = _refusal(action, task, policy, storage)
            if refusal and refusal.kind == before:
                told = str(refusal)
                rows.append(row_of(task.row, action, before, act_id, policy.digest, detail=told))
    left = tuple(action for action in task.todo if action not in {row["action"] for row in rows})
    return replace(task, todo=left), rows


def _refusal(action: Action, task: Task, policy: Policy, storage: Storage) -> Refused | None:
    """Return why an action would be refused, as far as looking tells."""
    uri, place = task.row["uri"], place_of(task.row["uri"], storage)
    try:
        head = _look(action, task.row, place)
        hides = head.pinned is not None and not _is_permanent(action, policy)
        if task.before.get(action) == Status.LOCKED and not hides and place.is_locked(uri, head):
            raise Refused("locked", f"{uri}: the store holds it (object lock).")
    except Refused as refusal:
        return refusal
    except UsageError:
        return None  # the action itself will say so
    return None


def _do(task: Task, policy: Policy, act_id: str, storage: Storage) -> Iterator[Row]:
    """Yield a row for each action on one object; after a refusal the others are left undone.

    A store that keeps no tags may still quarantine, and a removal that was begun gets its end.
    """
    for action in task.todo:
        try:
            more = _act(action, task, policy, storage)
        except Refused as refusal:
            status = Status(refusal.kind)
            told = str(refusal)
            yield row_of(task.row, action, status, act_id, policy.digest, detail=told)
            if action == Action.TAG and (status == Status.FAILED or status in STANDING):
                continue
            return
        except UsageError as error:
            yield row_of(task.row, action, Status.FAILED, act_id, policy.digest, detail=str(error))
            return
        yield row_of(task.row, action, Status.DONE, act_id, policy.digest, **more)


def _act(action: Action, task: Task, policy: Policy, storage: Storage) -> dict[str, Any]:
    """Do one action and return what its row says beside."""
    row, place = task.row, place_of(task.row["uri"], storage)
    try:
        head = _look(action, row, place)
    except Refused as refusal:
        missing = refusal.kind == Status.MISSING
        gone = _was_removed(action, task, policy, place, storage) if missing else None
        if gone is None:
            raise
        return gone
    found: dict[str, Any] = {"version_id": head.version_id}
    if action == Action.TAG:
        place.change_tags(row["uri"], head, _verdict_tags(row))
    elif action == Action.ALLOW:
        place.change_tags(row["uri"], head, {ACCESS_TAG: ALLOWED})
    else:
        if action == Action.QUARANTINE:
            found["kept_at"] = _set_aside(row, head, policy, place, storage)
        place.remove(row["uri"], head, _is_permanent(action, policy))
    return found


def _look(action: Action, row: Row, place: Place) -> Head:
    """Return what lies at a URI, if it is what was judged and its owner lets it be removed."""
    uri = row["uri"]
    head = place.head(uri)
    if head is None:
        raise Refused("missing", f"{uri}: it is not there (any more).")
    if row["etag"] is None or (head.etag, head.size_bytes) != (row["etag"], row["size_bytes"]):
        raise changed(uri)
    if action in REMOVALS and KEEP_TAG in place.tags(uri, head):
        raise Refused("kept", f"{uri}: its tag {KEEP_TAG} says to keep it.")
    return head


def _is_permanent(action: Action, policy: Policy) -> bool:
    return bool(policy.delete and policy.delete.permanent and action == Action.DELETE)


def _verdict_tags(row: Row) -> dict[str, str | None]:
    """Return the tags that a verdict gives; leave to read it is for `allow` alone to give."""
    return {
        VERDICT_TAG: row["verdict"],
        PROBABILITY_TAG: f"{row['probability']:.4f}",
        DETECTOR_TAG: row["detector_id"],
        ACCESS_TAG: None,
    }


def kept_uri(row: Row, to: str) -> str:
    """Return where a quarantined object lies: a folder of its own, under its own name.

    Names that mean something there already, of the record beside it or of a folder, are not kept.
    """
    name = posixpath.basename(row["uri"].rstrip("/"))
    if name in {"", ".", "..", ORIGIN}:
        name = "object"
    return stores.join(to, row["media_id"], name)


def _set_aside(row: Row, head: Head, policy: Policy, place: Place, storage: Storage) -> str:
    """Copy an object to quarantine, compare, and say beside it where it came from."""
    assert policy.quarantine  # noqa: S101 - or there is no such action
    to = kept_uri(row, policy.quarantine.to)
    place.copy(row["uri"], head, to)
    told = {name: row[name] for name in row if name != "scanned_at"}
    origin = stores.join(policy.quarantine.to, row["media_id"], ORIGIN)
    stores.write_bytes(origin, (json.dumps(told, indent=1) + "\n").encode(), storage)
    return to


def _was_removed(
    action: Action, task: Task, policy: Policy, place: Place, storage: Storage
) -> dict[str, Any] | None:
    """Return what a row says where an interrupted removal has come to its end, else None."""
    if task.before.get(action) != Status.STARTED or action not in REMOVALS:
        return None
    if action == Action.DELETE:
        return {"detail": "it was removed before an interruption"}
    assert policy.quarantine  # noqa: S101 - or there is no such action
    to = kept_uri(task.row, policy.quarantine.to)
    there = place.head(to)
    whole = there is not None and there.size_bytes == task.row["size_bytes"]
    # written after the copy was compared
    origin = stores.join(policy.quarantine.to, task.row["media_id"], ORIGIN)
    if whole and stores.exists(origin, storage):
        return {"detail": "it was moved before an interruption", "kept_at": to}
    return None


def summary(rows: Sequence[Row]) -> dict[str, dict[str, int]]:
    """Return how many rows each action and status has."""
    found: dict[str, dict[str, int]] = {}
    for row in rows:
        by_status = found.setdefault(row["action"], {})
        by_status[row["status"]] = by_status.get(row["status"], 0) + 1
    return found
