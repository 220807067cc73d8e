"""`dfd summary`: what became of a run."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dfd_batch import storage as stores
from dfd_batch.console.scan import reconciliation, say
from dfd_batch.console.text import counts, duration, printable, size, to_json
from dfd_batch.reports import read
from dfd_batch.reports.write import reports_uri
from dfd_batch.settings import Settings, Storage

STEPS = ("fetch_ms", "decode_ms", "face_ms", "embed_ms", "judge_ms")
COLUMNS = [
    "media_id",
    "uri",
    "outcome",
    "verdict",
    "error_kind",
    "error_message",
    "duration_s",
    "bytes_read",
    *STEPS,
]
MAX_CAUSES = 10


def run(run_id: str | None, out: str, settings: Settings, as_json: bool) -> None:
    """Print the account of a run, the latest by default."""
    account = summarise(run_id, out, settings.storage)
    if as_json:
        typer.echo(to_json(account))
        return
    console = Console()
    say(console, f"run       {account['run_id']} of {printable(account.get('source', '?'))}")
    say(console, f"outcomes  {counts(account['outcomes'])}")
    say(console, f"verdicts  {counts(account['verdicts'])}")
    say(console, f"looked at {duration(account['media_s'])} of video")
    if account["finished"]:
        rate = account["n_reported"] / account["elapsed_s"] if account["elapsed_s"] else 0.0
        say(console, f"time      {duration(account['elapsed_s'])}, {rate:.2g} objects/s")
    steps = [f"{name.removesuffix('_ms')} {duration(s)}" for name, s in account["step_s"].items()]
    say(console, f"work      {', '.join(steps)}; {size(account['bytes_read'])} read")
    if account["failures"]:
        console.print(_failures(account["failures"]))
    told = reconciliation(account["n_manifest"], account["n_reported"], account["n_distinct"])
    say(console, told if account["finished"] else f"not finished (cut short or running): {told}")


def summarise(run_id: str | None, out: str, storage: Storage) -> dict[str, Any]:
    """Return the account of a run, counted from its manifest and report rows.

    Raises:
        UsageError: There is no such run.
    """
    account = read.run_summary(out, storage, run_id)
    rows = read.run_rows(reports_uri(out), storage, account["run_id"], COLUMNS)
    return {
        **account,
        "n_manifest": _n_manifest(account["run_uri"], storage),
        "n_reported": rows.num_rows,
        "n_distinct": len(pc.unique(rows.column("media_id"))),
        "outcomes": _count(rows, "outcome"),
        "verdicts": _count(rows, "verdict"),
        "media_s": pc.sum(rows.column("duration_s")).as_py() or 0.0,
        "bytes_read": pc.sum(rows.column("bytes_read")).as_py() or 0,
        "step_s": {step: (pc.sum(rows.column(step)).as_py() or 0.0) / 1000 for step in STEPS},
        "failures": _causes(rows),
    }


def _n_manifest(run_uri: str, storage: Storage) -> int:
    uri = stores.join(run_uri, "manifest.parquet")
    blob = stores.read_bytes(uri, storage)
    return int(pq.ParquetFile(pa.BufferReader(blob)).metadata.num_rows)


def _count(rows: pa.Table, column: str) -> dict[str, int]:
    pairs = pc.value_counts(rows.column(column).drop_null()).to_pylist()
    return {pair["values"]: pair["counts"] for pair in pairs}


def _causes(rows: pa.Table) -> list[dict[str, Any]]:
    """Return the most common causes of rows without a verdict, with an example of each."""
    failed = rows.filter(pc.field("outcome") != "scored")
    names = ["outcome", "error_kind", "uri", "error_message"]
    seen: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], tuple[str, str]] = {}
    for outcome, kind, uri, message in zip(*(failed[n].to_pylist() for n in names), strict=True):
        key = (outcome, kind or "")
        seen[key] += 1
        examples.setdefault(key, (uri, message or ""))
    return [
        {
            "outcome": key[0],
            "error_kind": key[1],
            "n_objects": n,
            "example": examples[key][0],
            "message": examples[key][1],
        }
        for key, n in seen.most_common(MAX_CAUSES)
    ]


def _failures(causes: list[dict[str, Any]]) -> Table:
    table = Table(title="Without a verdict", title_justify="left", box=None, pad_edge=False)
    table.add_column("outcome")
    table.add_column("cause")
    table.add_column("objects", justify="right")
    table.add_column("for example", overflow="fold")
    for cause in causes:
        name = cause["example"].rsplit("/", 1)[-1]
        message = f": {cause['message']}" if cause["message"] else ""
        table.add_row(
            cause["outcome"],
            Text(printable(cause["error_kind"])),
            f"{cause['n_objects']:,}",
            Text(printable(name + message)),
        )
    return table
