"""Bringing quarantined objects back to where they were."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from dfd_batch import storage as stores
from dfd_batch.outcomes import UsageError
from dfd_batch.reports import actions
from dfd_batch.reports.act import Row
from dfd_batch.reports.actions import Action, Status
from dfd_batch.reports.apply import BATCH, ORIGIN, new_id, row_of
from dfd_batch.reports.files import THREADS
from dfd_batch.settings import Storage
from dfd_batch.storage.acting import Refused, place_of, taken
from dfd_batch.storage.shared import remove


def quarantined(out: str, storage: Storage) -> list[Row]:
    """Return the rows of the objects that are in quarantine now, ordered by URI.

    Of several contents of one URI the one that lay there last comes first.
    """
    newest = actions.latest(actions.read(out, storage))
    found = []
    for (media_id, action), row in newest.items():
        if action != Action.QUARANTINE or row["status"] != Status.DONE:
            continue
        back = newest.get((media_id, Action.RESTORE.value))
        returned = back is not None and back["status"] == Status.DONE
        if not (returned and back and back["acted_at"] >= row["acted_at"]):
            found.append(row)
    found.sort(key=lambda row: row["acted_at"], reverse=True)
    return sorted(found, key=lambda row: str(row["uri"]))


def choose(rows: Sequence[Row], wanted: Sequence[str]) -> list[Row]:
    """Return the rows that are meant: by URI, the end of one, or the start of a media_id.

    Raises:
        UsageError: One names nothing that is in quarantine, or several objects.
    """
    found = []
    for name in wanted:
        path = name if stores.is_s3(name) else stores.local_uri(stores.local_path(name))
        exact = [row for row in rows if row["uri"] in {name, path}]
        fitting = exact or [
            row
            for row in rows
            if row["uri"].endswith("/" + name.lstrip("/"))
            or (len(name) >= 6 and row["media_id"].startswith(name))
        ]
        if len(fitting) != 1:
            many = f"{len(fitting)} objects" if fitting else "nothing"
            raise UsageError(
                f"{name!r} fits {many} in quarantine; `dfd restore` without an object lists them."
            )
        found += [row for row in fitting if row not in found]
    return found


def restore(rows: Sequence[Row], out: str, storage: Storage) -> list[Row]:
    """Bring objects back, and return the rows of `actions.ACTIONS` that tell of it.

    An object comes back with its metadata and tags. Where another one lies at its place by now,
    it stays in quarantine; so of several contents of one URI only the first comes back.

    Args:
        rows: Of `quarantined`.
        out: Where the scan wrote.
        storage: How to reach it, and the objects.
    """
    act_id = new_id("restored")
    told: list[Row] = []
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            places: dict[str, list[Row]] = {}
            for row in batch:
                places.setdefault(row["uri"], []).append(row)

            # those of one place one after the other: each sees what came back before it
            def one(rows: list[Row]) -> list[Row]:
                return [_one(row, act_id, storage) for row in rows]

            found = list(itertools.chain.from_iterable(pool.map(one, places.values())))
            actions.write(found, out, act_id, datetime.now(UTC), storage)
            told += found
    return told


def _one(row: Row, act_id: str, storage: Storage) -> Row:
    more = {"kept_at": row["kept_at"]}
    try:
        after = _bring_back(row, storage)
    except Refused as refusal:
        status, detail = Status(refusal.kind), str(refusal)
        return row_of(row, Action.RESTORE, status, act_id, row["policy"], detail=detail, **more)
    except UsageError as error:
        failed, detail = Status.FAILED, str(error)
        return row_of(row, Action.RESTORE, failed, act_id, row["policy"], detail=detail, **more)
    return row_of(row, Action.RESTORE, Status.DONE, act_id, row["policy"], etag_after=after, **more)


def _bring_back(row: Row, storage: Storage) -> str:
    """Copy, compare, then remove what was kept; return the ETag at the object's place."""
    uri, kept = row["uri"], row["kept_at"]
    place = place_of(uri, storage)
    there, held = place.head(uri), place.head(kept)
    if held is None:
        if there is not None and there.size_bytes == row["size_bytes"]:
            return there.etag  # an interrupted restore came so far
        raise Refused("missing", f"{kept}: the quarantined object is not there (any more).")
    if there is not None:
        # the copy of an interrupted restore may go on, another object may not be written over
        if (there.etag, there.size_bytes) != (row["etag"], row["size_bytes"]):
            raise taken(kept, uri)
        after = there
    else:
        after = place.copy(kept, held, uri, new=True)
    place.remove(kept, held)
    remove(stores.join(kept.rpartition("/")[0], ORIGIN), storage)
    return after.etag
