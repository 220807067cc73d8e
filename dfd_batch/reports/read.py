"""What the reports hold: the newest verdicts, one object's rows, one run's rows and account.

A report file may be older than this package and lack columns, or be newer and have more: columns
are matched by name, those a file lacks are null, those this package does not know are left out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds
from numpy.typing import NDArray

from dfd_batch import storage as stores
from dfd_batch.outcomes import RETRYABLE, UsageError
from dfd_batch.reports.files import ReportFile, reading, report_files
from dfd_batch.schema import REPORT
from dfd_batch.settings import Storage

DETECTOR_KEY = ("media_id", "detector_id")
"""One verdict per content and detector: what the ledger counts."""
URI_KEY = ("uri",)
"""One verdict per place, whatever lay there before: what a person looks at."""
_NEWEST_FIRST = [("scanned_at", "descending"), ("attempt", "descending")]
MIN_ID_CHARACTERS = 6
"""Shorter words are not taken for the beginning of a media_id."""


def latest(
    reports_uri: str,
    storage: Storage,
    columns: Sequence[str] | None = None,
    filter: pds.Expression | None = None,
    by: Sequence[str] = DETECTOR_KEY,
) -> pa.Table:
    """Return the newest row per key, in the order of their first appearance; maybe no row at all.

    Overlapping runs may have judged one object twice; the newest row is the one that counts. Of one
    content and detector a final outcome counts before one to try again, which may be newer.

    Args:
        reports_uri: `OUT/reports`.
        storage: How to reach it.
        columns: Columns of `schema.REPORT` to return; None for all.
        filter: Rows to choose from, e.g. `pc.field("verdict") == "manipulated"`.
        by: Columns whose values name one verdict.

    Raises:
        UsageError: The reports cannot be read.
    """
    wanted = list(REPORT.names) if columns is None else list(columns)
    needed = list(dict.fromkeys([*wanted, *by, *DETECTOR_KEY, "scanned_at", "attempt", "outcome"]))
    table = _read(reports_uri, storage, needed, filter)
    rows = table.select(list(dict.fromkeys([*by, *DETECTOR_KEY, "scanned_at", "attempt"])))
    again = pc.is_in(table["outcome"], value_set=pa.array([str(o) for o in RETRYABLE]))
    rows = rows.append_column("again", pc.cast(again, pa.int8()))
    rows = rows.append_column("row", pa.array(np.arange(len(table))))
    rows = _firsts(rows, DETECTOR_KEY, [("again", "ascending"), *_NEWEST_FIRST])
    if tuple(by) != DETECTOR_KEY:
        rows = _firsts(rows, by, [*_NEWEST_FIRST, ("again", "ascending")])
    return table.take(pc.take(rows["row"], pc.sort_indices(rows["row"]))).select(wanted)


def _firsts(rows: pa.Table, by: Sequence[str], order: list[tuple[str, str]]) -> pa.Table:
    """Return the first row, in this order, per key."""
    ordered = pc.sort_indices(rows, sort_keys=order)
    keys = rows.select([*by]).append_column("at", pa.array(np.arange(len(rows))))
    firsts = (
        keys.take(ordered)
        .group_by([*by], use_threads=False)  # "first" needs an order
        .aggregate([("at", "first")])
        .column("at_first")
    )
    return rows.take(firsts)


def probabilities(scored: pa.Table) -> NDArray[np.float64]:
    """Return the probabilities (N,) of scored rows, with the columns `uri` and `probability`.

    Raises:
        UsageError: One has none, which no scan writes (names it).
    """
    found = scored["probability"].cast(pa.float64()).to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero(~((found >= 0) & (found <= 1)))  # NaN is neither
    if len(wrong):
        uri, told = scored["uri"][int(wrong[0])].as_py(), found[wrong[0]]
        raise UsageError(f"The reports call {uri} scored with {told} for a probability.")
    return np.asarray(found, np.float64)


def find(reports_uri: str, storage: Storage, wanted: str) -> list[dict[str, Any]]:
    """Return the newest row of every object that a person may mean, newest first.

    An exact URI beats the beginning of a media_id, which beats the end of a URI; only the best
    kind of match is returned, so more than one row means that `wanted` is ambiguous.

    Args:
        reports_uri: `OUT/reports`.
        storage: How to reach it.
        wanted: A URI, a path, the end of either, or the first 6 or more characters of a media_id.
    """
    if not wanted:
        return []
    uri, media_id = pc.field("uri"), pc.field("media_id")
    exact = [wanted]
    if not stores.is_s3(wanted):
        exact.append(stores.local_uri(stores.local_path(wanted)))
    rules = [uri.isin(exact)]
    if len(wanted) >= MIN_ID_CHARACTERS:
        rules.append(pc.starts_with(media_id, wanted.lower()))
    rules.append(pc.ends_with(uri, "/" + wanted.removeprefix("./").lstrip("/")))
    rules.append(pc.ends_with(uri, wanted))
    anything = rules[0]
    for rule in rules[1:]:
        anything = anything | rule
    rows = latest(reports_uri, storage, filter=anything, by=URI_KEY)
    for rule in rules:
        matching = rows.filter(rule)
        if matching.num_rows:
            found: list[dict[str, Any]] = matching.sort_by(
                [("scanned_at", "descending")]
            ).to_pylist()
            return found
    return []


def run_rows(
    reports_uri: str, storage: Storage, run_id: str, columns: Sequence[str] | None = None
) -> pa.Table:
    """Return the rows that one run wrote.

    Args:
        reports_uri: `OUT/reports`.
        storage: How to reach it.
        run_id: Of the run; its files are named after it.
        columns: Columns of `schema.REPORT` to return; None for all.
    """
    names = list(REPORT.names) if columns is None else list(columns)
    return _read(reports_uri, storage, names, None, run_id)


def run_files(reports_uri: str, storage: Storage, run_id: str) -> list[str]:
    """Return the paths, as `storage.filesystem` takes them, of the files with a run's rows.

    Those that a compaction made hold rows of other runs as well.
    """
    return [file.path for file in report_files(reports_uri, storage) if file.holds(run_id)]


def run_ids(out: str, storage: Storage) -> list[str]:
    """Return the ids of the runs below `OUT/runs`, oldest first; they begin with their time."""
    return stores.list_names(stores.join(out, "runs"), storage)


def run_summary(out: str, storage: Storage, run_id: str | None = None) -> dict[str, Any]:
    """Return a run's `run.json` with its `summary.json` laid over it, the latest run's by default.

    A run that was cut short has no summary: `finished` says so.

    Args:
        out: Where the scan wrote.
        storage: How to reach it.
        run_id: The run, or the beginning of its id.

    Raises:
        UsageError: There is no such run.
    """
    known = run_ids(out, storage)
    matching = [name for name in known if run_id is None or name.startswith(run_id)]
    if not matching:
        told = ", ".join(known[-3:]) or "none"
        what = "No run yet" if run_id is None else f"No run {run_id!r}"
        raise UsageError(f"{what} in {stores.join(out, 'runs')}; the latest there: {told}.")
    folder = stores.join(out, "runs", matching[-1])
    names = stores.list_names(folder, storage)
    account: dict[str, Any] = {}
    for name in ("run.json", "summary.json"):
        if name in names:
            account |= json.loads(stores.read_bytes(stores.join(folder, name), storage))
    # where it was found, not where it was written: outputs are copied and moved
    found = {"run_id": matching[-1], "run_uri": folder}
    return account | found | {"finished": "summary.json" in names}


def _read(
    reports_uri: str,
    storage: Storage,
    columns: list[str],
    chosen: pds.Expression | None,
    run_id: str | None = None,
) -> pa.Table:
    """Return the wanted columns of all rows, or of a run's, with the types of `schema.REPORT`."""
    unknown = [name for name in columns if name not in REPORT.names]
    if unknown:
        raise UsageError(f"{unknown[0]!r} is no report column; known: {', '.join(REPORT.names)}.")

    def read(files: list[ReportFile]) -> pa.Table:
        if run_id is None:
            return _rows(files, reports_uri, storage, columns, chosen)
        return rows_of_run(files, reports_uri, storage, columns, run_id)

    try:
        return reading(reports_uri, storage, read)
    except stores.raised() as error:
        raise UsageError(
            f"The reports below {reports_uri} cannot be read: {error}. Move the file away and scan "
            "again; its objects are then judged anew."
        ) from error


def rows_of_run(
    files: list[ReportFile],
    uri: str,
    storage: Storage,
    columns: list[str],
    run_id: str,
) -> pa.Table:
    """Return the wanted columns of a run's rows: all of its own files, its part of shared ones."""
    own = [file for file in files if file.runs is None and file.holds(run_id)]
    shared = [file for file in files if file.runs is not None and file.holds(run_id)]
    mine = pc.field("run_id") == run_id
    parts = [(own, None), (shared, mine)]
    return pa.concat_tables(_rows(some, uri, storage, columns, wanted) for some, wanted in parts)


def _rows(
    files: list[ReportFile],
    uri: str,
    storage: Storage,
    columns: list[str],
    chosen: pds.Expression | None,
) -> pa.Table:
    if not files:
        return REPORT.empty_table().select(columns)
    filesystem, _ = stores.filesystem(uri, storage)
    paths = [file.path for file in files]
    found = pds.dataset(paths, filesystem=filesystem, format="parquet", schema=REPORT)
    return found.to_table(columns=columns, filter=chosen)
