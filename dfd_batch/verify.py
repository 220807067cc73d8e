"""A run looked at again: is what lies on storage whole, consistent, and what the detector says?

Nothing here trusts what the run said of itself: identities, fingerprints and counts are computed
anew from the manifest, the report files and the checkpoint, and a sample of the objects goes once
more through the stages of a scan, in this process.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from dfd_batch import checkpoint as checkpoints
from dfd_batch import storage as stores
from dfd_batch.catalog.objects import media_id
from dfd_batch.outcomes import RETRYABLE, UsageError
from dfd_batch.reports import check as rules
from dfd_batch.reports import read
from dfd_batch.reports.write import reports_uri
from dfd_batch.schema import MANIFEST
from dfd_batch.settings import Settings
from dfd_batch.stages import Crop, Embed, Judge, RunContext
from dfd_batch.storage.tables import require_plain

TOLERANCE = 1e-4
"""Of a probability judged again on the same kind of device; bfloat16 differs between kinds."""
EXACT = ("outcome", "verdict", "n_faces", "n_frames_scored")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: at what, and a sentence for each fault."""

    name: str
    looked_at: str
    wrong: list[str]


@dataclass(frozen=True)
class Verification:
    """What a look at a run found; `notes` name what could not be compared and is no fault."""

    run_id: str
    run_uri: str
    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether no check found anything wrong."""
        return not any(check.wrong for check in self.checks)


def verify(
    out: str,
    settings: Settings,
    run_id: str | None = None,
    *,
    sample: int = 8,
    tolerance: float = TOLERANCE,
    checkpoint: str | None = None,
) -> Verification:
    """Return what is wrong with a run, the latest by default.

    Args:
        out: Where the scan wrote.
        settings: Their `storage` and `pools` say how things are reached; the rest is the run's.
        run_id: The run, or the beginning of its id.
        sample: Objects that are judged again; the run's id chooses them, so always the same ones.
        tolerance: Greatest difference of a probability that is judged again.
        checkpoint: The run's detector where it has moved; None: where the run found it.

    Raises:
        UsageError: There is no such run, or storage cannot be reached.
    """
    account = read.run_summary(out, settings.storage, run_id)
    found = Verification(account["run_id"], account["run_uri"])
    try:
        own = Settings.model_validate(account["settings"])
    except (KeyError, ValidationError):
        raise UsageError(
            f"{found.run_uri} has no run.json that this package reads; the run never began, or a "
            "newer package made it."
        ) from None
    used = own.model_copy(update={"storage": settings.storage, "pools": settings.pools})
    if checkpoint:
        used = used.model_copy(update={"checkpoint": checkpoint})
    detector = _detector(found, used, account["detector_id"])
    rows = _report(found, reports_uri(out), used)
    manifest = _manifest(found, used)
    _reconcile(found, manifest, rows, account)
    faults = [
        *rules.row_faults(rows, found.run_id, account["detector_id"]),
        *rules.identity_faults(rows, manifest),
        *(rules.band_faults(rows, detector.card.thresholds) if detector else ()),
    ]
    found.checks.append(Check("rows", f"{len(rows):,} rows", faults))
    if detector is not None and sample:
        today = datetime.now(UTC).date()
        context = RunContext(used, out, found.run_id, account["detector_id"], today, detector)
        _judge_again(found, manifest, rows, context, sample, tolerance)
    return found


def _detector(
    found: Verification, settings: Settings, detector_id: str
) -> checkpoints.Checkpoint | None:
    """Check the weights against their card and the card against the run."""
    name, wrong = settings.checkpoint, []
    checkpoint: checkpoints.Checkpoint | None = None
    try:
        checkpoint = checkpoints.load(name)
        now = checkpoints.detector_id(checkpoint.card, *settings.judging)
        if now != detector_id:
            checkpoint = None
            wrong.append(
                f"The run was judged by detector {detector_id}; checkpoint {name!r} with the "
                f"run's settings is {now}: give --checkpoint the one that judged."
            )
    except UsageError as error:
        wrong.append(str(error))
    found.checks.append(Check("detector", f"checkpoint {name}", wrong))
    return checkpoint


def _report(found: Verification, reports: str, settings: Settings) -> pa.Table:
    """Check that every report file is whole and holds what its name says; return their rows."""
    tables, wrong = [rules.REPORTED.empty_table()], []
    filesystem, _ = stores.filesystem(reports, settings.storage)
    paths = read.run_files(reports, settings.storage, found.run_id)
    for path in paths:
        try:
            with filesystem.open_input_file(path) as file:
                table = pq.read_table(file)
            require_plain(table.schema, path)
        except UsageError as error:
            wrong.append(str(error))
            continue
        except (OSError, pa.ArrowException) as error:
            wrong.append(f"{stores.explain(error, path)} It is no whole Parquet file.")
            continue
        wrong += rules.file_faults(path, table, found.run_id)
        tables += rules.reported(rules.rows_of(path, table, found.run_id))
    found.checks.append(Check("report files", f"{len(paths):,} files", wrong))
    return pa.concat_tables(tables)


def _manifest(found: Verification, settings: Settings) -> pa.Table:
    """Check that every media_id follows from its object; return the manifest."""
    uri = stores.join(found.run_uri, "manifest.parquet")
    try:
        blob = stores.read_bytes(uri, settings.storage)
        manifest = pq.read_table(pa.BufferReader(blob)).cast(MANIFEST)
    except (UsageError, ValueError, pa.ArrowException) as error:
        found.checks.append(Check("manifest", uri, [f"{uri} cannot be read: {error}"]))
        return MANIFEST.empty_table()
    wrong = [
        f"{item['uri']}: media_id {item['media_id']} does not follow from its URI, etag and size."
        for item in rules.as_rows(manifest)
        if media_id(item["uri"], item["etag"] or item["version_id"], item["size_bytes"])
        != item["media_id"]
    ]
    found.checks.append(Check("manifest", f"{len(manifest):,} objects", wrong))
    return manifest


def _reconcile(
    found: Verification, manifest: pa.Table, rows: pa.Table, account: dict[str, Any]
) -> None:
    """Check that every object of the manifest has exactly one row, and that nothing else has."""
    n_manifest, n_rows = len(manifest), len(rows)
    lacking = manifest.filter(pc.invert(pc.is_in(manifest["media_id"], rows["media_id"])))
    strange = rows.filter(pc.invert(pc.is_in(rows["media_id"], manifest["media_id"])))
    wrong = [
        *rules.repeated(manifest, "the manifest"),
        *rules.repeated(rows, "the report"),
        *(f"{r['uri']}: no row tells of it." for r in rules.as_rows(lacking)),
        *(f"{r['uri']}: it has a row, but is not in the manifest." for r in rules.as_rows(strange)),
    ]
    if not account["finished"]:
        wrong.append(f"{found.run_uri} has no summary.json: the run was cut short or still runs.")
    else:
        told = (account["n_manifest"], account["n_reported"])
        if told != (n_manifest, n_rows):
            wrong.append(
                f"summary.json counts {told[0]:,} objects and {told[1]:,} rows; there are "
                f"{n_manifest:,} and {n_rows:,}."
            )
    looked_at = f"manifest {n_manifest:,}, report {n_rows:,}"
    found.checks.append(Check("reconciliation", looked_at, wrong))


def _judge_again(
    found: Verification,
    manifest: pa.Table,
    rows: pa.Table,
    context: RunContext,
    sample: int,
    tolerance: float,
) -> None:
    """Check that objects judged again get the same outcome and probabilities."""
    both = manifest.filter(pc.is_in(manifest["media_id"], rows["media_id"]))
    n = min(sample, len(both))
    looked_at = f"{n:,} objects"
    if not n:  # a run that had nothing to do
        found.checks.append(Check("judged again", looked_at, []))
        return
    chosen = both.take(sorted(random.Random(found.run_id).sample(range(len(both)), n)))  # noqa: S311
    mine = rows.filter(pc.is_in(rows["media_id"], chosen["media_id"]))
    told = {row["media_id"]: row for row in rules.as_rows(mine)}
    wrong: list[str] = []
    for again in judged(chosen, context):
        before = told[again["media_id"]]
        outcomes = {before["outcome"], again["outcome"]}
        if len(outcomes) == 2 and outcomes & RETRYABLE:
            now = again["error_message"] or f"{again['uri']}: it can be judged now."
            found.notes.append(f"{now} The run says {before['outcome']}.")
        else:
            wrong += rules.differences(before, again, EXACT, tolerance)
    found.checks.append(Check("judged again", looked_at, wrong))


def judged(objects: pa.Table, context: RunContext) -> Iterator[dict[str, Any]]:
    """Yield the report rows of manifest rows, through the stages one object at a time."""
    crop, embed, judge = Crop(context), Embed(context), Judge(context)
    for at in range(len(objects)):
        yield from judge(embed(crop(objects.slice(at, 1)))).to_pylist()
