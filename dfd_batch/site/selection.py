"""Which report rows a site tells of, and what its list says of each."""

from __future__ import annotations

import os.path
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dfd_batch.outcomes import Outcome, Verdict
from dfd_batch.reports import read, views
from dfd_batch.reports.check import as_rows
from dfd_batch.reports.write import reports_uri
from dfd_batch.settings import Storage

STEPS = ("fetch_ms", "decode_ms", "face_ms", "embed_ms", "judge_ms")
COLUMNS = (
    *("media_id", "uri", "outcome", "verdict", "probability", "threshold", "media", "duration_s"),
    *("n_faces", "segments", "error_kind", "error_message", "size_bytes", "truncated"),
    *("detector_id", "detector", "run_id", "scanned_at", "bytes_read", *STEPS),
)
"""What the overview and the list need; the evidence of a row is read for its own page alone."""
KEY = ("media_id", "run_id")
BANDS = [v.value for v in (*reversed(Verdict),)]
"""The verdicts, the worst first."""


@dataclass(frozen=True)
class Selection:
    """The rows of a site, the most suspicious first, those without a probability last.

    Args:
        told: How they were chosen, in words.
        rows: With `COLUMNS`.
    """

    told: str
    rows: pa.Table

    def flagged(self, least: str) -> pa.Table:
        """Return the rows whose verdict is `least` or worse, the most suspicious first."""
        wanted = pa.array(BANDS[: BANDS.index(least) + 1], pa.string())
        return self.rows.filter(pc.is_in(self.rows["verdict"], value_set=wanted))

    def counts(self, column: str) -> dict[str, int]:
        """Return how many rows have each value of a column, the most frequent first."""
        return dict(
            Counter(v for v in self.rows[column].to_pylist() if v is not None).most_common()
        )


def select(out: str, storage: Storage, run_id: str | None, where: str | None) -> Selection:
    """Return the rows of a run, of a condition, or else the newest row of every object.

    Args:
        out: Where the scans wrote.
        storage: How to reach it.
        run_id: A run, or the beginning of its id.
        where: SQL condition on the columns of the view `verdicts`.

    Raises:
        UsageError: There is no such run, the condition is no SQL, or reports cannot be read.
    """
    reports = reports_uri(out)
    if run_id is not None:
        found = read.run_summary(out, storage, run_id)["run_id"]
        rows = read.run_rows(reports, storage, found, COLUMNS)
        return Selection(f"the rows of run {found}", _worst_first(rows))
    if where is not None:
        rows = views.chosen(out, storage, where, COLUMNS)
        return Selection(f"the newest rows for which {where}", _worst_first(rows))
    rows = read.latest(reports, storage, COLUMNS, by=read.URI_KEY)
    return Selection("the newest row of every object", _worst_first(rows))


def evidence_rows(out: str, storage: Storage, chosen: pa.Table) -> list[dict[str, Any]]:
    """Return the whole report rows of chosen ones, in their order.

    Args:
        out: Where the scans wrote.
        storage: How to reach it.
        chosen: With `media_id` and `run_id`; few enough for memory.
    """
    if not chosen.num_rows:
        return []
    wanted = pc.field("media_id").isin(pc.unique(chosen["media_id"]))
    wanted &= pc.field("run_id").isin(pc.unique(chosen["run_id"]))
    rows = read.latest(reports_uri(out), storage, filter=wanted, by=KEY).to_pylist()
    by_key = {tuple(row[name] for name in KEY): row for row in rows}
    keys = zip(*(chosen[name].to_pylist() for name in KEY), strict=True)
    return [by_key[key] for key in keys if key in by_key]


def common_folder(uris: Sequence[str]) -> str:
    """Return the longest folder, with its slash, that all URIs lie below; maybe nothing."""
    if not uris:
        return ""
    shared = os.path.commonprefix([uris[0], *uris])  # noqa: RUF071 - cut at a slash below
    return shared[: shared.rfind("/") + 1]


def causes(rows: pa.Table, most: int = 12) -> list[dict[str, Any]]:
    """Return the most common causes of rows without a verdict, with an example of each."""
    seen: dict[tuple[str, str], dict[str, Any]] = {}
    names = ["uri", "outcome", "error_kind", "error_message"]
    failed = rows.select(names).filter(pc.field("outcome") != Outcome.SCORED.value)
    for row in as_rows(failed):
        key = (row["outcome"], row["error_kind"] or "")
        entry = seen.setdefault(key, {"outcome": key[0], "kind": key[1], "n": 0, "row": row})
        entry["n"] += 1
    return sorted(seen.values(), key=lambda entry: (-entry["n"], entry["outcome"]))[:most]


def _worst_first(rows: pa.Table) -> pa.Table:
    keys = [("probability", "descending"), ("outcome", "ascending"), ("uri", "ascending")]
    return rows.take(pc.sort_indices(rows, sort_keys=keys))
