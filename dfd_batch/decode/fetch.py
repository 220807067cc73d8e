"""An object as a local file: used in place, or downloaded for as long as it is read.

Only the version that the manifest names is read: by version id, or under the condition that the
ETag is still the same. An object that has changed since becomes `changed`.
"""

from __future__ import annotations

import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from dfd_batch.outcomes import MediaFault, Outcome, UsageError
from dfd_batch.settings import Limits, Storage
from dfd_batch.storage import client, is_s3, local_path, split_s3
from dfd_batch.storage.uris import local_etag

CHUNK_BYTES = 4 * 2**20

_BY_CODE = {
    "NoSuchKey": Outcome.MISSING,
    "NoSuchBucket": Outcome.MISSING,
    "NoSuchVersion": Outcome.MISSING,
    "404": Outcome.MISSING,
    "PreconditionFailed": Outcome.CHANGED,
    "412": Outcome.CHANGED,
    "SlowDown": Outcome.THROTTLED,
    "Throttling": Outcome.THROTTLED,
    "ThrottlingException": Outcome.THROTTLED,
    "RequestLimitExceeded": Outcome.THROTTLED,
    "TooManyRequests": Outcome.THROTTLED,
    "ServiceUnavailable": Outcome.THROTTLED,
    "RequestTimeout": Outcome.TIMEOUT,
}
_BY_STATUS = {
    401: Outcome.ACCESS_DENIED,
    403: Outcome.ACCESS_DENIED,
    404: Outcome.MISSING,
    405: Outcome.MISSING,  # the version is a delete marker
    412: Outcome.CHANGED,
    429: Outcome.THROTTLED,
}
_ADVICE = {
    Outcome.MISSING: "it is not there (any more)",
    Outcome.CHANGED: "it has changed since it was listed; scan again to judge the new version",
    Outcome.ACCESS_DENIED: "access is denied; the credentials need read access to it",
    Outcome.THROTTLED: "the store is too busy; use fewer crop actors or try again later",
    Outcome.TIMEOUT: "the store did not answer in time; try again, or raise storage.read_timeout_s",
}


@dataclass(frozen=True)
class Fetched:
    """An object that lies on this machine."""

    path: str
    bytes_read: int
    fetch_ms: float


class Fetcher:
    """Brings objects to where a decoder can open them.

    Args:
        storage: How object storage is reached.
        limits: `max_object_bytes`.
    """

    def __init__(self, storage: Storage, limits: Limits) -> None:
        self._storage = storage
        self._limits = limits

    @contextmanager
    def fetch(
        self,
        uri: str,
        etag: str | None = None,
        version_id: str | None = None,
        size_bytes: int | None = None,
    ) -> Iterator[Fetched]:
        """Yield the object as a local file that is there until the context ends.

        Args:
            uri: Local path, `file://` or `s3://` URI.
            etag: The content that was listed; None reads whatever is there.
            version_id: Of a versioned bucket; then the ETag is not asked.
            size_bytes: As listed.

        Raises:
            MediaFault: `missing`, `changed`, `access_denied`, `throttled`, `timeout`, `empty` or
                `too_large`.
        """
        started = time.perf_counter()
        if size_bytes is not None:
            self._check_size(uri, size_bytes)
        if not is_s3(uri):
            path, n_bytes = self._in_place(uri, etag)
            yield Fetched(path, n_bytes, _ms_since(started))
            return
        with tempfile.NamedTemporaryFile(prefix="dfd-object-") as file:
            n_bytes = self._download(uri, etag, version_id, file)
            yield Fetched(file.name, n_bytes, _ms_since(started))

    def _check_size(self, uri: str, size_bytes: int) -> None:
        if size_bytes == 0:
            raise MediaFault(Outcome.EMPTY, "zero_bytes", f"{uri}: the object has no content.")
        if size_bytes > self._limits.max_object_bytes:
            raise MediaFault(
                Outcome.TOO_LARGE,
                "too_many_bytes",
                f"{uri}: {size_bytes} bytes are more than limits.max_object_bytes = "
                f"{self._limits.max_object_bytes}.",
            )

    def _in_place(self, uri: str, etag: str | None) -> tuple[str, int]:
        try:
            path = local_path(uri)
            told = path.stat()
            if not stat.S_ISREG(told.st_mode):
                raise MediaFault(
                    Outcome.MISSING, "not_a_file", f"{uri}: it is a folder or device, not a file."
                )
            path.open("rb").close()
        except PermissionError as error:
            raise _fault(uri, Outcome.ACCESS_DENIED, "permission") from error
        except (OSError, ValueError, UsageError) as error:
            raise _fault(uri, Outcome.MISSING, "not_found") from error
        if etag and etag != local_etag(told):
            raise _fault(uri, Outcome.CHANGED, "etag")
        self._check_size(uri, told.st_size)
        return str(path), told.st_size

    def _download(self, uri: str, etag: str | None, version_id: str | None, file: IO[bytes]) -> int:
        """Write the object to a file and return its bytes, resuming where a connection breaks."""
        from botocore.exceptions import BotoCoreError, ClientError
        from urllib3.exceptions import HTTPError

        bucket, key = split_s3(uri)
        wanted: dict[str, Any] = {"Bucket": bucket, "Key": key}
        if version_id:
            wanted["VersionId"] = version_id
        elif etag:
            wanted["IfMatch"] = f'"{etag.strip(chr(34))}"'
        for attempt in range(1, self._storage.max_retries + 1):
            try:
                return self._copy(uri, wanted, file)
            except ClientError as error:
                outcome, code = _classify(error)
                raise _fault(uri, outcome, code) from error
            except (BotoCoreError, HTTPError, OSError) as error:
                outcome = _classify_local(error)
                if outcome is not Outcome.TIMEOUT or attempt == self._storage.max_retries:
                    raise _fault(uri, outcome, type(error).__name__) from error
                if file.tell() == 0:  # the client has retried that often itself
                    raise _fault(uri, outcome, type(error).__name__) from error
        raise AssertionError("unreachable")

    def _copy(self, uri: str, wanted: dict[str, Any], file: IO[bytes]) -> int:
        begin = file.tell()
        ranged = {"Range": f"bytes={begin}-"} if begin else {}
        answer = client(self._storage).get_object(**wanted, **ranged)
        if "IfMatch" not in wanted and "VersionId" not in wanted:
            wanted["IfMatch"] = answer["ETag"]  # a resumed download must be of the same object
        self._check_size(uri, begin + int(answer["ContentLength"]))
        for chunk in answer["Body"].iter_chunks(CHUNK_BYTES):
            file.write(chunk)
        file.flush()
        return file.tell()


def _classify(error: Any) -> tuple[Outcome, str]:
    """Return the outcome and the store's own word for an error that it answered."""
    code = str(error.response.get("Error", {}).get("Code", "")) or "unknown"
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _BY_CODE:
        return _BY_CODE[code], code
    return _BY_STATUS.get(
        status, Outcome.THROTTLED if status >= 500 else Outcome.ACCESS_DENIED
    ), code


def _classify_local(error: Exception) -> Outcome:
    """Return the outcome for an error on this side of the connection."""
    from botocore.exceptions import HTTPClientError

    silent = isinstance(error, HTTPClientError | OSError) or type(error).__module__.startswith(
        ("urllib3", "botocore.exceptions")
    )
    credentials = "Credential" in type(error).__name__ or "Token" in type(error).__name__
    return Outcome.TIMEOUT if silent and not credentials else Outcome.ACCESS_DENIED


def _fault(uri: str, outcome: Outcome, kind: str) -> MediaFault:
    return MediaFault(outcome, kind, f"{uri}: {_ADVICE[outcome]} ({kind}).")


def _ms_since(started: float) -> float:
    return 1000 * (time.perf_counter() - started)
