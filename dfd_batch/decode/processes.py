"""The actor's ends of the decoding processes: the server that forks, the worker that decodes."""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfd_batch.decode import confine
from dfd_batch.settings import Limits

MESSAGE_BYTES = 1 << 16
N_SLOTS = 2
SERVER = "dfd_batch.decode.cell_server"
SERVER_ANSWER_S = 120.0
"""The server only imports, forks and waits; slower, and the machine is in trouble."""


class WorkerGone(Exception):  # noqa: N818
    """The worker closed its end."""


class WorkerHandle:
    """The actor's side of one forked worker: its socket, its shared memory, its number."""

    def __init__(self) -> None:
        self.connection, self.far_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.memory = [os.memfd_create("dfd-clip", os.MFD_ALLOW_SEALING) for _ in range(N_SLOTS)]
        for fd in self.memory:
            # a worker may let its memory grow, never shrink it under the actor's eyes (SIGBUS)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        self._maps: list[mmap.mmap | None] = [None] * N_SLOTS
        self.pid = 0
        self.n_objects = 0

    def frames(self, slot: int, shape: list[int]) -> NDArray[np.uint8]:
        """Return a read-only view of a slot, (T, H, W, 3)."""
        n_bytes = int(np.prod(shape))
        shared = self._maps[slot]
        if shared is None or len(shared) < n_bytes:
            shared = mmap.mmap(self.memory[slot], n_bytes, prot=mmap.PROT_READ)
            self._maps[slot] = shared
        return np.frombuffer(shared, np.uint8, count=n_bytes).reshape(shape)

    def close(self) -> None:
        """Give back everything but the process."""
        self.connection.close()
        self.far_end.close()
        self._maps = []
        while self.memory:
            os.close(self.memory.pop())

    def shared_bytes(self) -> int:
        """Return the size that the slots have grown to."""
        return sum(os.fstat(fd).st_size for fd in self.memory)

    def send(self, message: dict[str, Any]) -> None:
        """Send a message.

        Raises:
            WorkerGone: Nobody is there to receive it.
        """
        try:
            self.connection.send(json.dumps(message).encode())
        except OSError as error:
            raise WorkerGone from error

    def receive(self, timeout_s: float) -> dict[str, Any]:
        """Return the next message.

        Raises:
            TimeoutError: None came in time.
            WorkerGone: None will come.
        """
        self.connection.settimeout(max(timeout_s, 0.001))
        try:
            message = self.connection.recv(MESSAGE_BYTES)
        except ConnectionError as error:
            raise WorkerGone from error
        if not message:
            raise WorkerGone
        told: dict[str, Any] = json.loads(message)
        return told


class Server:
    """A running `cell_server`; raises OSError where it is gone."""

    def __init__(self) -> None:
        # Not multiprocessing: its children import the parent's __main__, here a Ray worker
        self._control, far_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(SERVER_ANSWER_S)
        with far_end:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-P", "-m", SERVER, str(far_end.fileno())],
                pass_fds=[far_end.fileno()],
                stdin=subprocess.DEVNULL,
                env={**confine.environment(), "PYTHONPATH": _search_path()},
                process_group=0,  # a Ctrl-C is for the actor to act on
            )
        self.pid = self._process.pid

    def fork(self, limits: Limits) -> WorkerHandle:
        """Return a fresh worker."""
        worker = WorkerHandle()
        try:
            request = {"fork": limits.model_dump(mode="json")}
            fds = [worker.far_end.fileno(), *worker.memory]
            socket.send_fds(self._control, [json.dumps(request).encode()], fds)
            worker.pid = self._answer()["pid"]
        except BaseException:
            worker.close()
            raise
        worker.far_end.close()
        return worker

    def end(self, worker: WorkerHandle, *, kill: bool) -> int:
        """Return a worker's exit status, negative for a signal; it is gone afterwards."""
        self._control.send(json.dumps({"end": worker.pid, "kill": kill}).encode())
        status: int = self._answer()["exit"]
        return status

    def close(self) -> None:
        """End the server and, with it, any worker."""
        self._control.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answer(self) -> dict[str, Any]:
        message = self._control.recv(MESSAGE_BYTES)
        if not message:
            raise ConnectionError("the decoding server is gone")
        told: dict[str, Any] = json.loads(message)
        return told


def _search_path() -> str:
    """Return a PYTHONPATH that finds this package, wherever Ray put it."""
    root = str(Path(__file__).parents[2])
    return os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
