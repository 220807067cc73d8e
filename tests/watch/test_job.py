"""A scan as a Ray job, watched as its operators watch it: its log, its metrics, its failures."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from dfd_batch.demo import make_demo
from tests.e2e.detector import write_detector

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
JOBS = Path(__file__).parents[2] / "jobs"
RAY = str(Path(sys.executable).with_name("ray"))
HOSTILE = "evil\n\x1b[2J\x07(raylet) name.mp4"
N_NOTES = 25


def free_ports(n: int) -> list[int]:
    with contextlib.ExitStack() as open_ones:
        probes = [open_ones.enter_context(socket.socket()) for _ in range(n)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def wait_until_up(port: int, node: subprocess.Popen) -> None:
    """Return once the job server listens; it comes up some seconds after its node."""
    for _ in range(240):
        assert node.poll() is None
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.5)
    raise AssertionError("no job server")


@pytest.fixture(scope="module")
def head():
    """Start a head node on loopback; what this starts it stops by pid."""
    gcs, dashboard, exported, agent = free_ports(4)
    short = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # its sockets' paths must stay short
    environment = {
        # or Ray replaces 127.0.0.1 by this machine's outer address
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "test" * 12,
        "RAY_metrics_report_interval_ms": "1000",
        # the job's `python` is that of its node
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.delenv("RAY_ADDRESS", raising=False)
        node = subprocess.Popen(
            [RAY, "start", "--head", "--block", "--num-cpus=4", f"--port={gcs}",
             "--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1",
             f"--dashboard-port={dashboard}", f"--metrics-export-port={exported}",
             f"--dashboard-agent-listen-port={agent}", "--disable-usage-stats",
             f"--temp-dir={short}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            wait_until_up(dashboard, node)
            yield {"jobs": f"http://127.0.0.1:{dashboard}", "exported": exported, "folder": short}
        finally:
            started = psutil.Process(node.pid)
            for process in [*started.children(recursive=True), started]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            node.wait(30)
            shutil.rmtree(short, ignore_errors=True)


def log_of(head, job: str) -> str:
    """Return what `ray job logs` shows; what the command says itself is taken off the lines."""
    command = [RAY, "job", "logs", "--address", head["jobs"], job]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return re.sub(r"^\d{4}-\d\d-\d\d [\d:,]+\t.*? -- ", "", done.stdout, flags=re.MULTILINE)


def scraped(head) -> list:
    """Return the samples at the metrics port of the node; none while it comes up."""
    url = f"http://127.0.0.1:{head['exported']}/metrics"
    try:
        text = urllib.request.urlopen(url, timeout=10).read().decode()
    except OSError:
        return []
    return [s for family in text_string_to_metric_families(text) for s in family.samples]


@pytest.fixture(scope="module")
def watched(head, tmp_path_factory):
    """Submit a scan, scrape the node while it runs, and return log, samples and run folder."""
    place = tmp_path_factory.mktemp("watched")
    archive = make_demo(place)
    shutil.rmtree(archive / "clips")
    (archive / HOSTILE).write_bytes(b"no media")
    for i in range(N_NOTES):
        (archive / f"note-{i}.mp4").write_text(f"{i}")
    out = place / "out"
    detector = write_detector(place / "detector")
    submitting = subprocess.Popen(
        [sys.executable, JOBS / "submit.py", "--address", head["jobs"], archive, "--out", out,
         "--checkpoint", detector],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    gauges, queued = {}, set()
    while submitting.poll() is None:
        for sample in scraped(head):
            if sample.name.startswith("ray_dfd_objects_"):
                gauges.setdefault(sample.name, set()).add(sample.value)
            if sample.name == "ray_data_operator_queued_blocks":
                queued.add(sample.labels["operator"])
        time.sleep(1)
    told = submitting.stdout.read()
    assert submitting.returncode == 0, told
    log = log_of(head, re.search(r"^(dfd-\S+) submitted", told, re.MULTILINE)[1])
    (run,) = (out / "runs").iterdir()
    n_objects = json.loads((run / "summary.json").read_text())["n_manifest"]
    return log, gauges, queued, run, n_objects


def test_its_log_reads_like_that_of_a_command(watched):
    log, _, _, _, n_objects = watched
    _, _, told = log.partition("scan.py ")
    told = told.partition("\n")[2]
    assert all(c.isprintable() or c == "\n" for c in told)
    assert told.startswith(f"{n_objects} objects listed, 0 done before, {n_objects} to scan")
    progress = [line for line in told.splitlines() if re.match(r"[\d.]+ s|\d+ min", line)]
    assert re.fullmatch(rf"\S+ s: 0 of {n_objects}", progress[0])
    assert re.search(rf": {n_objects} of {n_objects}, .*{N_NOTES + 2} unsupported", progress[-1])
    assert told.rstrip().endswith(f"manifest {n_objects} == report {n_objects}")
    for word in ("Traceback", "WARNING", "INFO", "pid=", "MapWorker", "Running Dataset"):
        assert word not in told
    assert re.search(rf"^unsupported +not_media +{N_NOTES + 2} +\S", told, re.MULTILINE)
    assert "evil\\n\\x1b[2J\\x07(raylet) name.mp4" in told


def test_its_numbers_are_at_the_nodes_metrics_port(head, watched):
    _, gauges, queued, run, n_objects = watched
    assert gauges["ray_dfd_objects_left"] >= {n_objects}
    assert gauges["ray_dfd_objects_planned"] == {n_objects}
    assert any(name.startswith("MapBatches(Crop)") for name in queued)
    outcomes = json.loads((run / "summary.json").read_text())["outcomes"]
    found = Counter()
    for _ in range(60):
        found = Counter()
        for sample in scraped(head):
            if sample.name == "ray_dfd_objects_total":
                found[sample.labels["outcome"]] += sample.value
        if found == outcomes:
            break
        time.sleep(1)
    assert found == outcomes


def test_its_failures_lie_in_the_logs_of_the_workers_one_line_each(head, watched):
    *_, run, _ = watched
    told = []
    for path in Path(head["folder"]).glob("session_2*/logs/worker-*.err"):
        lines = path.read_text(errors="replace").split("\n")
        told += [json.loads(line) for line in lines if '"event"' in line]
    assert {t["run_id"] for t in told} == {run.name}
    assert {t["node"] for t in told} == {socket.gethostname()}
    assert any(t["uri"].endswith(HOSTILE) for t in told)
    kinds = Counter(t["outcome"] for t in told)
    # the first 20 of a kind and process
    assert kinds["empty"] == kinds["unreadable"] == 1 and kinds["unsupported"] >= 20
    document = [json.loads(line) for line in (run / "failures.jsonl").read_text().splitlines()]
    counts = {d["outcome"]: d["n_objects"] for d in document if d["event"] == "failures"}
    assert counts == {"unsupported": N_NOTES + 2, "empty": 1, "unreadable": 1}
    assert (run / "failures.jsonl").stat().st_size < 100_000
