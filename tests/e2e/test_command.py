"""The command as its users start it: its own process, its own Ray, S3, a kill in the middle."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pyarrow.dataset as ds
import pytest

from dfd_batch import storage
from dfd_batch.demo import make_demo
from dfd_batch.settings import Storage
from tests.e2e.detector import write_detector

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return make_demo(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return write_detector(tmp_path_factory.mktemp("detector"))


def command(*arguments):
    return [sys.executable, "-m", "dfd_batch.cli", *map(str, arguments)]


def dfd(*arguments):
    return subprocess.run(
        command(*arguments), check=False, capture_output=True, text=True, timeout=240
    )


def test_from_bucket_to_bucket(archive, detector, bucket):
    import boto3

    client = boto3.client("s3")
    name = bucket.removeprefix("s3://")
    objects = sorted(p for p in archive.rglob("*") if p.is_file() and "clips" not in p.parts)
    for path in [*objects, archive / "clips" / "swapped.mp4"]:
        client.upload_file(str(path), name, f"in/{path.relative_to(archive)}")
    done = dfd("scan", f"{bucket}/in", "--out", f"{bucket}/out", "--checkpoint", detector, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["reconciled"] and told["n_manifest"] == len(objects) + 1
    assert told["outcomes"]["scored"] == 5
    filesystem, path = storage.filesystem(f"{bucket}/out/reports", Storage())
    rows = ds.dataset(path, filesystem=filesystem, format="parquet").to_table().to_pylist()
    assert {r["uri"] for r in rows} == {
        f"{bucket}/in/{p.relative_to(archive)}" for p in [*objects, archive / "clips/swapped.mp4"]
    }
    again = dfd(
        "scan", f"{bucket}/in", "--out", f"{bucket}/out", "--checkpoint", detector, "--json"
    )
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["plan"]["n_done"] == len(rows)


def test_a_killed_scan_goes_on_where_it_was(archive, detector, tmp_path):
    many = tmp_path / "many"
    for i in range(24):
        for name in ("swapped.jpg", "coffee.jpg"):
            many.mkdir(exist_ok=True)
            (many / f"{i:02}-{name}").write_bytes((archive / "images" / name).read_bytes())
    out = tmp_path / "out"
    scan = command("scan", many, "--out", out, "--checkpoint", detector)
    started = subprocess.Popen(scan, stdout=subprocess.DEVNULL, start_new_session=True)
    while not list(out.glob("reports/*/*.parquet")):
        assert started.poll() is None
        time.sleep(0.05)
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    time.sleep(2)  # its Ray notices that its driver is gone
    held = ds.dataset(out / "reports", format="parquet").to_table()
    assert 0 < held.num_rows < 48
    done = subprocess.run(
        [*scan, "--json"], check=False, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["plan"]["n_done"] == held.num_rows
    ids = ds.dataset(out / "reports", format="parquet").to_table()["media_id"].to_pylist()
    assert len(ids) == len(set(ids)) == 48


def test_a_folder_that_cannot_be_written_any_more_costs_no_verdict(archive, detector, tmp_path):
    many = tmp_path / "many"
    many.mkdir()
    picture = (archive / "images" / "swapped.jpg").read_bytes()
    for i in range(48):
        (many / f"{i:02}.jpg").write_bytes(picture + bytes([i]))
    out = tmp_path / "out"
    scan = command("scan", many, "--out", out, "--checkpoint", detector, "--json")
    started = subprocess.Popen(scan, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list(out.glob("reports/*/*.parquet")):
        assert started.poll() is None
        time.sleep(0.02)
    (out / "reports").rename(tmp_path / "away")
    (out / "reports").write_bytes(b"")  # root may write whatever the mode says, but not this
    _, said = started.communicate(timeout=240)
    assert started.returncode != 0
    assert "Traceback" not in said and f"{out}/reports" in said and "again" in said, said

    (out / "reports").unlink()
    (tmp_path / "away").rename(out / "reports")
    n_held = ds.dataset(out / "reports", format="parquet").to_table().num_rows
    assert 0 < n_held < 48
    done = subprocess.run(scan, check=False, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["plan"]["n_done"] == n_held
    ids = ds.dataset(out / "reports", format="parquet").to_table()["media_id"].to_pylist()
    assert len(ids) == len(set(ids)) == 48


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["scan", "/nowhere/at/all", "--out", "{tmp}"], "/nowhere/at/all"),
        (["scan", "{archive}", "--out", "{tmp}", "--coverage", "quik"], "quik"),
        (["scan", "{archive}", "--out", "{tmp}", "--checkpoint", "none"], "'none'"),
        (["scan", "{archive}"], "--out"),
        (["scan", "{archive}", "--out", "{tmp}", "--address", "127.0.0.1:1"], "127.0.0.1:1"),
    ],
)
def test_bad_usage_is_one_sentence_and_exit_code_2(arguments, said, archive, tmp_path):
    places = {"tmp": tmp_path, "archive": archive}
    done = dfd(*(a.format(**places) for a in arguments))
    assert done.returncode == 2
    assert said in done.stderr and "Traceback" not in done.stderr


def test_a_scan_joins_a_cluster_and_leaves_it_running(archive, detector, tmp_path, monkeypatch):
    """A head node of its own on loopback; what this test starts it stops by pid."""
    # or Ray replaces 127.0.0.1 by this machine's outer address
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "test" * 12)
    port = 20000 + os.getpid() % 20000
    short = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # its sockets' paths must stay short
    ray = Path(sys.executable).with_name("ray")
    head = subprocess.Popen(
        [ray, "start", "--head", "--block", "--num-cpus=3", f"--port={port}",
         "--node-ip-address=127.0.0.1", "--include-dashboard=false", "--disable-usage-stats",
         f"--temp-dir={short}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        address = f"127.0.0.1:{port}"
        time.sleep(8)
        for images in ("one", "two"):
            assert head.poll() is None
            done = dfd(
                "scan", archive / "images", "--out", tmp_path / images, "--checkpoint", detector,
                "--address", address, "--json",
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)["n_reported"] == 5
        assert head.poll() is None
    finally:
        started = psutil.Process(head.pid)
        for process in [*started.children(recursive=True), started]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        head.wait(30)
        shutil.rmtree(short, ignore_errors=True)
