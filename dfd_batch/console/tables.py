"""Verdicts as a table: the most suspicious first, what could not be judged last."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich.table import Table
from rich.text import Text

from dfd_batch.console.text import VERDICT_STYLE, below, printable

SORT_COLUMNS = ["media_id", "uri", "outcome", "probability"]
TABLE_COLUMNS = [
    *SORT_COLUMNS,
    "verdict",
    "media",
    "duration_s",
    "n_faces",
    "segments",
    "error_message",
]
MAX_ROWS = 20
MAX_SPANS = 3
MAX_REASON = 90


def worst_first(rows: pa.Table, n: int = MAX_ROWS) -> pa.Table:
    """Return at most `n` rows, by falling probability, those without one after them."""
    order = pc.sort_indices(
        rows,
        sort_keys=[("probability", "descending"), ("outcome", "ascending"), ("uri", "ascending")],
    )
    return rows.take(order[:n])


def verdict_table(rows: list[dict[str, Any]], source: str, title: str) -> Table:
    """Return the table of report rows.

    Args:
        rows: With `TABLE_COLUMNS`, in the order to show.
        source: URIs below it are shown without it.
        title: Above the table.
    """
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("verdict", no_wrap=True)
    table.add_column("P(manip.)", justify="right", no_wrap=True)
    table.add_column("object", overflow="fold")
    table.add_column("faces", justify="right")
    table.add_column("what was found", overflow="fold")
    for row in rows:
        verdict, probability = row["verdict"], row["probability"]
        table.add_row(
            Text(verdict or "–", style=VERDICT_STYLE.get(verdict or "", "dim")),
            f"{probability:.2f}" if probability is not None else "",
            Text(below(row["uri"], source)),
            str(row["n_faces"]) if row["n_faces"] else "",
            Text(found(row), style="" if verdict else "dim"),
        )
    return table


def found(row: dict[str, Any]) -> str:
    """Return in words what led to a row: its suspicious spans, or why there is no verdict."""
    if row["outcome"] != "scored":
        # The object's name is beside it already.
        reason = (row["error_message"] or "").removeprefix(f"{row['uri']}: ").rstrip(".")
        told = printable(f"{row['outcome']}: {reason}" if reason else row["outcome"])
        return told if len(told) <= MAX_REASON else told[: MAX_REASON - 1] + "…"
    segments = row["segments"] or []
    spans = [f"{s['start_s']:.1f}–{s['end_s']:.1f} s" for s in segments[:MAX_SPANS]]
    more = f" and {len(segments) - MAX_SPANS} more" if len(segments) > MAX_SPANS else ""
    length = f" of {row['duration_s']:.1f} s" if row["duration_s"] else ""
    if spans:
        return f"suspicious {', '.join(spans)}{more}{length}"
    return f"{row['media'] or ''}{length}".replace(" of", ",", 1)
