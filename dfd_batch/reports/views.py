"""Reports as SQL: DuckDB views over the Parquet files, local or on S3.

DuckDB runs inside this process and reads through pyarrow, which reaches storage as the scan does
(endpoint, profile, retries): no extension is downloaded and no key is handed to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as pds

from dfd_batch import storage as stores
from dfd_batch.outcomes import RETRYABLE, UsageError
from dfd_batch.reports import actions
from dfd_batch.reports.detectors import BANDS, RUNS, run_accounts
from dfd_batch.reports.files import ReportFile, reading
from dfd_batch.reports.write import reports_uri
from dfd_batch.schema import REPORT
from dfd_batch.settings import Storage

if TYPE_CHECKING:
    import duckdb

_AGAIN = ", ".join(f"'{outcome}'" for outcome in sorted(RETRYABLE))
_NEWEST = f"scanned_at DESC, attempt DESC, outcome IN ({_AGAIN})"
# an id is one content: its verdict stays true, whatever later attempts come to
_COUNTS = f"""SELECT * FROM _report QUALIFY row_number() OVER (
    PARTITION BY media_id, detector_id ORDER BY outcome IN ({_AGAIN}), {_NEWEST}) = 1"""  # noqa: S608

VIEWS: dict[str, tuple[str, str]] = {
    "report": (
        "every row of every run, as it lies in the files",
        "SELECT * FROM _report",
    ),
    "verdicts": (
        "the newest row of each object: one per URI, scored or not",
        f"""SELECT * FROM ({_COUNTS})
        QUALIFY row_number() OVER (PARTITION BY uri ORDER BY {_NEWEST}) = 1""",  # noqa: S608
    ),
    "faces": (
        "one row per face of each object's newest row",
        """SELECT uri, media_id, verdict, face.track, face.probability, face.first_s, face.last_s,
            face.n_frames, face.box
        FROM (SELECT uri, media_id, verdict, unnest(faces) AS face FROM verdicts)""",
    ),
    "timeline": (
        "one row per judged frame of each face of each object's newest row",
        """SELECT uri, media_id, point.track, point.t_s, point.probability
        FROM (SELECT uri, media_id, unnest(timeline) AS point FROM verdicts)""",
    ),
    "segments": (
        "one row per suspicious segment of each object's newest row",
        """SELECT uri, media_id, verdict, span.track, span.start_s, span.end_s, span.probability
        FROM (SELECT uri, media_id, verdict, unnest(segments) AS span FROM verdicts)""",
    ),
    "outcomes": (
        "what became of each object in each run, every attempt",
        f"""SELECT uri, media_id, outcome, outcome IN ({_AGAIN}) AS retryable, attempt, error_kind,
            error_message, detector_id, run_id, scanned_at, size_bytes
        FROM _report""",  # noqa: S608
    ),
    "runs": ("one row per run: what it was to do and what became of it", "SELECT * FROM _runs"),
    "detectors": (
        "one row per detector and band: threshold and what its calibration says of false alarms",
        "SELECT * FROM _bands",
    ),
    "actions": (
        "what `dfd act` did to objects, every attempt, oldest first",
        "SELECT * FROM _actions ORDER BY acted_at",
    ),
}
"""Views by name: what they hold, and their SQL."""
_CORRECTED = """corrected(share, fpr, tpr) AS CASE WHEN share IS NULL OR fpr IS NULL OR tpr <= fpr
    THEN NULL ELSE least(1.0, greatest(0.0, (share - fpr) / (tpr - fpr))) END"""
"""Rogan and Gladen (Am. J. Epidemiol. 1978): prevalence from the share that a test flags."""
_NEED_RUNS = ("runs", "detectors")


def chosen(
    out: str, storage: Storage, where: str, columns: Sequence[str] | None = None
) -> pa.Table:
    """Return the newest row of each object for which an SQL condition holds.

    Args:
        out: Where the scan wrote.
        storage: How to reach it.
        where: Over the columns of `schema.REPORT`, e.g. `probability > 0.8 AND media = 'video'`.
        columns: Of `schema.REPORT`; None for all.

    Raises:
        UsageError: The condition is not valid, or the reports cannot be read.
    """
    names = list(REPORT.names) if columns is None else list(columns)
    listed = ", ".join(f'"{name}"' for name in names)
    # a line of its own: the condition may end in a comment
    sql = f"SELECT {listed} FROM verdicts WHERE (\n{where}\n)"  # noqa: S608 - their own reports
    found = query(sql, out, storage)
    return found.cast(pa.schema([REPORT.field(name) for name in names]))


def query(
    sql: str, out: str, storage: Storage, variables: dict[str, Any] | None = None
) -> pa.Table:
    """Return what one SQL statement finds in the views; times are in UTC.

    Args:
        sql: One statement of DuckDB's SQL.
        out: Where the scan wrote.
        storage: How to reach it.
        variables: Values that the SQL reads by `getvariable('NAME')`.

    Raises:
        UsageError: The SQL is not valid, or the reports cannot be read.
    """
    import duckdb

    def read(files: list[ReportFile]) -> pa.Table:
        with connect(out, storage, files, sql) as connection:
            for name, value in (variables or {}).items():
                connection.execute(f'SET VARIABLE "{name}" = $1', [value])
            found = connection.sql(sql)
            return pa.table({}) if found is None else _integers(found.to_arrow_table())

    try:
        statements = duckdb.extract_statements(sql)
        if len(statements) != 1:
            raise UsageError(f"Give one SQL statement; there are {len(statements)}.")
        return reading(reports_uri(out), storage, read)
    except duckdb.Error as error:
        raise UsageError(_told(error, out)) from error
    except stores.raised() as error:
        raise stores.explain(error, reports_uri(out)) from error


def connect(
    out: str, storage: Storage, files: Sequence[ReportFile], sql: str | None = None
) -> duckdb.DuckDBPyConnection:
    """Return a DuckDB connection with `VIEWS` over the given report files.

    Args:
        out: Where the scan wrote.
        storage: How to reach it.
        files: Of `files.report_files`.
        sql: What will be asked: runs and actions that it does not name are not read. None: all.
    """
    import duckdb

    config: dict[str, Any] = {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
    }
    connection = duckdb.connect(config=config)
    # a name in the SQL means a view, never a variable of this program
    connection.execute("SET python_enable_replacements = false")
    connection.execute("SET TimeZone = 'UTC'")
    connection.register("_report", _dataset(out, storage, files))
    names = (sql or " ".join(VIEWS)).lower()
    accounts = run_accounts(out, storage) if any(n in names for n in _NEED_RUNS) else None
    connection.register("_runs", accounts.runs if accounts else RUNS.empty_table())
    connection.register("_bands", accounts.bands if accounts else BANDS.empty_table())
    acted = actions.read(out, storage) if "actions" in names else None
    connection.register("_actions", _plain(acted or actions.ACTIONS.empty_table()))
    for name, (_, body) in VIEWS.items():
        connection.execute(f'CREATE VIEW "{name}" AS {body}')
    connection.execute(f"CREATE MACRO {_CORRECTED}")
    connection.create_function("share_low", _share_low, ["DOUBLE", "DOUBLE"], "DOUBLE")
    connection.create_function("share_high", _share_high, ["DOUBLE", "DOUBLE"], "DOUBLE")
    return connection


def _dataset(out: str, storage: Storage, files: Sequence[ReportFile]) -> Any:
    """Return the report files as one dataset whose times are plain UTC, as SQL likes them."""
    schema = pa.schema([_plain_field(f) for f in REPORT])
    if not files:
        return schema.empty_table()
    filesystem, _ = stores.filesystem(reports_uri(out), storage)
    paths = [file.path for file in files]
    return pds.dataset(paths, filesystem=filesystem, format="parquet", schema=schema)


def _plain_field(given: pa.Field) -> pa.Field:
    kind = pa.timestamp("us") if pa.types.is_timestamp(given.type) else given.type
    return pa.field(given.name, kind)


def _integers(table: pa.Table) -> pa.Table:
    """Return a table without 128 bit integers (counts and sums), which few other tools know."""
    for i, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type) and field.type.scale == 0:
            try:
                column = table.column(i).cast(pa.int64())
            except pa.ArrowInvalid:
                column = table.column(i).cast(pa.float64())
            table = table.set_column(i, field.name, column)
    return table


def _plain(table: pa.Table) -> pa.Table:
    return table.cast(pa.schema([_plain_field(f) for f in table.schema]))


def _share_low(n_above: float, n: float) -> float | None:
    """Return the lower end of the exact 95 % interval of a share of n observations."""
    from scipy.stats import beta

    if not n:
        return None
    return float(beta.ppf(0.025, n_above, n - n_above + 1)) if n_above else 0.0


def _share_high(n_above: float, n: float) -> float | None:
    """Return the upper end of the exact 95 % interval of a share of n observations."""
    from scipy.stats import beta

    if not n:
        return None
    return float(beta.ppf(0.975, n_above + 1, n - n_above)) if n_above < n else 1.0


def _told(error: Exception, out: str) -> str:
    """Return DuckDB's message, which shows where it is wrong, and which names there are."""
    lines = str(error).rstrip().splitlines()
    cause = lines[0] if lines else type(error).__name__
    if "Catalog Error" in cause and "Table" in cause:
        return f"{cause} There are the views {', '.join(VIEWS)}."
    if "IO Error" in cause or "FileNotFound" in cause or "Arrow" in cause:
        return f"The reports of {out} cannot be read: {cause}"
    return "\n".join(["The SQL is not valid. " + cause, *(line for line in lines[1:] if line)])
