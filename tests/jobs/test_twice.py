"""The same job handed in twice at once, to a real cluster: one job, one row an object."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow.dataset as ds
import pytest
from PIL import Image
from skimage.data import astronaut

from tests.e2e.detector import write_detector

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
JOBS = Path(__file__).parents[2] / "jobs"
N_PICTURES = 6


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Start a head that takes jobs on loopback and return where; it ends with the test."""
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # or 127.0.0.1 is replaced
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "test" * 12)
    here = Path(sys.executable).parent  # a job is `python scan.py` on its cluster
    monkeypatch.setenv("PATH", f"{here}{os.pathsep}{os.environ['PATH']}")
    short = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # its sockets' paths must stay short
    ports = [free_port() for _ in range(3)]
    head = psutil.Popen(
        [Path(sys.executable).with_name("ray"), "start", "--head", "--block", "--num-cpus=4",
         f"--port={ports[0]}", "--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1",
         f"--dashboard-port={ports[1]}", f"--dashboard-agent-listen-port={ports[2]}",
         "--disable-usage-stats", f"--temp-dir={short}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{ports[1]}"
        wait_until_up(url, head)
        yield url
    finally:
        for process in [*head.children(recursive=True), head]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        head.wait(30)
        shutil.rmtree(short, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_up(url: str, head: psutil.Popen) -> None:
    for _ in range(600):
        assert head.poll() is None
        try:
            urllib.request.urlopen(f"{url}/api/version", timeout=5).close()
            return
        except urllib.error.HTTPError:
            return  # it asks for the token: it is there
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"no job server at {url}")


def test_the_same_job_twice_at_once(cluster: str, tmp_path: Path) -> None:
    detector = write_detector(tmp_path / "detector")
    media = tmp_path / "media"
    media.mkdir()
    for i in range(N_PICTURES):
        Image.fromarray(astronaut()).crop((100 + i, 0, 356, 256)).save(media / f"{i}.jpg")
    out = tmp_path / "out"
    command = [sys.executable, JOBS / "submit.py", "--address", cluster, media, "--out", out,
               "--checkpoint", detector]  # fmt: skip
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]
    told = [process.communicate(timeout=500)[0] for process in both]
    assert (out / "reports").is_dir(), told
    rows = ds.dataset(out / "reports", format="parquet").to_table(columns=["uri", "run_id"])
    assert len(set(rows["uri"].to_pylist())) == rows.num_rows == N_PICTURES, told
    assert len(set(rows["run_id"].to_pylist())) == 1
    again = subprocess.run(command, check=False, capture_output=True, text=True, timeout=200)
    assert (again.returncode, "Nothing to do" in again.stdout) == (0, True), again
