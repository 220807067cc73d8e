"""A real Ceph object store on loopback, by the scripts that lie beside the project."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
from botocore.exceptions import ClientError

SCRIPTS = Path(__file__).parents[3] / "shared" / "s3"
STARTS_WITHIN_S = 180
KNOWS_ITS_USER_WITHIN_S = 20
ATTEMPTS = 4


def is_here() -> bool:
    """Whether there are the scripts and the programs that they start."""
    programs = [shutil.which(name) for name in ("ceph-mon", "ceph-osd", "radosgw")]
    return all(programs) and (SCRIPTS / "start-ceph-rgw.sh").is_file()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Ceph:
    """A running store: how it is reached; its disk can be made to hang, its gateway to die."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self.environment = environment

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Stop the process that holds the data; requests are then accepted and not answered."""
        pid = int((self._folder / "run" / "osd.0.pid").read_text())
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    @contextmanager
    def dead(self) -> Iterator[None]:
        """Kill the process that answers requests; afterwards there is another, at its address."""
        os.kill(int((self._folder / "run" / "client.rgw.pid").read_text()), signal.SIGKILL)
        try:
            yield
        finally:
            conf = {"CEPH_CONF": str(self._folder / "ceph.conf")}
            command = ["radosgw", "-n", "client.rgw"]  # goes into the background by itself
            subprocess.run(command, env={**os.environ, **conf}, timeout=60, check=True)
            assert _knows_its_user(self.environment)


@contextmanager
def running() -> Iterator[Ceph]:
    """Start a store of its own and end it with all its data."""
    parent = Path(tempfile.mkdtemp(prefix="ceph", dir="/tmp"))  # its sockets' paths must stay short
    folder = parent / "c"
    try:
        # its monitor and its disk sometimes race at the start (EPERM): then once more
        started = any(_start(folder, parent / "log") for _ in range(ATTEMPTS))
        assert started, (parent / "log").read_text()[-3000:]
        yield Ceph(folder, environment(folder))
    finally:
        _stop(folder)
        shutil.rmtree(parent, ignore_errors=True)


def _start(folder: Path, log: Path) -> bool:
    ports = {"PORT": str(free_port()), "MONPORT": str(free_port())}
    with log.open("ab") as told:  # a file: the daemons would hold a pipe open
        done = subprocess.run(
            [SCRIPTS / "start-ceph-rgw.sh", folder], env={**os.environ, **ports},
            stdout=told, stderr=told, timeout=STARTS_WITHIN_S, check=False,
        )  # fmt: skip
    if done.returncode == 0 and _knows_its_user(environment(folder)):
        return True
    _stop(folder)
    return False


def environment(folder: Path) -> dict[str, str]:
    """Return the variables that lead to the store."""
    words = (folder / "env.sh").read_text().removeprefix("export ").split()
    return dict(word.split("=", 1) for word in words)


def _knows_its_user(settings: dict[str, str]) -> bool:
    """Whether the gateway lets the new user in, which on a busy machine it may learn late."""
    s3 = boto3.client(
        "s3",
        endpoint_url=settings["AWS_ENDPOINT_URL"],
        aws_access_key_id=settings["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=settings["AWS_SECRET_ACCESS_KEY"],
        region_name=settings["AWS_DEFAULT_REGION"],
    )
    until = time.monotonic() + KNOWS_ITS_USER_WITHIN_S
    while time.monotonic() < until:
        try:
            s3.list_buckets()
        except ClientError:
            time.sleep(0.5)
        else:
            return True
    return False


def _stop(folder: Path) -> None:
    subprocess.run([SCRIPTS / "stop-ceph-rgw.sh", folder], check=False)
