"""The ledger anti-join: what is listed minus what the reports already hold.

Resume, incremental scan, retry and rescan with another detector are this one operation. The
ledger is the report table itself: nothing else remembers what was done, so nothing can disagree.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dfd_batch.catalog.ledger import LEDGER, read_ledger
from dfd_batch.catalog.objects import MediaObject
from dfd_batch.outcomes import RETRYABLE
from dfd_batch.schema import MANIFEST, TIMESTAMP

__all__ = ["LEDGER", "Plan", "plan", "read_ledger"]

_LISTED = pa.schema([field for field in MANIFEST if field.name != "attempt"])
_BATCH = 50_000
Lookup = Callable[[pa.ChunkedArray], pa.Table | None]


@dataclass(frozen=True)
class Plan:
    """What one run has to do: n_listed = n_done + n_exhausted + n_retry + n_new."""

    table: pa.Table
    """What is to be judged, of `schema.MANIFEST`, ordered by URI."""
    detector_id: str
    """Fingerprint of what is to judge."""
    n_listed: int
    """Distinct objects."""
    n_done: int
    """Those with a final outcome by this detector."""
    n_exhausted: int
    """Those that failed as often as is tried."""
    n_retry: int
    """Those that failed and may yet succeed."""
    n_new: int
    """Those without a row by this detector."""
    n_held_back: int
    """Of those to retry and new, how many the limit leaves to later runs."""
    bytes_planned: int
    """Size of the objects of the table, as far as it is known."""
    digest: str
    """Of the detector, objects and attempts, whatever the order of the listing."""
    n_older: int = 0
    """Listed beside, but left out for being unchanged (`--since-last`)."""

    def counts(self) -> dict[str, int]:
        """Return the figures by name, with `n_planned`."""
        named = {f.name: getattr(self, f.name) for f in fields(self) if f.name.startswith("n_")}
        return {**named, "n_planned": len(self.table), "bytes_planned": self.bytes_planned}


@dataclass(frozen=True)
class _History:
    """Of each listed object the row by this detector that counts."""

    attempt: NDArray[np.int32]  # 0: no row
    final: NDArray[np.bool_]


def plan(
    objects: Iterable[MediaObject],
    ledger: pa.Table | Lookup | None,
    detector_id: str,
    max_attempts: int,
    limit: int | None = None,
) -> Plan:
    """Return the objects without a final outcome by this detector, with the attempt that is next.

    Args:
        objects: The listing; repeated identities count once.
        ledger: Report rows with the columns of `LEDGER`, or None before the first report; or what
            returns those of the listed objects, given their media_ids.
        detector_id: Fingerprint of what would judge; rows of others do not count.
        max_attempts: After so many retryable failures an object is left alone.
        limit: Most objects that one run takes on, the first by uri; the next run takes the next.
    """
    listed = _distinct(_table(objects))
    if callable(ledger):
        ledger = ledger(listed["media_id"])
    told = _history(listed["media_id"], ledger, detector_id)
    new = told.attempt == 0
    retry = ~new & ~told.final & (told.attempt < max_attempts)
    planned = new | retry
    table = (
        listed.append_column("attempt", pa.array(told.attempt + 1, pa.int32()))
        .filter(pa.array(planned))
        .sort_by([("uri", "ascending"), ("media_id", "ascending")])
        .cast(MANIFEST)
    )
    n_waiting = len(table)
    table = table.slice(0, limit)
    return Plan(
        table=table,
        detector_id=detector_id,
        n_listed=len(listed),
        n_done=int(told.final.sum()),
        n_exhausted=int((~planned & ~told.final).sum()),
        n_retry=int(retry.sum()),
        n_new=int(new.sum()),
        n_held_back=n_waiting - len(table),
        bytes_planned=pc.sum(table["size_bytes"]).as_py() or 0,
        digest=_digest(table, detector_id),
    )


def _table(objects: Iterable[MediaObject]) -> pa.Table:
    """Return the listing as a table, built in batches so that few Python objects live at once."""
    names = [field.name for field in fields(MediaObject)]
    stream = iter(objects)
    batches = []
    while some := list(itertools.islice(stream, _BATCH)):
        columns = {name: [getattr(item, name) for item in some] for name in names}
        batches.append(pa.RecordBatch.from_pydict(columns, schema=_LISTED))
    return pa.Table.from_batches(batches, schema=_LISTED)


def _distinct(listed: pa.Table) -> pa.Table:
    ids = listed["media_id"].combine_chunks().dictionary_encode()
    if len(ids.dictionary) == len(ids):
        return listed
    _, first = np.unique(ids.indices.to_numpy(zero_copy_only=False), return_index=True)
    return listed.take(pa.array(np.sort(first)))


def _history(ids: pa.ChunkedArray, ledger: pa.Table | None, detector_id: str) -> _History:
    """Return what the ledger says of each of `ids`, in their order.

    Ids become positions in the listing first: sorting integers is what makes ten million rows a
    matter of seconds. A final outcome counts, whatever later rows (of overlapping runs, of clocks
    that go wrong) say: an id is one content, whose verdict stays true.
    """
    history = _History(np.zeros(len(ids), np.int32), np.zeros(len(ids), np.bool_))
    if ledger is None or not len(ledger) or not len(ids):
        return history
    rows = ledger.select(LEDGER.names).filter(pc.equal(ledger["detector_id"], detector_id))
    rows = rows.set_column(0, "media_id", pc.index_in(rows["media_id"], value_set=ids))
    rows = rows.filter(pc.is_valid(rows["media_id"]))

    position = rows["media_id"].to_numpy()
    attempt = pc.max_element_wise(pc.fill_null(rows["attempt"], 1), 1).to_numpy()
    scanned = pc.fill_null(rows["scanned_at"].cast(TIMESTAMP).cast(pa.int64()), -(2**63)).to_numpy()
    retryable = pc.is_in(
        rows["outcome"].cast(pa.string()),
        value_set=pa.array([str(outcome) for outcome in RETRYABLE]),
    )
    final = ~retryable.to_numpy()

    order = np.lexsort((attempt, scanned, final, position))
    ordered = position[order]
    latest = order[np.append(ordered[1:] != ordered[:-1], True)] if len(order) else order
    history.attempt[position[latest]] = attempt[latest]
    history.final[position[latest]] = final[latest]
    return history


def _digest(table: pa.Table, detector_id: str) -> str:
    """Return 32 hex digits: equal exactly when the same work is planned."""
    ordered = table.select(["media_id", "attempt"]).sort_by("media_id")
    lines = pc.binary_join_element_wise(
        ordered["media_id"], pc.cast(ordered["attempt"], pa.string()), " "
    )
    told = hashlib.sha256(detector_id.encode())
    for chunk in lines.chunks:
        for start in range(0, len(chunk), _BATCH):
            told.update(("\n" + "\n".join(chunk[start : start + _BATCH].to_pylist())).encode())
    return told.hexdigest()[:32]
