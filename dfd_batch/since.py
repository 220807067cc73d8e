"""What `--since-last` leaves out: objects that have not changed since the last complete run.

Every plan is a listing minus the ledger, so it is incremental without this. Narrowed, it neither
keeps nor looks up what is old: memory and the ledger's part that is read follow what is new (the
listing itself is read as before). Three things must not be lost by that, and are not:

- what appeared while the last run was listing, or bears an earlier time than that of its arrival
  (S3 dates an upload in parts by its begin, clocks differ): a margin before that run's begin;
- what failed and is to be tried again: taken from the ledger, whatever its age;
- what a run that was cut off, limited or not reconciled left undone: such a run does not count.

What bears an old time for good (a moved folder, replicated objects, an older version that becomes
the current one) is found by the next scan without it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from dfd_batch import checkpoint as checkpoints
from dfd_batch import storage as stores
from dfd_batch.catalog.ledger import read_ledger
from dfd_batch.catalog.listing import is_list, listing
from dfd_batch.catalog.objects import MediaObject
from dfd_batch.catalog.plan import Plan, plan
from dfd_batch.outcomes import RETRYABLE, UsageError
from dfd_batch.reports.read import run_ids
from dfd_batch.reports.write import reports_uri
from dfd_batch.settings import Settings

LOOKED_AT = 200
"""Newest runs among which a complete one is looked for; without one everything is compared."""


@dataclass(frozen=True)
class Since:
    """The last complete run over a source.

    Args:
        run_id: Of this run.
        cutoff: Objects that last changed before it are left out; UTC.
        full_at: When the last complete run that left nothing out began to list; UTC.
    """

    run_id: str
    cutoff: datetime
    full_at: datetime


def absolute(source: str) -> str:
    """Return a source by which runs from different working folders can be compared."""
    return source if stores.is_s3(source) else stores.local_uri(stores.local_path(source))


def listing_record(source: str, listed_at: datetime, since: Since | None) -> dict[str, Any]:
    """Return what `run.json` keeps of a listing, for `last_complete` of later runs.

    Args:
        source: What was listed.
        listed_at: A moment before the listing began; UTC.
        since: What narrowed it, if anything.
    """
    return {
        "source": absolute(source),
        "listed_at": listed_at.isoformat(),
        "since_run": since.run_id if since else None,
        "full_at": (since.full_at if since else listed_at).isoformat(),
    }


def last_complete(source: str, out: str, settings: Settings) -> Since | None:
    """Return the last complete run like the one that is to come, or None where there is none.

    Like: the same source and store, detector, rules of selection and number of attempts.

    Raises:
        UsageError: The source is a list, or objects are selected by a least age: then such a run
            says nothing of what is old.
    """
    if is_list(source):
        raise UsageError(
            f"--since-last goes by the times of what lies below a folder or prefix; {source} is "
            "a list, which may name old objects for the first time. Leave it out."
        )
    if settings.select.older_than_days is not None:
        raise UsageError(
            "--since-last and --older-than exclude each other: what was too young for the last "
            "run has not changed since."
        )
    card = checkpoints.load_card(settings.checkpoint)
    detector_id = checkpoints.detector_id(card, *settings.judging)
    wanted = (absolute(source), detector_id, *_rules(settings.model_dump(mode="json"), settings))
    # one second more, for S3 tells whole seconds
    margin = timedelta(hours=settings.select.since_margin_hours, seconds=1)
    for run_id in reversed(run_ids(out, settings.storage)[-LOOKED_AT:]):
        account = _account(stores.join(out, "runs", run_id), settings)
        if account is None or _is_cut_short(account):
            continue
        listed = account.get("listing") or {}
        rules = _rules(account["settings"], settings)
        if (listed.get("source"), account["detector_id"], *rules) == wanted:
            begun = datetime.fromisoformat(listed["listed_at"])
            return Since(run_id, begun - margin, datetime.fromisoformat(listed["full_at"]))
    return None


def _rules(dumped: dict[str, Any], settings: Settings) -> tuple[Any, ...]:
    """Return what else two runs must have in common."""
    select = {k: v for k, v in dumped["select"].items() if k != "since_margin_hours"}
    endpoint = dumped["storage"]["endpoint_url"]
    if endpoint is None:
        endpoint = stores.resolved(settings.storage).endpoint_url
    return select, dumped["limits"]["max_attempts"], endpoint


def _account(folder: str, settings: Settings) -> dict[str, Any] | None:
    """Return a run's two files as one, or None where it has not written both."""
    account: dict[str, Any] = {}
    try:
        for name in ("run.json", "summary.json"):
            account |= json.loads(stores.read_bytes(stores.join(folder, name), settings.storage))
    except UsageError:
        return None
    return account


def _is_cut_short(account: dict[str, Any]) -> bool:
    held_back = account["plan"].get("n_held_back", 0)
    return not account["reconciled"] or account["stopped"] is not None or held_back > 0


def plan_since(
    since: Since, source: str, out: str, settings: Settings, detector_id: str, limit: int | None
) -> Plan:
    """Return the plan of what changed since, and of what is to be tried again.

    Raises:
        UsageError: The source or the output cannot be read.
    """
    reports, storage = reports_uri(out), settings.storage
    failed = ds.field("outcome").isin([str(outcome) for outcome in RETRYABLE])
    again = read_ledger(reports, storage, detector_id, failed)
    objects = _Narrowed(
        listing(source, settings.select, storage, exclude_under=out),
        since.cutoff,
        set(again["media_id"].to_pylist()) if again is not None else set(),
    )

    def ledger(ids: pa.ChunkedArray) -> pa.Table | None:
        listed = ds.field("media_id").isin(ids.combine_chunks())
        return read_ledger(reports, storage, detector_id, listed)

    found = plan(objects, ledger, detector_id, settings.limits.max_attempts, limit)
    return replace(found, n_older=objects.n_older)


class _Narrowed:
    """The objects of a listing that changed since a time or are to be tried again."""

    def __init__(self, objects: Iterator[MediaObject], cutoff: datetime, again: set[str]) -> None:
        self._objects, self._cutoff, self._again = objects, cutoff, again
        self.n_older = 0

    def __iter__(self) -> Iterator[MediaObject]:
        for item in self._objects:
            if item.media_id in self._again or self._is_new(item):
                yield item
            else:
                self.n_older += 1

    def _is_new(self, item: MediaObject) -> bool:
        """Return whether an object may have come or changed since; so may one of unknown time."""
        if item.last_modified is None or item.last_modified >= self._cutoff:
            return True
        return not stores.is_s3(item.uri) and _came_at(item.uri) >= self._cutoff.timestamp()


def _came_at(uri: str) -> float:
    """Return when a file's own record changed, in seconds of Unix time.

    `cp -p`, `rsync -t` and `mv` bring old modification times along, but not this one.
    """
    path = stores.local_path(uri)
    try:
        return max(os.stat(path).st_ctime, os.lstat(path).st_ctime)  # noqa: PTH116 - both kinds
    except OSError:  # gone since it was listed: its row will say so
        return float("inf")
