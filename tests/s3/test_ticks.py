"""The scheduled path against a real object store: ticks, new files, an overlap, a kill."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
from PIL import Image
from skimage.data import astronaut

from dfd_batch import storage as stores
from dfd_batch.reports.read import run_ids
from dfd_batch.settings import Storage
from tests.e2e.detector import write_detector
from tests.media import moving_frames, write_video
from tests.s3 import ceph
from tests.s3.test_ceph import client, store

__all__ = ["store"]  # a fixture
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not ceph.is_here(), reason="no radosgw, or no ../shared/s3 to start it by"),
]
IN, OUT = "s3://ticks/in", "s3://ticks/out"
FILE = """
source = "{source}"
out = "{out}"
[scan]
full_every_hours = 24
[lease]
beat_s = 1.0
expires_s = {expires_s}
wait_s = {wait_s}
[settings]
checkpoint = "{detector}"
pools = {{ crop_actors = 1, embed_actors = 1, embed_batch_objects = 1, rows_per_file = 1 }}
"""


def picture(seed: int) -> bytes:
    """A face that is another object for every seed."""
    blob = io.BytesIO()
    Image.fromarray(astronaut()).crop((100, 0, 356, 256)).save(blob, "jpeg")
    return blob.getvalue() + bytes([seed])


def put(**objects: bytes) -> None:
    for name, body in objects.items():
        client().put_object(Bucket="ticks", Key=f"in/{name.replace('_', '.')}", Body=body)


class Ticks:
    """Ticks by their command."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._detector = folder, write_detector(folder / "detector")

    def start(self, wait_s: float = 0.0, expires_s: float = 600.0) -> subprocess.Popen[str]:
        told = {"wait_s": wait_s, "expires_s": expires_s, "detector": self._detector}
        path = self._folder / f"tick-{wait_s:.0f}-{expires_s:.0f}.toml"
        path.write_text(FILE.format(source=IN, out=OUT, **told))
        return subprocess.Popen(
            [sys.executable, "-m", "dfd_batch.cli", "tick", str(path), "--json"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def end(self, tick: subprocess.Popen[str]) -> tuple[int, dict[str, Any], str]:
        told, said = tick.communicate(timeout=900)
        return tick.returncode, json.loads(told or "{}"), said

    def run(self, **rules: float) -> tuple[int, dict[str, Any], str]:
        return self.end(self.start(**rules))


def rows(run_id: str | None = None) -> list[str]:
    """The names in all report rows, or in a run's."""
    filesystem, path = stores.filesystem(f"{OUT}/reports", Storage())
    table = ds.dataset(path, filesystem=filesystem, format="parquet").to_table()
    return sorted(
        row["uri"].removeprefix(f"{IN}/")
        for row in table.to_pylist()
        if run_id in (None, row["run_id"])
    )


def judged(summary: dict[str, Any]) -> list[str]:
    return rows(summary["steps"][0]["told"]["run_id"])


def wait_for(there_is: Any, tick: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 600
    while not there_is():
        assert tick.poll() is None, tick.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)


def n_report_files() -> int:
    told = client().list_objects_v2(Bucket="ticks", Prefix="out/reports/")
    return sum(entry["Key"].endswith(".parquet") for entry in told.get("Contents", ()))


def leased() -> bool:
    return stores.exists(f"{OUT}/ticks/lease.json", Storage())


@pytest.fixture(scope="module")
def ticks(store: ceph.Ceph) -> Ticks:
    client().create_bucket(Bucket="ticks")
    folder = Path(tempfile.mkdtemp(prefix="ticks"))
    video = write_video(folder / "v.mp4", moving_frames(24))
    put(**{f"p{i}_jpg": picture(i) for i in range(8)})
    put(v_mp4=video.read_bytes(), empty_mp4=b"")
    return Ticks(folder)


def test_ticks_judge_what_is_new_alone_and_catch_up_after_a_kill(ticks: Ticks) -> None:
    code, told, said = ticks.run()
    assert code == told["exit_code"] == 0, (told, said)
    assert told["exclusion"] == "strict", "this store refuses to write over a lease"
    first = judged(told)
    assert first == rows() == ["empty.mp4", *(f"p{i}.jpg" for i in range(8)), "v.mp4"]

    put(new1_jpg=picture(11), new2_jpg=picture(12), p3_jpg=picture(13))
    working = ticks.start()
    wait_for(leased, working)
    os.kill(working.pid, signal.SIGSTOP)  # so that it does not end meanwhile
    before = run_ids(OUT, Storage())
    code, told, said = ticks.run()
    assert (code, told) == (75, {}) and "Another tick is at work" in said, (code, told, said)
    assert run_ids(OUT, Storage()) == before
    os.kill(working.pid, signal.SIGCONT)
    code, second, said = ticks.end(working)
    assert code == 0, (second, said)
    assert judged(second) == ["new1.jpg", "new2.jpg", "p3.jpg"]

    code, third, said = ticks.run()
    assert code == 0 and not third["news"], (third, said)
    assert judged(third) == [] and third["previous"]["tick_id"] == second["tick_id"]

    late = {f"late{i}": picture(20 + i) for i in range(20)}
    put(**{f"{name}_jpg": body for name, body in late.items()})
    n_before, n_files = len(rows()), n_report_files()
    killed = ticks.start(expires_s=8.0)
    wait_for(lambda: n_report_files() > n_files, killed)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert leased() and n_before < len(rows()) < n_before + len(late)
    code, last, said = ticks.run(wait_s=300.0)
    assert code == 0, (last, said)
    assert 0 < len(judged(last)) < len(late), "only what the killed one had not judged"
    everything = rows()
    assert everything == sorted(
        [*first, "new1.jpg", "new2.jpg", "p3.jpg", *(f"{name}.jpg" for name in late)]
    )
    assert not leased()
    assert last["previous"]["tick_id"] == third["tick_id"]
