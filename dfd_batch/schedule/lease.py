"""One tick at a time: a lease that is one small object below OUT.

It is taken by one conditional write (S3 `If-None-Match`, a locked file in a folder), renewed while
its holder lives and removed at the end. A killed holder renews no more; once its lease is old by
the store's own clock, the next tick takes it over, again by a conditional write. A store that does
not honour these is noticed by a probe; there the last of two writers wins after a pause, which is
not safe against every delay. That is no harm to verdicts: overlapping runs leave one latest row.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from dfd_batch import storage as stores
from dfd_batch.outcomes import UsageError
from dfd_batch.settings import Storage
from dfd_batch.storage.shared import age_s, read_token, remove, write_if

if TYPE_CHECKING:
    from dfd_batch.schedule.rules import Exclusion

POLL_S = 5.0
GIVEN_BACK_WITHIN_S = 20.0
SETTLE_S = 5.0
"""Where writes are not conditional: after it, what lies there was written by the winner."""


class Busy(Exception):  # noqa: N818 - not an error: another tick works
    """Another tick holds the lease; says which."""


class Lost(Exception):  # noqa: N818
    """This tick's lease was taken over: it was silent for too long."""


class Lease:
    """Held inside `with`, by a thread that renews it.

    Args:
        out: Where the lease lies: `OUT/ticks/lease.json`.
        holder: Id of this tick.
        rules: How long it lives and is waited for.
        storage: How to reach it.
    """

    def __init__(self, out: str, holder: str, rules: Exclusion, storage: Storage) -> None:
        self._folder = stores.join(out, "ticks")
        self._uri = stores.join(self._folder, "lease.json")
        self._holder, self._rules, self._storage = holder, rules, storage
        self._began = datetime.now(UTC)
        self._token: str | None = None
        self._renewed_at_s = 0.0
        self._ended, self._lost = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self.is_strict = True
        """Whether the store honours conditional writes."""

    def __enter__(self) -> Self:
        """Take it.

        Raises:
            Busy: Another tick has it.
            UsageError: OUT cannot be read or written.
        """
        self.is_strict = self._probe()
        give_up_at_s = time.monotonic() + self._rules.wait_s
        while (other := self._take()) is not None:
            left_s = give_up_at_s - time.monotonic()
            if left_s <= 0:
                raise Busy(other)
            time.sleep(min(POLL_S, left_s))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give it back, unless it is another's by now."""
        self._ended.set()
        self._thread.join(GIVEN_BACK_WITHIN_S)
        try:
            if self._is_mine(self._read()[0]):
                remove(self._uri, self._storage)
        except UsageError:
            if kind is None:
                raise

    def check(self) -> None:
        """Go on only while it is held.

        Raises:
            Lost: It is another's.
        """
        silent_s = time.monotonic() - self._renewed_at_s
        if self._lost.is_set() or silent_s > self._rules.expires_s:
            raise Lost(f"{self._uri} is or may be another tick's by now; this one stops here.")

    def _take(self) -> str | None:
        """Take it where it is free or old; else return who has it."""
        blob, token = self._read()
        if blob is not None:
            told = _parsed(blob)
            age = age_s(self._uri, self._storage)
            if age is not None and age < float(told.get("expires_s", self._rules.expires_s)):
                return f"tick {told.get('holder')}, begun {told.get('began')}, seen {age:.0f} s ago"
        return None if self._write(token) else "a tick that began at the same moment"

    def _write(self, token: str | None) -> bool:
        """Write it over what `token` names, and return whether it is this tick's now.

        What lies there decides, not the answer: of a write that was answered too late the
        repetition is refused.
        """
        renews = self._token is not None
        if renews and not self.is_strict and not self._is_mine(self._read()[0]):
            return False
        for _ in range(2):
            record = self._record()
            write_if(self._uri, record, token, self._storage)
            if not self.is_strict and not renews:
                time.sleep(SETTLE_S)
            blob, token = self._read()
            if not self._is_mine(blob):
                return False
            self._token = token
            if blob == record:
                self._renewed_at_s = time.monotonic()
                return True
        return False

    def _renew(self) -> None:
        while not self._ended.wait(self._rules.beat_s):
            try:
                held = self._write(self._token)
            except UsageError:  # the store may come back before the lease is old
                held = time.monotonic() - self._renewed_at_s < self._rules.expires_s
            if not held:
                self._lost.set()
                return

    def _record(self) -> bytes:
        told = {
            "holder": self._holder,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "began": self._began.isoformat(timespec="seconds"),
            "renewed": datetime.now(UTC).isoformat(),
            "expires_s": self._rules.expires_s,
        }
        return (json.dumps(told, indent=1) + "\n").encode()

    def _read(self) -> tuple[bytes | None, str | None]:
        return read_token(self._uri, self._storage)

    def _is_mine(self, blob: bytes | None) -> bool:
        return blob is not None and _parsed(blob).get("holder") == self._holder

    def _probe(self) -> bool:
        """Return whether the store refuses to write over what is there."""
        if not stores.is_s3(self._uri):
            return True
        uri = stores.join(self._folder, f"probe-{self._holder}")
        try:
            write_if(uri, b"1\n", None, self._storage)
            if write_if(uri, b"2\n", None, self._storage):
                return False
            return not write_if(uri, b"3\n", "0" * 32, self._storage)
        finally:
            remove(uri, self._storage)


def _parsed(blob: bytes) -> dict[str, Any]:
    """Return what a lease says; nothing where it is none, and then its age decides."""
    try:
        told = json.loads(blob)
        float(told.get("expires_s", 0))
        return dict(told)
    except (ValueError, TypeError, AttributeError):
        return {}
