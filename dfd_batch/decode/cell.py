"""Decoding that cannot take the scan down: a process that may crash, hang or swell.

Actor → server (`cell_server`: imports the decoders once) → forked worker (`worker`). Frames come
back through shared memory, everything else as small messages. A crash costs a fork, a hang its
deadline and a fork. Every way for a worker to fail becomes the typed outcome of the one object
that it was reading:

| fault | caught by | becomes |
|---|---|---|
| corrupt, unsupported, no stream | exception in the worker | unreadable, unsupported |
| native hang | deadline, SIGKILL; RLIMIT_CPU where the actor itself is stopped | timeout |
| segmentation fault, abort | closed socket and exit status | crashed (signal named) |
| memory blow-up | RLIMIT_AS in the worker | too_large |
| slow leak | worker replaced every n objects | nothing |
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import numpy as np

from dfd_batch.decode.confine import MAX_DEADLINE_S
from dfd_batch.decode.partial import Load
from dfd_batch.decode.processes import Server, WorkerGone, WorkerHandle
from dfd_batch.outcomes import MediaFault, Outcome
from dfd_batch.schema import Clip, Decoded, Probe
from dfd_batch.settings import Limits, Sampling

KEEP_BYTES = 256 * 2**20
"""A worker whose slots grew beyond this is replaced after its object, to give memory back."""


class _NotLoaded(Exception):  # noqa: N818
    """Bytes that the decoder needs could not be brought."""

    def __init__(self, fault: MediaFault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class Cell:
    """One contained decoder, for one object at a time; a context manager.

    Args:
        limits: What one object may cost: memory, time, pixels.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._server: Server | None = None
        self._worker: WorkerHandle | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()

    @property
    def worker_pid(self) -> int | None:
        """The process that decodes at present; None before the first object and after a fault."""
        return self._worker.pid if self._worker else None

    @property
    def server_pid(self) -> int | None:
        """The process that forks the workers; None before the first object."""
        return self._server.pid if self._server else None

    def decode(
        self, path: str, sampling: Sampling, name: str | None = None, load: Load | None = None
    ) -> Iterator[Probe | Clip | Decoded]:
        """Yield exactly one Probe, then Clips, then exactly one Decoded.

        Args:
            path: A local file.
            sampling: Which clips of a video are read.
            name: What messages call the object; the path unless given.
            load: Brings bytes of the file that are not there yet; None: all are. The time that
                it takes is not the decoder's.

        Returns:
            Clips' frames are views into shared memory, gone when the next item is asked for.

        Raises:
            MediaFault: The object cannot be judged, for any reason; the cell stays usable.
        """
        name = name or path
        clean = False
        try:
            worker = self._ready_worker()
            worker.n_objects += 1
            plan = sampling.model_dump(mode="json")
            worker.send({"path": path, "sampling": plan, "holes": load is not None})
            yield from self._items(worker, load)
            clean = True
        except _NotLoaded as failed:  # the worker waits for what will not come
            raise failed.fault from None
        except MediaFault as fault:
            clean = fault.kind != "out_of_memory"  # what is left of its memory is in pieces
            raise MediaFault(fault.outcome, fault.kind, f"{name}: {fault.message}") from None
        except TimeoutError:
            raise self._timed_out(name) from None
        except WorkerGone:
            raise self._crashed(name) from None
        except (OSError, ValueError, LookupError, TypeError) as error:
            told = f"{name}: the decoder could not be used ({type(error).__name__}: {error})."
            raise MediaFault(Outcome.CRASHED, "decoder_protocol", told) from error
        finally:
            if not clean or self._is_spent():
                self._end_worker(kill=True)

    def start(self) -> None:
        """Let the server import the decoders while its actor is still busy with its own imports."""
        if self._server is None:
            self._server = Server()

    def close(self) -> None:
        """End worker and server; the cell may be used again."""
        self._end_worker(kill=True)
        server, self._server = self._server, None
        if server is not None:
            server.close()

    def _items(self, worker: WorkerHandle, load: Load | None) -> Iterator[Probe | Clip | Decoded]:
        left_s = self._limits.timeout_s  # of waiting: time that the consumer takes is its own
        while True:
            started = time.monotonic()
            message = worker.receive(left_s)
            left_s -= time.monotonic() - started
            match message:
                case {"planned": n_clips}:
                    more_s = min(n_clips * self._limits.timeout_per_clip_s, MAX_DEADLINE_S)
                    left_s = min(left_s + more_s, MAX_DEADLINE_S)
                case {"need": [int(begin), int(end)]} if load is not None:
                    try:
                        load(begin, end)
                    except MediaFault as fault:
                        raise _NotLoaded(fault) from None
                    worker.send({"have": True})
                case {"probe": fields}:
                    yield Probe(**fields)
                case {"clip": fields}:
                    # no variable may hold a view: its map keeps a file descriptor open
                    yield Clip(
                        fields["index"],
                        worker.frames(fields["slot"], fields["shape"]),
                        np.array(fields["times_s"]),
                        fields["scale"],
                    )
                    worker.send({"free": fields["slot"]})
                case {"decoded": fields}:
                    yield Decoded(**fields)
                    return
                case {"fault": fields}:
                    raise MediaFault(Outcome(fields["outcome"]), fields["kind"], fields["message"])

    def _ready_worker(self) -> WorkerHandle:
        if self._worker is None:
            try:
                self._worker = self._fork()
            except OSError:  # the server was killed: start another, once
                self.close()
                self._worker = self._fork()
        return self._worker

    def _fork(self) -> WorkerHandle:
        self.start()
        assert self._server is not None  # noqa: S101 - for the type checker
        return self._server.fork(self._limits)

    def _is_spent(self) -> bool:
        worker = self._worker
        return worker is not None and (
            worker.n_objects >= self._limits.decoder_recycle_after
            or worker.shared_bytes() > KEEP_BYTES
        )

    def _end_worker(self, *, kill: bool) -> int | None:
        """Return the exit status of the present worker, gone afterwards; None if unknown."""
        worker, self._worker = self._worker, None
        if worker is None:
            return None
        worker.close()
        with contextlib.suppress(OSError):
            return self._server.end(worker, kill=kill) if self._server else None
        return None

    def _timed_out(self, name: str) -> MediaFault:
        self._end_worker(kill=True)
        return MediaFault(
            Outcome.TIMEOUT,
            "decoder_deadline",
            f"{name}: decoding took longer than limits.timeout_s = {self._limits.timeout_s:g} s + "
            f"{self._limits.timeout_per_clip_s:g} s per clip.",
        )

    def _crashed(self, name: str) -> MediaFault:
        status = self._end_worker(kill=False)
        if status is None:
            return MediaFault(Outcome.CRASHED, "server_lost", f"{name}: the decoder's server died.")
        if status == -signal.SIGXCPU:
            return self._timed_out(name)
        kind = signal.Signals(-status).name if status < 0 else f"exit_{status}"
        return MediaFault(Outcome.CRASHED, kind, f"{name}: the decoder crashed ({kind}).")
