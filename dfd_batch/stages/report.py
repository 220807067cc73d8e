"""Report: judged rows to Parquet, on one actor."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from dfd_batch.outcomes import UsageError
from dfd_batch.reports.write import write_rows
from dfd_batch.stages.context import RunContext
from dfd_batch.stages.judge import Judge
from dfd_batch.watch import WRITTEN, here


class Report:
    """Embedded rows to a Parquet file of report rows; gives back only what the driver counts.

    Judging is cheap and writing waits for a file's worth of rows anyway, so both share one actor:
    every further process would load the libraries of the networks again.
    """

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._judge = Judge(context)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Return what the driver counts of rows that are now safely written (`watch.WRITTEN`).

        Where they cannot be, `unwritten` says why: an exception would reach the driver as Ray's
        traceback, without the cause.
        """
        own = self._context
        rows = self._judge(batch)
        reason: str | None = None
        try:
            write_rows(rows, own.out, own.scan_date, own.run_id, own.settings.storage)
        except UsageError as error:
            reason = str(error)
        nodes = pc.fill_null(batch.column("node"), here())
        told = rows.append_column("node", nodes).select(WRITTEN)
        return told.append_column("unwritten", pa.array([reason] * len(rows), pa.string()))
