"""A day's many report files into few, while others read and write.

Order is everything: the new files are written first and count for nobody, then the day's marker
is replaced in one step (`files.py`: readers go by it), then the old files are removed. A kill
leaves files that do not count, and starting again removes them. No row is ever dropped: earlier
attempts and other detectors' rows stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dfd_batch import storage as stores
from dfd_batch.outcomes import UsageError
from dfd_batch.reports.files import (
    COMPACTED,
    MARKER,
    THREADS,
    Marker,
    compacted_name,
    is_report,
    parse,
)
from dfd_batch.reports.write import day_uri, reports_uri, write_table
from dfd_batch.schema import REPORT, SCHEMA_VERSION
from dfd_batch.settings import Storage
from dfd_batch.storage.shared import list_files, read_token, remove, write_if
from dfd_batch.storage.tables import require_plain

TARGET_BYTES = 256 * 2**20
"""Of rows in memory, per file: some tens of MB on storage."""
STALE_S = 3600.0
"""A compacted file that does not count for so long belongs to nobody who still works."""
_DAY = re.compile(r"scan_date=(\d{4}-\d{2}-\d{2})")
_VERSION = b"dfd_batch.schema_version"
_KEY = ["run_id", "media_id", "detector_id", "attempt", "scanned_at"]


@dataclass(frozen=True)
class Compaction:
    """What became of one day."""

    day: str
    state: str
    """`compacted`, `small enough`, or `lost`: another compaction was faster; start again."""
    n_files_before: int
    n_files_after: int
    n_rows: int
    """Rows that were written anew."""
    n_removed: int


def days(out: str, storage: Storage, before: date | None = None) -> list[date]:
    """Return the days that have reports, oldest first.

    Args:
        out: Where the scan wrote.
        storage: How to reach it.
        before: Only earlier days; None: those before today (UTC), which no run adds to any more.
    """
    limit = before or datetime.now(UTC).date()
    names = stores.list_names(reports_uri(out), storage)
    found = [date.fromisoformat(m[1]) for name in names if (m := _DAY.fullmatch(name))]
    return [day for day in found if day < limit]


def compact(out: str, day: date, storage: Storage, target_bytes: int = TARGET_BYTES) -> Compaction:
    """Rewrite a day into few files; a day that is compact already is only tidied.

    Args:
        out: Where the scan wrote.
        day: UTC day of the reports' folder.
        storage: How to reach it.
        target_bytes: Of rows in memory, per file.

    Raises:
        UsageError: A file cannot be read or is of a newer package; nothing is changed then.
    """
    folder = day_uri(out, day)
    # the token before the listing: what others commit in between makes our commit fail
    blob, token = read_token(stores.join(folder, MARKER), storage)
    marker = Marker() if blob is None else parse(blob, stores.join(folder, MARKER))
    listed = _listed(folder, storage)
    ours = {name for name in listed if name.startswith(COMPACTED)}
    stale = {n for n in ours - marker.files.keys() - marker.replaced if listed[n][1] > STALE_S}
    fresh = listed.keys() - ours - marker.replaced
    small = {n for n in marker.files if n in listed and 8 * listed[n][0] < target_bytes}
    sources = sorted(fresh | stale | (small if fresh or stale else set()))
    n_before = len(fresh) + len(marker.files)
    if len(sources) < 2 and not stale:
        n_removed = _remove(folder, marker.replaced & listed.keys(), storage)
        return Compaction(day.isoformat(), "small enough", n_before, n_before, 0, n_removed)
    files = {name: runs for name, runs in marker.files.items() if name not in sources}
    n_rows = 0
    # rows of a stale file may count already, in files that stay
    seen = _keys(folder, sorted(files), storage) if stale else None
    for part in _parts(folder, sources, storage, target_bytes, seen):
        name = compacted_name(part)
        if name not in files:
            write_table(part, stores.join(folder, name), storage)
        files[name] = sorted(set(part.column("run_id").to_pylist()))
        n_rows += part.num_rows
    _check(folder, sorted(files.keys() - marker.files.keys()), storage)
    # a file that is made again, of the same rows, counts again
    replaced = (marker.replaced | set(sources)) - files.keys()
    told = Marker(files, replaced).to_json()
    if not write_if(stores.join(folder, MARKER), told, token, storage):
        return Compaction(day.isoformat(), "lost", n_before, n_before, 0, 0)
    n_removed = _remove(folder, replaced & listed.keys(), storage)
    return Compaction(day.isoformat(), "compacted", n_before, len(files), n_rows, n_removed)


def _listed(folder: str, storage: Storage) -> dict[str, tuple[int, float]]:
    """Return the report files that lie in a day's folder: size in bytes, age in seconds."""
    now = datetime.now(UTC)
    return {
        name: (size, (now - changed).total_seconds())
        for name, (size, changed) in list_files(folder, storage).items()
        if is_report(name)
    }


def _read(folder: str, name: str, storage: Storage, columns: Sequence[str] | None = None) -> Any:
    uri = stores.join(folder, name)
    filesystem, path = stores.filesystem(uri, storage)
    try:
        with filesystem.open_input_file(path) as file:
            reader = pq.ParquetFile(file)
            require_plain(reader.schema_arrow, uri)
            table = reader.read(columns=columns)
    except stores.raised() as error:
        cause = stores.explain(error, uri)
        raise UsageError(f"{cause} The day is left as it is.") from error
    version = (table.schema.metadata or {}).get(_VERSION, b"0").decode()
    if not version.isdecimal() or int(version) > SCHEMA_VERSION:
        raise UsageError(
            f"{uri} was written by a newer dfd-batch (schema {version}): compact with that one."
        )
    return table


def _parts(
    folder: str, names: Sequence[str], storage: Storage, target_bytes: int, seen: set[Any] | None
) -> Iterator[pa.Table]:
    """Yield the files' rows in their order, joined to tables of about `target_bytes`."""
    held: list[pa.Table] = []
    for name in names:
        table = _read(folder, name, storage)
        if seen is not None:
            table = _unseen(table, seen)
        if table.num_rows:
            held.append(table)
        if sum(part.nbytes for part in held) >= target_bytes:
            yield _joined(held, folder)
            held = []
    if held:
        yield _joined(held, folder)


def _joined(tables: list[pa.Table], folder: str) -> pa.Table:
    """Return tables as one that has the columns of all of them and of `schema.REPORT`."""
    try:
        schema = pa.unify_schemas([REPORT, *(t.schema.remove_metadata() for t in tables)])
        whole = pa.concat_tables([schema.empty_table(), *tables], promote_options="default")
    except (pa.ArrowException, TypeError) as error:
        raise UsageError(f"The files of {folder} do not fit together: {error}.") from error
    return whole.replace_schema_metadata(REPORT.metadata)


def _keys(folder: str, names: Sequence[str], storage: Storage) -> set[Any]:
    keys: set[Any] = set()
    for name in names:
        _unseen(_read(folder, name, storage, _KEY), keys)
    return keys


def _unseen(table: pa.Table, seen: set[Any]) -> pa.Table:
    """Return the rows whose key is new, and add it to `seen`."""
    columns = [
        table[name].to_pylist() if name in table.column_names else [None] * len(table)
        for name in _KEY
    ]
    new = []
    for key in zip(*columns, strict=True):
        new.append(key not in seen)
        seen.add(key)
    return table.filter(pa.array(new, pa.bool_()))


def _check(folder: str, names: Sequence[str], storage: Storage) -> None:
    """Read back that each new file holds what its name says, before any old one is given up."""
    for name in names:
        if compacted_name(_read(folder, name, storage, ["run_id", "media_id"])) != name:
            raise UsageError(
                f"{stores.join(folder, name)} does not hold what was written; the day is left as "
                "it is. Check the storage and start again."
            )


def _remove(folder: str, names: set[str] | frozenset[str], storage: Storage) -> int:
    """Remove files that no longer count; those that are gone already are no fault."""
    uris = [stores.join(folder, name) for name in sorted(names)]
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda uri: remove(uri, storage), uris))
    return len(uris)
