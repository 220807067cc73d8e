"""A Ray cluster of several nodes on this machine, its store, and what may be killed of them.

Only processes that descend from what is started here are ever touched.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

import psutil

WORKERS = 2
CPUS_PER_NODE = 2
DECODER = "dfd_batch.decode.cell_server"
STARTS_WITHIN_S = 180


class Nodes:
    """A head and two worker nodes, each a `ray start` with a loopback address of its own.

    Not 127.0.0.1: that one Ray replaces by this machine's outer address.
    """

    def __init__(self, temporary: str) -> None:
        self._ray = str(Path(sys.executable).with_name("ray"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.2", 0))
            port = probe.getsockname()[1]
        self.address = f"127.0.0.2:{port}"
        self._temporary, self._n_started = temporary, 1
        self._replacing: list[threading.Thread] = []
        head = ["--head", f"--port={port}", f"--temp-dir={temporary}", "--include-dashboard=false"]
        self._nodes = [self._up(*head)]
        self._nodes += [self._up(f"--address={self.address}") for _ in range(WORKERS)]

    def _up(self, *arguments: str) -> psutil.Popen:
        """Return a node that runs; on a busy machine the first attempt may fail."""
        self._n_started += 1
        command = [self._ray, "start", "--block", f"--num-cpus={CPUS_PER_NODE}",
                   f"--node-ip-address=127.0.0.{self._n_started}", "--disable-usage-stats",
                   "--object-store-memory=100000000", *arguments]  # fmt: skip
        log = Path(self._temporary, f"node-{self._n_started}.log")
        until = time.monotonic() + STARTS_WITHIN_S
        while time.monotonic() < until:
            with log.open("wb") as told:
                node = psutil.Popen(command, stdout=told, stderr=told, start_new_session=True)
            while node.poll() is None and time.monotonic() < until:
                if b"Ray runtime started" in log.read_bytes():
                    return node
                time.sleep(0.2)
            _end(node)
        raise AssertionError(f"no Ray node started: {log.read_text()[-2000:]}")

    def processes(self) -> list[psutil.Process]:
        """All processes of all nodes."""
        found = []
        for node in [*self._nodes]:
            with suppress(psutil.NoSuchProcess):
                found += [node, *node.children(recursive=True)]
        return found

    def kill_actor(self, random: Random) -> bool:
        """Kill one actor of a scan."""
        return _kill_one(random, [p for p in self.processes() if _says(p, "ray::MapWorker")])

    def kill_decoder(self, random: Random) -> bool:
        """Kill one process that decodes (or the one that forks them)."""
        return _kill_one(random, [p for p in self.processes() if _says(p, DECODER)])

    def kill_node(self, random: Random) -> bool:
        """Kill a worker node's raylet and all that it started; another node takes its place."""
        if len(self._nodes) == 1:
            return False
        _end(self._nodes.pop(random.randrange(1, len(self._nodes))))
        self._replacing.append(threading.Thread(target=self._replace))
        self._replacing[-1].start()
        return True

    def _replace(self) -> None:
        self._nodes.append(self._up(f"--address={self.address}"))

    def close(self) -> None:
        for thread in self._replacing:
            thread.join()
        for node in reversed(self._nodes):
            _end(node)


class Store:
    """The server that a scan reads from and writes to: a proxy process before the one with data."""

    def __init__(self, upstream: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._ports = [str(probe.getsockname()[1]), upstream.rpartition(":")[2]]
        self.url = f"http://127.0.0.1:{self._ports[0]}"
        self._start()

    def _start(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.s3.proxy", *self._ports],
            cwd=Path(__file__).parents[2],
        )

    def vanish(self, seconds: float) -> bool:
        """Kill the server and start it again some time later."""
        self.close()
        time.sleep(seconds)
        self._start()
        return True

    def close(self) -> None:
        self._server.kill()
        self._server.wait()


@contextmanager
def standing(temporary: str) -> Iterator[Nodes]:
    """Yield the nodes; whatever became of them, nothing of them is left."""
    nodes = Nodes(temporary)
    try:
        yield nodes
    finally:
        nodes.close()


def kill_driver(driver: subprocess.Popen[bytes]) -> bool:
    """Kill the process that the user started."""
    if driver.poll() is not None:
        return False
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    return True


def _says(process: psutil.Process, words: str) -> bool:
    with suppress(psutil.Error):
        return words in " ".join(process.cmdline())
    return False


def _kill_one(random: Random, found: list[psutil.Process]) -> bool:
    for process in random.sample(found, len(found)):
        with suppress(psutil.NoSuchProcess):
            process.kill()
            return True
    return False


def _end(node: psutil.Popen) -> None:
    started = [node]
    with suppress(psutil.NoSuchProcess):
        started += node.children(recursive=True)
    for process in started:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    with suppress(psutil.TimeoutExpired):
        node.wait(30)
