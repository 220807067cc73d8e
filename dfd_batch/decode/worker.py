"""The process that decodes: requests in, messages out, frames through shared memory.

Two slots of shared memory let the next clip be decoded while the actor looks at the present one;
no more than these two exist at any time. Messages are JSON, never pickles: a decoder taken over
by a hostile file gains nothing over the actor.
"""

from __future__ import annotations

import json
import mmap
import os
import socket
import time
from dataclasses import asdict, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dfd_batch.decode.confine import MAX_DEADLINE_S, allow_cpu
from dfd_batch.decode.media import decode
from dfd_batch.decode.partial import Load
from dfd_batch.decode.video import Planned
from dfd_batch.outcomes import MediaFault, Outcome
from dfd_batch.schema import Clip, Decoded, Probe
from dfd_batch.settings import Limits, Sampling

MESSAGE_BYTES = 1 << 16
MESSAGE_CHARS = 1000


class Slots:
    """Shared memory for two clips; waits when the actor still holds both."""

    def __init__(self, connection: socket.socket, fds: list[int]) -> None:
        self._connection = connection
        self._fds = fds
        self._maps: list[mmap.mmap | None] = [None] * len(fds)
        self.waited_s = 0.0
        self.reset()

    def reset(self) -> None:
        """Take all slots as free: a new object begins."""
        self._free = list(range(len(self._fds)))
        self.last = 0
        self.waited_s = 0.0

    def allocate(self, shape: tuple[int, int, int, int]) -> NDArray[np.uint8]:
        """Return room for a clip in a free slot, `last` being its number."""
        started = time.perf_counter()
        while not self._free:
            self._free.append(json.loads(_receive(self._connection))["free"])
        self.waited_s += time.perf_counter() - started
        self.last = self._free.pop(0)
        n_bytes = int(np.prod(shape))
        shared = self._grown(self.last, n_bytes)
        return np.frombuffer(shared, np.uint8, count=n_bytes).reshape(shape)

    def give_back(self, slot: int) -> None:
        """Take a slot as free again."""
        self._free.append(slot)

    def _grown(self, slot: int, n_bytes: int) -> mmap.mmap:
        shared = self._maps[slot]
        if shared is None or len(shared) < n_bytes:
            self._maps[slot] = None  # the old map goes with its last view
            if os.fstat(self._fds[slot]).st_size < n_bytes:
                os.ftruncate(self._fds[slot], n_bytes)
            shared = self._maps[slot] = mmap.mmap(self._fds[slot], n_bytes)
        return shared


def _receive(connection: socket.socket) -> bytes:
    message = connection.recv(MESSAGE_BYTES)
    if not message:
        raise SystemExit  # the actor ended this worker
    return message


class Worker:
    """Serves one decoding request after another.

    Args:
        connection: Sequenced packets to and from the actor.
        fds: Shared memory of the slots.
        limits: `settings.Limits` as JSON.
    """

    def __init__(self, connection: socket.socket, fds: list[int], limits: dict[str, Any]) -> None:
        cv2.setNumThreads(0)
        self._connection = connection
        self._limits = Limits.model_validate(limits)
        self._slots = Slots(connection, fds)

    def serve(self) -> None:
        """Answer requests until the actor closes the connection."""
        while True:
            request = json.loads(_receive(self._connection))
            if "path" not in request:
                continue  # slots of the last object that were given back
            self._slots.reset()
            allow_cpu(self._limits.timeout_s)
            try:
                sampling = Sampling.model_validate(request["sampling"])
                self._decode(request["path"], sampling, self._load if request["holes"] else None)
            except MediaFault as fault:
                self._fault(fault.outcome, fault.kind, fault.message)
            except MemoryError:
                self._fault(
                    Outcome.TOO_LARGE,
                    "out_of_memory",
                    "decoding needs more memory than limits.decoder_memory_mb = "
                    f"{self._limits.decoder_memory_mb}.",
                )
            except OSError as error:
                self._fault(Outcome.UNREADABLE, "read_error", f"it cannot be read ({error}).")
            except Exception as error:  # noqa: BLE001, RUF100 - whatever a decoder raises
                told = f"decoding failed ({type(error).__name__}: {error})."
                self._fault(Outcome.UNREADABLE, "decoder_error", told)

    def _load(self, begin: int, end: int) -> None:
        """Have the actor fill in a part of the file."""
        self._send({"need": [begin, end]})
        while "have" not in (answer := json.loads(_receive(self._connection))):
            self._slots.give_back(answer["free"])

    def _decode(self, path: str, sampling: Sampling, load: Load | None) -> None:
        for item in decode(path, sampling, self._limits, self._slots.allocate, load):
            match item:
                case Planned():
                    more_s = item.n_clips * self._limits.timeout_per_clip_s
                    allow_cpu(min(self._limits.timeout_s + more_s, MAX_DEADLINE_S))
                    self._send({"planned": item.n_clips})
                case Probe():
                    self._send({"probe": asdict(item)})
                case Clip():
                    self._send_clip(item)
                case Decoded():
                    own_ms = max(0.0, item.decode_ms - 1000 * self._slots.waited_s)
                    self._send({"decoded": asdict(replace(item, decode_ms=own_ms))})

    def _send_clip(self, clip: Clip) -> None:
        told = {
            "index": clip.index,
            "slot": self._slots.last,
            "shape": clip.frames.shape,
            "times_s": clip.times_s.tolist(),
            "scale": clip.scale,
        }
        self._send({"clip": told})

    def _fault(self, outcome: Outcome, kind: str, message: str) -> None:
        told = {"outcome": outcome.value, "kind": kind, "message": message[:MESSAGE_CHARS]}
        self._send({"fault": told})

    def _send(self, message: dict[str, Any]) -> None:
        self._connection.send(json.dumps(message).encode())
