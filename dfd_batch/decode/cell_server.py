"""The small process between a Crop actor and its decoders: imports them once, forks workers.

Started as `python -m dfd_batch.decode.cell_server FD`. Forking from here costs milliseconds, where
a fresh interpreter costs more than half a second, and it is safe here: no threads, no network, no
torch, no Ray. The server never decodes, so it can neither crash nor hang on a file; when the
actor goes, its socket closes and the server takes the worker with it. What it and its forks may
do is `confine`'s matter.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from dfd_batch.decode import confine

MESSAGE_BYTES = 1 << 16
EXIT_GRACE_S = 2.0  # from a worker's closed socket to its exit status
PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve fork and end requests until the actor is gone."""
    import dfd_batch.decode.worker  # noqa: F401 - the decoders, once for all workers

    confine.isolate()
    control = socket.socket(fileno=int(sys.argv[1]))
    workers: set[int] = set()
    try:
        while True:
            message, fds, _, _ = socket.recv_fds(control, MESSAGE_BYTES, 3)
            if not message:
                return
            request = json.loads(message)
            if "fork" in request:
                pid = _fork(control, fds, request["fork"])
                workers.add(pid)
                control.send(json.dumps({"pid": pid}).encode())
            else:
                pid = request["end"]
                workers.discard(pid)
                control.send(json.dumps({"exit": _end(pid, kill=request["kill"])}).encode())
    except (ConnectionError, KeyboardInterrupt):
        return
    finally:
        for pid in workers:
            _end(pid, kill=True)


def _fork(control: socket.socket, fds: list[int], limits: dict[str, Any]) -> int:
    pid = os.fork()
    if pid == 0:
        control.close()
        _work(fds, limits)
    for fd in fds:
        os.close(fd)
    return pid


def _end(pid: int, *, kill: bool) -> int:
    """Return a worker's exit status, negative for a signal; it is gone afterwards."""
    deadline = time.monotonic() + (0.0 if kill else EXIT_GRACE_S)
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return -signal.SIGKILL
        time.sleep(0.001)


def _work(fds: list[int], limits: dict[str, Any]) -> NoReturn:
    """Confine this fork, then decode for its lifetime."""
    from dfd_batch.decode.worker import Worker

    try:
        _confine(limits["decoder_memory_mb"] * 2**20)
        Worker(socket.socket(fileno=fds[0]), fds[1:], limits).serve()
    except BaseException:  # noqa: BLE001, RUF100 - a fork must never return into the server's loop
        os._exit(70)
    os._exit(0)


def _confine(memory_bytes: int) -> None:
    """Die with the server, take no more than allowed, stay quiet, change nothing.

    Go first when memory is short.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    confine.limit_resources(memory_bytes)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
    confine.read_only()


if __name__ == "__main__":
    main()
