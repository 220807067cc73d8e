"""From a source to its objects, one after the other: a folder, a bucket, a manifest, an inventory.

Every object below a source is listed whatever its extension, for its kind is found by content.
Left out are only folder markers, what `objects.hidden` names, and the scan's own output.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from dfd_batch import storage as store
from dfd_batch.catalog import bucket, inventory, local, manifest_file
from dfd_batch.catalog.local import Named
from dfd_batch.catalog.objects import MediaObject, of_file
from dfd_batch.catalog.selection import Selection
from dfd_batch.outcomes import UsageError
from dfd_batch.settings import Select, Storage

OUTPUT_FOLDERS = ("reports", "runs", "actions", "ticks")
"""What a scan, and what is done after it, writes below its output folder."""


def listing(
    source: str, select: Select, storage: Storage, exclude_under: str | None = None
) -> Iterator[MediaObject]:
    """Yield the selected objects of a source; memory does not grow with their number.

    Only a manifest is remembered, by identity, so that an object it names twice comes once.

    Args:
        source: A local folder or file, `s3://bucket/prefix`, a manifest of URIs (`.jsonl`, `.csv`
            or `.parquet`) or an S3 Inventory (`…/manifest.json`), local or on S3.
        select: Globs on the path below the source, limits of size and age.
        storage: How object storage is reached.
        exclude_under: The output folder, whose content is never an object. Where the source lies
            in it, only what a scan writes there is left out.

    Raises:
        UsageError: The source does not exist, cannot be read, holds no object, or none that the
            globs let pass. That none is new or large enough is no error.
    """
    selection = Selection(select)
    n_found = n_named = 0
    for name, found in _objects(source, selection, storage, exclude_under):
        n_found += 1
        if not selection.takes_name(name):
            continue
        n_named += 1
        if selection.takes(found):
            yield found
    if not n_found:
        raise UsageError(f"There are no objects at {source}; check the path or prefix.")
    if not n_named:
        raise UsageError(
            f"None of the {n_found} objects at {source} passes select.include="
            f"{list(select.include)} and select.exclude={list(select.exclude)}; globs see the "
            "path below the source."
        )


def _objects(
    source: str, selection: Selection, storage: Storage, exclude_under: str | None
) -> Iterator[Named]:
    if not source:
        raise UsageError("The source is empty: give a folder, a file or s3://bucket/prefix.")
    if inventory.is_inventory(source):
        yield from _outside(inventory.read(source, storage), source, exclude_under)
    elif manifest_file.is_manifest(source) and not _is_folder(source):
        yield from manifest_file.read(source, storage)
    elif store.is_s3(source):
        yield from _outside(bucket.walk(source, storage), source, exclude_under)
    else:
        yield from _local(source, selection, exclude_under)


def is_list(source: str) -> bool:
    """Return whether a source names its objects instead of holding them."""
    is_manifest = manifest_file.is_manifest(source) and not _is_folder(source)
    return inventory.is_inventory(source) or is_manifest


def _is_folder(source: str) -> bool:
    return not store.is_s3(source) and store.local_path(source).is_dir()


def _outside(found: Iterator[Named], source: str, exclude_under: str | None) -> Iterator[Named]:
    """Yield the objects that do not lie in an output folder on S3."""
    if exclude_under is None or not store.is_s3(exclude_under):
        yield from found
        return
    output = exclude_under.rstrip("/") + "/"
    prefixes: tuple[str, ...] = (output,)
    # an inventory lies anywhere but lists a bucket from its root
    if not inventory.is_inventory(source) and (source.rstrip("/") + "/").startswith(output):
        prefixes = tuple(f"{output}{folder}/" for folder in OUTPUT_FOLDERS)
    for name, item in found:
        if not item.uri.startswith(prefixes):
            yield name, item


def _local(source: str, selection: Selection, exclude_under: str | None) -> Iterator[Named]:
    path = store.local_path(source)
    try:
        path.stat()
    except OSError as error:
        raise store.explain(error, source) from error
    if path.is_file():
        yield path.name, of_file(path)
    elif path.is_dir():
        yield from local.walk(path, selection.prunes, _left_out(path, exclude_under))
    else:
        raise UsageError(f"{source} is neither a folder nor a regular file.")


def _left_out(root: Path, exclude_under: str | None) -> set[str]:
    """Return the real paths of the folders that a scan writes to."""
    if exclude_under is None or store.is_s3(exclude_under):
        return set()
    output = os.path.realpath(store.local_path(exclude_under))
    if Path(os.path.realpath(root)).is_relative_to(output):
        return {f"{output}/{folder}" for folder in OUTPUT_FOLDERS}
    return {output}
