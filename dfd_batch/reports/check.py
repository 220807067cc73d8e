"""What report rows and files must hold whatever was judged, and sentences for what does not.

Each function looks at what lies on storage alone and yields one sentence per fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dfd_batch.checkpoint import Thresholds
from dfd_batch.outcomes import Outcome, Verdict
from dfd_batch.reports.files import COMPACTED, compacted_name
from dfd_batch.reports.write import file_name
from dfd_batch.schema import MANIFEST, REPORT, SCHEMA_VERSION

IDENTITY = [name for name in MANIFEST.names if name != "media"]
"""Columns that a row takes over from the manifest; the content decides what medium it is."""
REPORTED = pa.schema([f for f in REPORT if f.name not in {"timeline", "segments"}])
"""What is kept of all rows of a run; the columns that grow with a video's length are not."""
CHUNK_ROWS = 10_000
_VERSION = b"dfd_batch.schema_version"


def file_faults(path: str, table: pa.Table, run_id: str) -> Iterator[str]:
    """Yield what is wrong with a report file of a run: version, columns, name.

    Args:
        path: Where it lies.
        table: All of it.
        run_id: The run that its name begins with.
    """
    version = (table.schema.metadata or {}).get(_VERSION, b"").decode()
    if not version.isdecimal() or int(version) > SCHEMA_VERSION:
        yield (
            f"{path} has schema version {version or 'none'}, this package reads up to "
            f"{SCHEMA_VERSION}."
        )
    for wanted in REPORT:
        at = table.schema.get_field_index(wanted.name)
        if at < 0:
            if not wanted.nullable:
                yield f"{path} lacks the column {wanted.name}."
        elif table.schema.field(at).type != wanted.type:
            yield f"{path}: column {wanted.name} is {table.schema.field(at).type}."
    if {"media_id", "run_id"} <= set(table.column_names):
        own = file_name(run_id, table.column("media_id").to_pylist())
        name = compacted_name(table) if _compacted(path) else own
        if not path.endswith(f"/{name}"):
            yield f"{path} does not hold the objects that it was written with: it would be {name}."


def rows_of(path: str, table: pa.Table, run_id: str) -> pa.Table:
    """Return a file's rows that are a run's: all of its own file's, its part of a compacted one."""
    return table.filter(pc.field("run_id") == run_id) if _compacted(path) else table


def _compacted(path: str) -> bool:
    return path.rpartition("/")[2].startswith(COMPACTED)


def reported(table: pa.Table) -> list[pa.Table]:
    """Return a file's rows as one table of `REPORTED`, or none where a column does not fit."""
    nulls = {f.name: pa.nulls(len(table), f.type) for f in REPORTED}
    columns = {name: table[name] if name in table.column_names else nulls[name] for name in nulls}
    try:
        return [pa.table(columns).cast(REPORTED)]
    except (pa.ArrowException, ValueError):
        return []


def row_faults(rows: pa.Table, run_id: str, detector_id: str) -> Iterator[str]:
    """Yield what is wrong with rows of `schema.REPORT` by themselves."""
    outcome, probability = rows["outcome"], rows["probability"]
    scored = pc.equal(outcome, Outcome.SCORED.value)
    has_score = pc.or_(pc.is_valid(probability), pc.is_valid(rows["verdict"]))
    p, integrity = (pc.fill_null(rows[name], 0.5) for name in ("probability", "integrity"))
    sums = pc.abs(pc.subtract(pc.add(p, integrity), 1.0))
    rules = [
        (pc.not_equal(rows["run_id"], run_id), "its row names another run, {run_id}"),
        (
            pc.not_equal(rows["detector_id"], detector_id),
            "its row names another detector, {detector_id}",
        ),
        (
            pc.invert(pc.is_in(outcome, value_set=pa.array([str(o) for o in Outcome]))),
            "there is no outcome {outcome!r}",
        ),
        (
            pc.and_(has_score, pc.invert(scored)),
            "it is {outcome} and has a score ({verdict}, {probability})",
        ),
        (pc.and_(scored, pc.is_null(probability)), "it is scored without a probability"),
        (
            pc.invert(pc.and_(pc.greater_equal(p, 0.0), pc.less_equal(p, 1.0))),
            "{probability} is no probability",
        ),
        (
            pc.invert(pc.less_equal(sums, 1e-9)),
            "its integrity {integrity} is not 1 - probability {probability}",
        ),
    ]
    columns = ["uri", "run_id", "detector_id", "outcome", "verdict", "probability", "integrity"]
    for wrong, what in rules:
        for row in as_rows(rows.select(columns).filter(wrong)):
            yield f"{row['uri']}: {what.format_map(row)}."


def band_faults(rows: pa.Table, thresholds: Thresholds) -> Iterator[str]:
    """Yield the scored rows whose verdict is not the band of their probability."""
    columns = ["uri", "verdict", "probability"]
    scored = rows.select(columns).filter(pc.is_valid(rows["probability"]))
    bounds = [thresholds.inconclusive, thresholds.suspicious, thresholds.manipulated]
    bands = np.searchsorted(bounds, scored["probability"].to_numpy(), side="right")
    names = [verdict.value for verdict in Verdict]
    for row, at in zip(as_rows(scored), bands, strict=True):
        if row["verdict"] != names[at]:
            yield (
                f"{row['uri']}: its verdict is {row['verdict']}, by its probability "
                f"{row['probability']:.4f} it would be {names[at]}."
            )


def identity_faults(rows: pa.Table, manifest: pa.Table) -> Iterator[str]:
    """Yield the rows that say another thing of their object than the manifest does."""
    known = {item["media_id"]: item for item in as_rows(manifest.select(IDENTITY))}
    for row in as_rows(rows.select(IDENTITY)):
        promised = known.get(row["media_id"], row)
        for name in IDENTITY:
            if row[name] != promised[name]:
                yield (
                    f"{row['uri']}: its row says {name} {row[name]!r}, the manifest "
                    f"{promised[name]!r}."
                )


def repeated(objects: pa.Table, where: str) -> Iterator[str]:
    """Yield the objects (`media_id`, `uri`) that a table holds more than once."""
    counts = objects.group_by(["media_id", "uri"]).aggregate([([], "count_all")])
    for row in as_rows(counts.filter(pc.field("count_all") > 1)):
        yield f"{row['uri']}: it is {row['count_all']} times in {where}."


def differences(
    before: dict[str, Any], again: dict[str, Any], exact: Sequence[str], tolerance: float
) -> Iterator[str]:
    """Yield what differs between a report row and the row of the same object judged again.

    Args:
        before: The row on storage.
        again: The new row.
        exact: Columns that must be equal.
        tolerance: Greatest difference of the object's and of each face's probability.
    """
    for name in exact:
        if before[name] != again[name]:
            yield f"{again['uri']}: {name} is {before[name]}, judged again {again[name]}."
    pairs = [("probability", before["probability"], again["probability"])]
    faces = {face["track"]: face["probability"] for face in again["faces"] or ()}
    pairs += [
        (f"face {face['track']}'s probability", face["probability"], faces.get(face["track"]))
        for face in before["faces"] or ()
    ]
    for name, told, now in pairs:
        if told is None and now is None:
            continue
        # not `>`: a NaN is a difference
        if told is None or now is None or not abs(told - now) <= tolerance:
            yield f"{again['uri']}: its {name} is {_shown(told)}, judged again {_shown(now)}."


def as_rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Yield a table's rows as dictionaries, a bounded part of them at once."""
    for batch in table.to_batches(max_chunksize=CHUNK_ROWS):
        yield from batch.to_pylist()


def _shown(probability: float | None) -> str:
    return "null" if probability is None else f"{probability:.6f}"
