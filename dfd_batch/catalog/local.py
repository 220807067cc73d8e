"""Local folders as a source of objects."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from dfd_batch.catalog.objects import MediaObject, hidden, of_file
from dfd_batch.storage import explain, local_uri

Named = tuple[str, MediaObject]
"""An object with its path below the source."""


def walk(root: Path, prunes: Callable[[str], bool], left_out: set[str]) -> Iterator[Named]:
    """Yield every file below a folder in a fixed order, whatever its name says of its kind.

    A link to a folder inside the tree is not followed, for that folder is listed under its own
    name; folders that links reach outside are listed once each, so loops end. A link to nothing is
    an object (it becomes a `missing` row); devices, sockets and pipes are none.

    Args:
        root: The folder.
        prunes: Whether all below a folder (its path below root) is excluded.
        left_out: Real paths of folders that are not entered.

    Raises:
        UsageError: A folder cannot be read: its objects would be lost without a row.
    """
    inside = os.path.join(os.path.realpath(root), "")  # noqa: PTH118 - ends with a separator
    seen = {_identity(root)}
    folders = [(root, "")]
    while folders:
        folder, below = folders.pop()
        entered = []
        for entry in _entries(folder):
            name = below + entry.name
            if hidden(entry.name):
                continue
            if not os.path.isdir(entry.path):  # noqa: PTH112 - DirEntry raises on looping links
                if entry.is_symlink() or entry.is_file():
                    yield name, of_file(Path(entry.path))
                continue
            real = os.path.realpath(entry.path)
            if real in left_out or prunes(name):
                continue
            if entry.is_symlink() and (real + "/").startswith(inside):
                continue
            identity = _identity(Path(entry.path))
            if identity is not None and identity not in seen:
                seen.add(identity)
                entered.append((Path(entry.path), name + "/"))
        folders.extend(reversed(entered))


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        told = folder.stat()
    except FileNotFoundError:  # removed since its parent was listed
        return None
    return told.st_dev, told.st_ino


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: os.fsencode(entry.name))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise explain(error, local_uri(folder)) from error
