"""Acting on files of a folder. Tags are extended attributes: `user.dfd-verdict` and so on."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from dfd_batch.storage.acting import CHUNK_BYTES, Head, Refused, Tags, changed, digest, taken
from dfd_batch.storage.uris import local_etag, local_path

_PREFIX = "user."
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_NO_ATTRIBUTES = {errno.ENOTSUP, errno.EOPNOTSUPP}


class LocalPlace:
    """Files; all but the file itself of what is in a bucket's object is kept by `copy2`."""

    def head(self, uri: str) -> Head | None:
        """Return what lies there, or None; folders and devices are none."""
        with _refusing(uri):
            try:
                told = local_path(uri).stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        return Head(local_etag(told), told.st_size) if stat.S_ISREG(told.st_mode) else None

    def tags(self, uri: str, head: Head) -> Tags:
        """Return a file's extended attributes of users."""
        path = local_path(uri)
        with _refusing(uri):
            try:
                names = [name for name in os.listxattr(path) if name.startswith(_PREFIX)]
            except OSError as error:
                if error.errno in _NO_ATTRIBUTES:
                    return {}
                raise
            return {
                name.removeprefix(_PREFIX): os.getxattr(path, name).decode(errors="replace")
                for name in names
            }

    def change_tags(self, uri: str, head: Head, change: Mapping[str, str | None]) -> None:
        """Set tags, drop those whose value is None; times and content stay as they are."""
        path = local_path(uri)
        self._same(uri, head)
        with _refusing(uri):
            try:
                for name, value in change.items():
                    if value is not None:
                        os.setxattr(path, _PREFIX + name, value.encode())
                    else:
                        with suppress(OSError):
                            os.removexattr(path, _PREFIX + name)
            except OSError as error:
                if error.errno in _NO_ATTRIBUTES:
                    raise Refused(
                        "failed",
                        f"{uri}: its file system keeps no extended attributes, so no tags.",
                    ) from error
                raise
        self._same(uri, head)

    def copy(self, uri: str, head: Head, to: str, new: bool = False) -> Head:
        """Copy a file with times, mode and attributes, in one step; compare both."""
        source, target = local_path(uri), local_path(to)
        if source.is_symlink():
            raise Refused("failed", f"{uri}: it is a link; act on the file that it leads to.")
        with _refusing(uri):
            target.parent.mkdir(parents=True, exist_ok=True)
            # a name of its own, and a short one: the target's may be as long as names can be
            descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=".", suffix=".part")
            os.close(descriptor)
            scratch = Path(name)
            try:
                shutil.copy2(source, scratch)
                told = source.stat()
                with suppress(PermissionError):
                    os.chown(scratch, told.st_uid, told.st_gid)
                with scratch.open("rb+") as file:
                    os.fsync(file.fileno())
                if digest(_chunks(source)) != digest(_chunks(scratch)):
                    raise Refused("failed", f"{uri}: its copy at {to} is not the same.")
                self._same(uri, head)
                if new:
                    _place_new(scratch, target)
                else:
                    scratch.replace(target)
            except FileExistsError:
                raise taken(uri, to) from None
            finally:
                scratch.unlink(missing_ok=True)
            return self._there(to)

    def remove(self, uri: str, head: Head, permanent: bool = False) -> None:
        """Remove a file, if it is still the one that is meant."""
        path = local_path(uri)
        if path.is_symlink():
            raise Refused("failed", f"{uri}: it is a link; act on the file that it leads to.")
        self._same(uri, head)
        with _refusing(uri):
            path.unlink()

    def is_locked(self, uri: str, head: Head) -> bool:
        """Return False: file systems have no retention."""
        return False

    def _there(self, uri: str) -> Head:
        found = self.head(uri)
        if found is None:
            raise Refused("missing", f"{uri}: it is not there (any more).")
        return found

    def _same(self, uri: str, head: Head) -> None:
        if self._there(uri) != head:
            raise changed(uri)


def _place_new(scratch: Path, target: Path) -> None:
    """Give a file its name where no other one has it, else raise FileExistsError."""
    try:
        os.link(scratch, target)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        target.touch(exist_ok=False)  # claims the name on file systems without hard links
        scratch.replace(target)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


@contextmanager
def _refusing(uri: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise Refused("missing", f"{uri}: it is not there (any more).") from error
    except OSError as error:
        kind = "denied" if error.errno in _DENIED else "failed"
        raise Refused(kind, f"{uri}: {error.strerror or error}.") from error
