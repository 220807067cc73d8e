"""Which of the listed objects are wanted: globs on the name, limits of size and age."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from dfd_batch.catalog.objects import MediaObject
from dfd_batch.outcomes import UsageError
from dfd_batch.settings import Select


class Selection:
    """The rules of `settings.Select`, compiled once.

    Globs apply to the path below the scanned prefix, without regard to case (cameras write
    `IMG_1.MP4`). A glob without "/" matches the last name at any depth; one with "/" matches the
    whole path, where `*` stays inside one folder and `**` crosses folders; one that ends in "/"
    matches everything below that folder.

    Args:
        select: The settings.
        now: The instant that ages are counted from; default the present.

    Raises:
        UsageError: A glob is not valid.
    """

    def __init__(self, select: Select, now: datetime | None = None) -> None:
        self._include = [_compiled(glob) for glob in select.include]
        self._exclude = [_compiled(glob) for glob in select.exclude]
        whole = (_anchored(glob) for glob in select.exclude)
        self._pruned = [_compiled(glob[:-3]) for glob in whole if glob.endswith("/**")]
        self._select = select
        self._now = now or datetime.now(UTC)

    def takes_name(self, name: str) -> bool:
        """Return whether a path below the prefix passes the globs."""
        if any(glob.match(name) for glob in self._exclude):
            return False
        return not self._include or any(glob.match(name) for glob in self._include)

    def prunes(self, folder: str) -> bool:
        """Return whether everything below a folder is excluded, so it need not be listed."""
        return any(glob.match(folder) for glob in self._pruned)

    def takes(self, found: MediaObject) -> bool:
        """Return whether size and age pass; what is not known never excludes an object."""
        select, size = self._select, found.size_bytes
        if size is not None:
            if size < select.min_size_bytes:
                return False
            if select.max_size_bytes is not None and size > select.max_size_bytes:
                return False
        if found.last_modified is None:
            return True
        age = self._now - found.last_modified
        if select.newer_than_days is not None and age > timedelta(days=select.newer_than_days):
            return False
        return select.older_than_days is None or age >= timedelta(days=select.older_than_days)


def _anchored(glob: str) -> str:
    """Return a glob that is to match a whole path."""
    glob = glob.removeprefix("./").lstrip("/")
    if glob.endswith("/"):
        glob += "**"
    return glob if "/" in glob else f"**/{glob}"


def _compiled(glob: str) -> re.Pattern[str]:
    from fsspec.utils import glob_translate

    try:
        return re.compile(glob_translate(_anchored(glob)), re.IGNORECASE)
    except (ValueError, re.error) as error:
        raise UsageError(
            f"{glob!r} is not a valid glob: {error}. Use * and ? inside a name, [a-z] for one "
            "character, and ** as a whole folder name."
        ) from None
