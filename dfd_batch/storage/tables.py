"""Parquet that others wrote: its columns must be plain data.

A file's schema may name an extension type, and Arrow then hands its values to whatever class is
registered under that name; one of Ray's unpickles them, which is to run code from the file.
"""

from __future__ import annotations

import pyarrow as pa

from dfd_batch.outcomes import UsageError


def require_plain(schema: pa.Schema, uri: str) -> None:
    """Refuse a table with columns of extension types, before any value of it is looked at.

    Raises:
        UsageError: There is such a column, at whatever depth (names it).
    """
    for field in schema:
        found = _extension(field.type)
        if found is not None:
            raise UsageError(
                f"{uri}: column {field.name!r} is of the extension type {found}, which may run "
                "code when it is read; write it with plain types (text, numbers, times)."
            )


def _extension(kind: pa.DataType) -> str | None:
    """Return the name of an extension type in a type, or None."""
    if isinstance(kind, pa.BaseExtensionType):
        return str(kind.extension_name)
    below = [kind.field(i).type for i in range(kind.num_fields)]
    if pa.types.is_dictionary(kind):
        below.append(kind.value_type)
    return next((found for inner in below if (found := _extension(inner)) is not None), None)
