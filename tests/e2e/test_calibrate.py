"""Calibration by its own scan, with a real Ray: nothing is judged twice."""

import json

import pytest
import ray
from typer.testing import CliRunner

from dfd_batch.checkpoint import load_card
from dfd_batch.cli import app
from dfd_batch.demo import make_demo
from tests.e2e.detector import write_detector

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def local_ray():
    ray.init(address="local", num_cpus=3, include_dashboard=False, _node_ip_address="127.0.0.1")
    yield
    ray.shutdown()


def test_genuine_media_are_judged_once_and_only_those_named_count(tmp_path):
    demo = make_demo(tmp_path / "demo")
    own = tmp_path / "own"
    detector = write_detector(tmp_path / "detector")

    def calibrate(media, fpr):
        words = [media, "--fpr", fpr, "--out", own, "--checkpoint", detector, "--json"]
        done = CliRunner().invoke(app, ["calibrate", *map(str, words)])
        return done, json.loads(done.stdout)

    few, told = calibrate(demo / "images", 0.01)
    n = told["n_scored"]
    assert few.exit_code == 1 and "takes 99" in few.stderr
    assert n > 1 and told["checkpoint"] is None
    enough, told = calibrate(demo / "images", 1 / (n + 1))
    assert enough.exit_code == 0 and "0 to scan" in enough.stderr
    assert load_card(str(own)).operating_point.n_images == told["n_scored"] == n
    one, told = calibrate(demo / "images" / "swapped.jpg", 0.5)
    assert one.exit_code == 0 and "0 to scan" in one.stderr
    assert told["n_scored"] == load_card(str(own)).operating_point.n_images == 1
