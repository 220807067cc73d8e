"""The CronJob's command against a Ray cluster that runs anyway, as its pod would give it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.dataset as ds
import pytest
from PIL import Image
from skimage.data import astronaut

from tests.cluster.files import documents
from tests.e2e.detector import write_detector
from tests.jobs.test_twice import cluster

__all__ = ["cluster"]  # a fixture
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
FILE = """
source = "{folder}/in"
out = "{folder}/out"
[settings]
checkpoint = "{detector}"
"""


def test_the_cronjobs_command_does_a_tick_on_the_cluster(cluster: str, tmp_path: Path) -> None:
    job = documents("cronjob.yaml")["CronJob"]["spec"]["jobTemplate"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    etc = tmp_path / "etc"
    etc.mkdir()
    (tmp_path / "in").mkdir()
    detector = write_detector(tmp_path / "detector")
    (etc / "tick.toml").write_text(FILE.format(folder=tmp_path, detector=detector))
    Image.fromarray(astronaut()).crop((100, 0, 356, 256)).save(tmp_path / "in" / "a.jpg")
    places = {"http://RAY_HEAD:8265": cluster, "/etc/dfd": str(etc)}
    words = [*container["command"], *container["args"]]
    for named, here in places.items():
        words = [word.replace(named, here) for word in words]
    words[0] = str(Path(sys.executable).with_name(words[0]))
    for n_judged in (1, 0):
        done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        told = json.loads((tmp_path / "out" / "ticks" / "latest.json").read_text())
        assert told["exit_code"] == 0
        assert told["steps"][0]["told"]["n_reported"] == n_judged
    rows = ds.dataset(tmp_path / "out" / "reports", format="parquet").to_table()
    assert rows.num_rows == 1 and rows["outcome"].to_pylist() == ["scored"]
