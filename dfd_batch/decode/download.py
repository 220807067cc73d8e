"""One object of an S3 store: its bytes or a part of them, of one version, however often asked.

A connection that breaks off is taken up where it broke. The first answer pins the version: what is
read later, after a break or as another part, is of the same object or the object is `changed`.
"""

from __future__ import annotations

import errno
import os
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

from dfd_batch.outcomes import MediaFault, Outcome
from dfd_batch.settings import Storage
from dfd_batch.storage import client, split_s3

CHUNK_BYTES = 2**18
"""What is lost at most where a connection breaks; the rest is asked for again from there."""
SLOWEST_BYTES_PER_S = 2**16
"""A store that sends less for a whole object is as good as silent: its actor must not wait on."""
MAX_PAUSE_S = 20.0
"""Between attempts to go on with a broken download; random below it, doubling, as boto3 does."""

_FULL = {errno.ENOSPC, errno.EDQUOT}
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


class Download:
    """An object on its way here.

    Args:
        storage: How object storage is reached.
        uri: `s3://` URI.
        etag: The content that was listed; None: whatever is there.
        version_id: Of a versioned bucket; then the ETag is not asked.
        check_size: Told the whole object's size with each answer; raises where it is not allowed.
    """

    def __init__(
        self,
        storage: Storage,
        uri: str,
        etag: str | None,
        version_id: str | None,
        check_size: Callable[[int], None],
    ) -> None:
        self._storage = storage
        self._uri = uri
        self._check_size = check_size
        bucket, key = split_s3(uri)
        self._wanted: dict[str, Any] = {"Bucket": bucket, "Key": key}
        if version_id:
            self._wanted["VersionId"] = version_id
        elif etag:
            self._wanted["IfMatch"] = f'"{bare(etag)}"'

    def read(self, file: IO[bytes], begin: int = 0, end: int | None = None) -> int:
        """Write the bytes from `begin` to `end` to their place in a file; return how many.

        Args:
            file: Is written from `begin` on.
            begin: First byte.
            end: Behind the last; None: to the object's end.

        Raises:
            MediaFault: `missing`, `changed`, `access_denied`, `throttled`, `timeout`, `crashed`
                where there is no room for it here, or what `check_size` raises.
        """
        from botocore.exceptions import BotoCoreError
        from urllib3.exceptions import HTTPError

        file.seek(begin)
        n_broken = 0  # answers in a row that broke off before they brought a chunk
        while True:
            at = file.tell()
            answer = self._answer(at, end)
            n_bytes = int(answer["ContentLength"])
            self._check_size(at + n_bytes)
            deadline_s = self._storage.read_timeout_s + n_bytes / SLOWEST_BYTES_PER_S
            try:
                with _ends_by(answer["Body"], deadline_s) as late:
                    for chunk in answer["Body"].iter_chunks(CHUNK_BYTES):
                        file.write(chunk)
                file.flush()
                return file.tell() - begin
            except (BotoCoreError, HTTPError, OSError) as error:
                if isinstance(error, OSError) and error.errno in _FULL:
                    raise self._no_room(file) from error
                n_broken = 0 if file.tell() - at >= CHUNK_BYTES else n_broken + 1
                if late.is_set() or n_broken >= self._storage.max_retries:
                    raise fault(self._uri, Outcome.TIMEOUT, type(error).__name__) from error
            time.sleep(random.uniform(0, min(2**n_broken, MAX_PAUSE_S)))  # noqa: S311

    def _no_room(self, file: IO[bytes]) -> MediaFault:
        """Return the fault of an object that has no room here, and give back what it took."""
        with suppress(OSError):
            os.ftruncate(file.fileno(), 0)  # or closing it would fail as well
        folder = tempfile.gettempdir()
        told = f"{self._uri}: there is no room for it in {folder}; free some, or set TMPDIR."
        return MediaFault(Outcome.CRASHED, "no_space", told)

    def _answer(self, begin: int, end: int | None) -> dict[str, Any]:
        """Ask for a part and return the answer, whose body is still to be read."""
        from botocore.exceptions import BotoCoreError, ClientError
        from urllib3.exceptions import HTTPError

        last = "" if end is None else end - 1
        ranged = {} if begin == 0 and end is None else {"Range": f"bytes={begin}-{last}"}
        try:
            answer: dict[str, Any] = client(self._storage).get_object(**self._wanted, **ranged)
        except ClientError as error:
            outcome, code = _classify(error)
            raise fault(self._uri, outcome, code) from error
        except (BotoCoreError, HTTPError, OSError) as error:
            # the client has tried again as often as it may
            raise fault(self._uri, _classify_local(error), type(error).__name__) from error
        if "IfMatch" in self._wanted:  # not every store knows the condition
            check_etag(self._uri, self._wanted["IfMatch"], answer["ETag"])
        elif "VersionId" not in self._wanted:
            self._wanted["IfMatch"] = answer["ETag"]
        return answer


@contextmanager
def _ends_by(body: Any, deadline_s: float) -> Iterator[threading.Event]:
    """Break a body's connection off after a time; yields the event that says it happened.

    Reading alone cannot: each trickle of bytes starts the socket's time-out anew.
    """
    late = threading.Event()

    def end() -> None:
        late.set()
        with suppress(Exception):  # it has ended by itself just now
            body._raw_stream.shutdown()

    timer = threading.Timer(deadline_s, end)
    timer.daemon = True
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()


def check_etag(uri: str, listed: str | None, found: str) -> None:
    """Raise `changed` where an object's ETag is not the listed one."""
    if listed and bare(listed) != bare(found):
        raise fault(uri, Outcome.CHANGED, "etag")


def bare(etag: str) -> str:
    """Return an ETag without the quotes and the mark of weakness."""
    return etag.removeprefix("W/").strip('"')


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


def fault(uri: str, outcome: Outcome, kind: str) -> MediaFault:
    """Return the fault of an object that cannot be read, with advice."""
    return MediaFault(outcome, kind, f"{uri}: {_ADVICE[outcome]} ({kind}).")
