"""`dfd query`: questions to the reports, by name or as SQL."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import pyarrow as pa
import typer
from rich.table import Table
from rich.text import Text

from dfd_batch import storage as stores
from dfd_batch.console.scan import say
from dfd_batch.console.screen import screen
from dfd_batch.console.text import printable, to_json
from dfd_batch.outcomes import UsageError
from dfd_batch.reports import views
from dfd_batch.reports.questions import QUESTIONS
from dfd_batch.settings import Settings

SHORT = 20
"""Characters of a column that is not folded while longer ones can be."""
MOST_SHOWN = 200
"""Rows of a table for a person; machines get all."""


class Format(StrEnum):
    """How an answer is written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


def run(
    asked: str,
    out: str,
    settings: Settings,
    form: Format,
    to: str | None,
    assigned: Sequence[str],
) -> None:
    """Answer one question and write the answer.

    Args:
        asked: SQL, or the name of a question.
        out: Where the scan wrote.
        settings: How storage is reached.
        form: How the answer is written.
        to: File or s3:// object to write it to; None: stdout.
        assigned: NAME=VALUE for the variables of the question.

    Raises:
        UsageError: The question is not valid, or storage cannot be reached.
    """
    given = dict(_assignment(text) for text in assigned)
    sql, variables = asked, {}
    if asked in QUESTIONS:
        sql, variables = QUESTIONS[asked].sql, QUESTIONS[asked].variables
        unknown = sorted(given.keys() - variables.keys())
        if unknown:
            raise UsageError(
                f"The question {asked!r} has no {unknown[0]!r} to set; it has "
                f"{', '.join(variables)}."
            )
    elif " " not in asked.strip():
        raise UsageError(
            f"There is no question {printable(asked)!r}; there are {', '.join(QUESTIONS)}. SQL "
            "begins with SELECT."
        )
    found = _simple(views.query(sql, out, settings.storage, variables | given))
    if form == Format.TABLE and to is None:
        _show(found)
        return
    blob = _written(found, form)
    if to is not None:
        stores.write_bytes(to, blob, settings.storage)
        say(screen(stderr=True), f"written   {printable(to)}: {found.num_rows:,} rows")
    elif form == Format.PARQUET and sys.stdout.isatty():
        raise UsageError("Parquet is not for a terminal: give --to FILE, or redirect stdout.")
    else:
        typer.echo(blob, nl=False)


def list_questions(form: Format) -> None:
    """Print the questions that have a name, and the views that SQL may use."""
    if form == Format.JSON:
        asked = {
            name: {"answers": q.told, "variables": q.variables, "sql": q.sql}
            for name, q in QUESTIONS.items()
        }
        told = {name: text for name, (text, _) in views.VIEWS.items()}
        typer.echo(to_json({"questions": asked, "views": told}))
        return
    console = screen()
    table = Table(title="Questions", title_justify="left", box=None, pad_edge=False)
    for title in ("dfd query …", "answers", "--set"):
        table.add_column(title, overflow="fold")
    for name, question in QUESTIONS.items():
        table.add_row(name, question.told, ", ".join(question.variables))
    console.print(table)
    table = Table(title="\nViews for SQL", title_justify="left", box=None, pad_edge=False)
    for title in ("view", "holds"):
        table.add_column(title, overflow="fold")
    for name, (holds, _) in views.VIEWS.items():
        table.add_row(name, holds)
    console.print(table)
    say(console, "\n--list --format json shows their SQL, to start from.")


def _assignment(text: str) -> tuple[str, Any]:
    """Return the name and the value, a number where it is one, of NAME=VALUE."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise UsageError(f"--set {text!r} is not of the form NAME=VALUE.")
    for kind in (int, float):
        try:
            return name, kind(value)
        except ValueError:
            continue
    return name, value


def _simple(found: pa.Table) -> pa.Table:
    """Return an answer whose exact decimals and other rare types are plain numbers and text.

    Columns of one name are numbered: `uri`, `uri_2`.
    """
    found = found.rename_columns(_numbered(found.column_names))
    for i, field in enumerate(found.schema):
        kind = field.type
        if pa.types.is_decimal(kind):
            found = found.set_column(i, field.name, found.column(i).cast(pa.float64()))
        elif pa.types.is_dictionary(kind):
            found = found.set_column(i, field.name, found.column(i).cast(kind.value_type))
    return found


def _numbered(names: Sequence[str]) -> list[str]:
    """Return names of which none is there twice."""
    used: list[str] = []
    for name in names:
        tries = itertools.chain([name], (f"{name}_{n}" for n in itertools.count(2)))
        used.append(
            next(new for new in tries if new not in used and (new == name or new not in names))
        )
    return used


def _show(found: pa.Table) -> None:
    console = screen()
    # one row's columns below each other would be no table: a wide one is folded instead
    table = Table(box=None, pad_edge=False, header_style="bold")
    rows = [
        [_cell(value) for value in row.values()] for row in found.slice(0, MOST_SHOWN).to_pylist()
    ]
    widths = [max(map(len, cells)) for cells in zip(found.column_names, *rows, strict=True)]
    short = [width <= SHORT for width in widths]
    left = console.width - sum(w + 1 for w, whole in zip(widths, short, strict=True) if whole)
    for field, whole in zip(found.schema, short, strict=True):
        right = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        table.add_column(
            field.name, justify="right" if right else "left", overflow="fold",
            no_wrap=whole and left >= SHORT,
        )  # fmt: skip
    for row in rows:
        table.add_row(*map(Text, row))
    if found.num_columns:
        console.print(table)
    more = found.num_rows - MOST_SHOWN
    rest = f"; {more:,} more: --format csv, json or parquet writes all" if more > 0 else ""
    say(console, f"{found.num_rows:,} rows{rest}")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | dict):
        return printable(to_json(value).replace("\n", ""))
    return printable(str(value))


def _written(found: pa.Table, form: Format) -> bytes:
    """Return an answer as a file's bytes."""
    if form == Format.JSON:
        return (to_json(found.to_pylist()) + "\n").encode()
    sink = pa.BufferOutputStream()
    if form == Format.PARQUET:
        import pyarrow.parquet as pq

        pq.write_table(found, sink, compression="zstd")
    else:
        from pyarrow import csv

        csv.write_csv(_flat(found), sink)
    blob: bytes = sink.getvalue().to_pybytes()
    return blob


def _flat(found: pa.Table) -> pa.Table:
    """Return a table whose lists and structs are JSON text, as CSV has none."""
    for i, field in enumerate(found.schema):
        if pa.types.is_nested(field.type):
            told = [
                None if value is None else to_json(value).replace("\n", "")
                for value in found.column(i).to_pylist()
            ]
            found = found.set_column(i, field.name, pa.array(told, pa.string()))
    return found
