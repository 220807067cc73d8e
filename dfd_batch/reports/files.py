"""Which report files count, while runs add to a day and a compaction replaces its files.

A compaction writes a day's rows once more into few files and then, in one step, the day's
`_compacted.json`: from then on these files count and those they replace do not, whether they are
still there or not. So a reader that goes by this module sees every row once at every moment.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.fs

from dfd_batch import storage as stores
from dfd_batch.outcomes import UsageError
from dfd_batch.reports.write import file_name
from dfd_batch.settings import Storage

MARKER = "_compacted.json"
COMPACTED = "compacted"
"""What the names of compacted files begin with, in the place of a run's id."""
TRIES = 5
THREADS = 16
T = TypeVar("T")


@dataclass(frozen=True)
class Marker:
    """What a day's compaction says: the files that count and those that no longer do.

    Args:
        files: Names of compacted files, each with the ids of the runs whose rows it holds.
        replaced: Names of files whose rows these hold.
    """

    files: dict[str, list[str]] = field(default_factory=dict)
    replaced: frozenset[str] = frozenset()

    def to_json(self) -> bytes:
        """Return what is written; `parse` reads it."""
        told = {"format": 1, "files": self.files, "replaced": sorted(self.replaced)}
        return (json.dumps(told, indent=1) + "\n").encode()


@dataclass(frozen=True)
class ReportFile:
    """One file that counts.

    Args:
        path: As `storage.filesystem` takes it.
        runs: The runs whose rows it holds; None: the one that its name begins with.
    """

    path: str
    runs: frozenset[str] | None = None

    def holds(self, run_id: str) -> bool:
        """Return whether rows of a run may lie in it."""
        if self.runs is not None:
            return run_id in self.runs
        return PurePosixPath(self.path).name.startswith(f"{run_id}-")


def parse(blob: bytes, uri: str) -> Marker:
    """Return a marker from its JSON.

    Raises:
        UsageError: It is none that this package reads.
    """
    try:
        told = json.loads(blob)
        if told["format"] != 1:
            raise ValueError(told["format"])
        files = {str(name): [str(run) for run in runs] for name, runs in told["files"].items()}
        return Marker(files, frozenset(map(str, told["replaced"])))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{uri} is no record of a compaction that this package reads ({error!r}); a newer "
            "dfd-batch may have written it: use that one."
        ) from error


def report_files(reports_uri: str, storage: Storage) -> list[ReportFile]:
    """Return the files that count, sorted by path; none where there is no report yet.

    Args:
        reports_uri: `OUT/reports`, or one day's folder below it.
        storage: How to reach it.

    Raises:
        UsageError: The folder cannot be listed.
    """
    filesystem, root = stores.filesystem(reports_uri, storage)
    listed = _listed(filesystem, root, reports_uri)
    s3 = stores.is_s3(reports_uri)
    folders = {str(PurePosixPath(path).parent) for path in listed}
    markers = {folder: f"{folder}/{MARKER}" for folder in folders}
    if s3:
        # Keys come in order, and a marker's sorts after those of the runs' files it may replace:
        # a listing that lacks one of these came late enough to show the marker. A folder's
        # entries have no order; there the markers are looked for after the listing.
        markers = {folder: path for folder, path in markers.items() if path in listed}
    found = _read_markers(markers, stores.S3_SCHEME if s3 else "", storage)
    counting: dict[str, ReportFile] = {}
    for path in listed:
        name, folder = PurePosixPath(path).name, str(PurePosixPath(path).parent)
        marker = found.get(folder)
        replaced = marker is not None and name in marker.replaced
        if is_report(path.removeprefix(root)) and not replaced and not name.startswith(COMPACTED):
            counting[path] = ReportFile(path)
    for folder, marker in found.items():
        for name, runs in marker.files.items():
            # whether listed or not: the marker may be younger than the listing
            path = f"{folder}/{name}"
            counting[path] = ReportFile(path, frozenset(runs))
    return [counting[path] for path in sorted(counting)]


def reading(reports_uri: str, storage: Storage, read: Callable[[list[ReportFile]], T]) -> T:
    """Return what `read` makes of the files that count, read again where they were replaced.

    Args:
        reports_uri: `OUT/reports`, or one day's folder below it.
        storage: How to reach it.
        read: Reads them; what it raises is raised where the files are still those that count.
    """
    files = report_files(reports_uri, storage)
    for _ in range(TRIES - 1):
        try:
            return read(files)
        except Exception:
            now = report_files(reports_uri, storage)
            if {file.path for file in files} <= {file.path for file in now}:
                raise
            files = now
    return read(files)


def compacted_name(rows: pa.Table) -> str:
    """Return the name of a compacted file, which follows from the rows (`run_id`, `media_id`)."""
    pairs = zip(rows["run_id"].to_pylist(), rows["media_id"].to_pylist(), strict=True)
    return file_name(COMPACTED, [f"{run_id}/{media_id}" for run_id, media_id in pairs])


def is_report(path: str) -> bool:
    """Return whether a path below the reports is a finished file and nothing's scratch."""
    parts = PurePosixPath(path).parts
    return path.endswith(".parquet") and not any(part.startswith((".", "_")) for part in parts)


def _listed(filesystem: Any, root: str, reports_uri: str) -> set[str]:
    selector = pyarrow.fs.FileSelector(root, recursive=True, allow_not_found=True)
    try:
        infos = filesystem.get_file_info(selector)
    except stores.raised() as error:
        raise stores.explain(error, reports_uri) from error
    return {info.path for info in infos if info.is_file}


def _read_markers(paths: dict[str, str], scheme: str, storage: Storage) -> dict[str, Marker]:
    """Return the markers that exist, by folder."""

    def read(entry: tuple[str, str]) -> Iterable[tuple[str, Marker]]:
        folder, path = entry
        uri = scheme + path
        if not scheme and not stores.exists(uri, storage):
            return []
        return [(folder, parse(stores.read_bytes(uri, storage), uri))]

    if not paths:
        return {}
    with ThreadPoolExecutor(min(THREADS, len(paths))) as pool:
        return dict(entry for found in pool.map(read, paths.items()) for entry in found)
