"""The files of a data set by name: a local folder or an S3 prefix, listed once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from dfd_batch import storage as store
from dfd_batch.catalog import bucket, local
from dfd_batch.outcomes import UsageError
from dfd_batch.settings import Storage


class Tree:
    """Names below a root and their URIs.

    Patterns match the end of a name from the start of a path part on, so that a data set may lie
    some folders deeper than the root, as unpacked archives do.

    Args:
        root: A local folder or `s3://bucket/prefix`.
        storage: How object storage is reached.

    Raises:
        UsageError: The root is no folder, cannot be read or is empty.
    """

    def __init__(self, root: str, storage: Storage) -> None:
        self.root = root
        self._storage = storage
        if store.is_s3(root):
            named = bucket.walk(root, storage)
        else:
            path = store.local_path(root)
            if not path.is_dir():
                raise UsageError(f"There is no folder {root}; give the data set's root folder.")
            named = local.walk(path, lambda _: False, set())
        self.uris = {name: found.uri for name, found in named}
        if not self.uris:
            raise UsageError(f"There are no files in {root}; give the data set's root folder.")

    def find(self, pattern: str) -> Iterator[tuple[re.Match[str], str, str]]:
        """Yield (match, name, URI) of the names that end in a pattern, in the tree's order."""
        compiled = re.compile(rf"(?:^|/){pattern}$")
        for name, uri in self.uris.items():
            match = compiled.search(name)
            if match:
                yield match, name, uri

    def has(self, pattern: str) -> bool:
        """Return whether any name ends in a pattern."""
        return next(self.find(pattern), None) is not None

    def text(self, name: str) -> str:
        """Return a metadata file's text.

        Raises:
            UsageError: It cannot be read or is not UTF-8.
        """
        uri = self.uris[name]
        try:
            return store.read_bytes(uri, self._storage).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise UsageError(f"{uri} is not a UTF-8 text; fetch this file again.") from None

    def json(self, name: str) -> Any:
        """Return a metadata file's JSON value.

        Raises:
            UsageError: It cannot be read or is not JSON.
        """
        try:
            return json.loads(self.text(name))
        except json.JSONDecodeError as error:
            raise self.malformed(name, f"it is not JSON ({error})") from None

    def malformed(self, name: str, why: str) -> UsageError:
        """Return the error that says what is wrong with a metadata file."""
        return UsageError(f"{self.uris[name]} cannot be used: {why}; fetch this file again.")


def folder_of(name: str) -> str:
    """Return the folder of a name with its final slash; empty at the root."""
    return name[: name.rfind("/") + 1]
