"""What a run tells of itself: numbers as Prometheus reads them, and nothing that can end it."""

import socket
import threading
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pytest
from prometheus_client.parser import text_string_to_metric_families

from dfd_batch import meters, metrics
from dfd_batch.outcomes import Outcome, Verdict
from dfd_batch.runs import Run, RunResult
from dfd_batch.settings import Settings
from dfd_batch.watch import WRITTEN, RunWatch, StageWatch

ROWS = [
    {"uri": "/a.mp4", "outcome": "scored", "verdict": "manipulated", "bytes_read": 1000,
     "fetch_ms": 1.0, "decode_ms": 250.0, "face_ms": 500.0, "embed_ms": 40.0, "judge_ms": 0.5,
     "n_frames_decoded": 70, "n_frames_scored": 64},
    {"uri": "/b.jpg", "outcome": "scored", "verdict": "authentic", "bytes_read": 500,
     "fetch_ms": 2.0, "decode_ms": 50.0, "face_ms": 20.0, "embed_ms": 4.0, "judge_ms": 0.5,
     "n_frames_decoded": 1, "n_frames_scored": 1},
    {"uri": "/c.mp4", "outcome": "missing", "error_kind": "NoSuchKey", "error_message": "/c.mp4: x",
     "attempt": 1, "node": "n", "fetch_ms": 3.0},
]  # fmt: skip


def written(rows=ROWS):
    full = [dict.fromkeys(WRITTEN) | row for row in rows]
    return pa.Table.from_pylist(full).select(WRITTEN)


def watch(out: Path, **settings) -> RunWatch:
    run = Run("20260504T120000-abcdef12", str(out), datetime(2026, 5, 4, 12, tzinfo=UTC))
    return RunWatch(run, Settings(**settings), 5)


def result(n_reported=3) -> RunResult:
    return RunResult("r", "runs/r", "reports", "d", {}, 3, n_reported, n_reported, 4.0)


def read(text: str) -> dict[str, float]:
    """Return all samples of an exposition, as `name{label}`."""
    return {
        f"{s.name}{{{','.join(s.labels.values())}}}": s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


def test_the_final_numbers_are_those_of_the_written_rows(tmp_path):
    told = watch(tmp_path)
    with told.working():
        told.wrote(written(ROWS[:2]), n_left=3, eta_s=6.0)
        told.wrote(written(ROWS[2:]), n_left=2, eta_s=2.0)
    told.ended(result())
    found = read((tmp_path / "runs/20260504T120000-abcdef12/metrics.prom").read_text())
    assert found["dfd_objects_total{scored}"] == 2 and found["dfd_objects_total{missing}"] == 1
    assert found["dfd_verdicts_total{manipulated}"] == found["dfd_verdicts_total{authentic}"] == 1
    assert found["dfd_step_seconds_total{fetch}"] == pytest.approx(0.006)
    assert found["dfd_step_seconds_total{decode}"] == pytest.approx(0.3)
    assert found["dfd_read_bytes_total{}"] == 1500
    assert found["dfd_frames_total{decoded}"] == 71 and found["dfd_frames_total{scored}"] == 65
    assert (found["dfd_objects_planned{}"], found["dfd_objects_left{}"]) == (5, 2)
    assert found["dfd_eta_seconds{}"] == 2 and found["dfd_run_complete{}"] == 1
    assert found["dfd_run_finished_timestamp_seconds{}"] > 1.7e9
    work = told.work()
    assert work.step_s["face"] == pytest.approx(0.52) and work.n_frames_decoded == 71
    assert [f["example"] for f in work.failures] == ["/c.mp4"]
    failures = tmp_path / "runs/20260504T120000-abcdef12/failures.jsonl"
    assert '"uri": "/c.mp4"' in failures.read_text()


def test_every_metric_and_every_label_value_is_there_from_the_beginning(tmp_path):
    told = watch(tmp_path)
    with told.working():
        pass
    told.ended(result(n_reported=2))
    found = read((tmp_path / "runs/20260504T120000-abcdef12/metrics.prom").read_text())
    for metric in metrics.METRICS:
        if metric is not metrics.ETA:  # nothing is written, so there is none
            for value in metric.values or ("",):
                assert f"{metric.name}{{{value}}}" in found
    assert {f"dfd_objects_total{{{o}}}" for o in Outcome} <= found.keys()
    assert {f"dfd_verdicts_total{{{v}}}" for v in Verdict} <= found.keys()
    assert found["dfd_run_complete{}"] == 0
    assert not (tmp_path / "runs/20260504T120000-abcdef12/failures.jsonl").exists()


@pytest.mark.parametrize("metric", metrics.METRICS, ids=lambda m: m.name)
def test_names_follow_the_conventions_of_prometheus(metric):
    assert metric.name.startswith("dfd_")
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert (metric.label is None) == (metric.values == ())
    assert len(metric.values) <= 20


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_numbers_can_be_scraped_while_a_run_goes_and_not_after(tmp_path):
    port = free_port()
    told = watch(tmp_path, watch={"metrics_port": port})
    url = f"http://127.0.0.1:{port}/metrics"
    with told.served():
        told.wrote(written(), 2, 1.0)
        with urllib.request.urlopen(url, timeout=5) as answer:
            found = read(answer.read().decode())
        assert found["dfd_objects_total{scored}"] == 2 and found["dfd_objects_left{}"] == 2
    with pytest.raises(OSError):
        urllib.request.urlopen(url, timeout=5)


def test_a_port_that_is_taken_costs_the_metrics_and_not_the_run(tmp_path, caplog):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with watch(tmp_path, watch={"metrics_port": port}).served():
            pass
    assert str(port) in caplog.text


def test_a_ray_that_takes_no_metrics_is_told_of_once(monkeypatch, caplog):
    def broken(metric):
        raise RuntimeError("no agent")

    monkeypatch.setattr(meters, "_for_ray", broken)
    monkeypatch.setattr(meters.ray, "is_initialized", lambda: True)
    sink = meters.RayMeters()
    for _ in range(3):
        sink.inc(metrics.OBJECTS, 1, "scored")
        sink.set(metrics.LEFT, 3)
    assert caplog.text.count("no agent") == 1


def test_gauges_are_told_to_ray_again_and_again(monkeypatch):
    class Made:
        told: ClassVar[list[float]] = []

        def set(self, value, tags):
            self.told.append(value)
            if len(self.told) >= 3:
                enough.set()

    enough = threading.Event()
    monkeypatch.setattr(meters, "_for_ray", lambda metric: Made())
    monkeypatch.setattr(meters, "AGAIN_EVERY_S", 0.01)
    monkeypatch.setattr(meters.ray, "is_initialized", lambda: True)
    sink = meters.RayMeters()
    with sink.reminding():
        sink.set(metrics.LEFT, 7)
        assert enough.wait(60)
    assert set(Made.told) == {7.0}


def test_a_run_folder_that_takes_no_more_files_ends_in_a_warning(tmp_path, caplog):
    (tmp_path / "runs").write_text("in the way")
    told = watch(tmp_path)
    told.wrote(written(), 2, 1.0)
    told.ended(result())
    assert "runs" in caplog.text


def test_a_stage_outside_of_ray_keeps_what_its_caller_learns_anyway_to_itself(caplog):
    caplog.set_level("INFO")
    stage = StageWatch("r")
    stage.failed(ROWS[2])
    assert caplog.text == ""
    try:
        raise ValueError("\x1b[2J not foreseen")
    except ValueError:
        stage.crashed(ROWS[2] | {"outcome": "crashed"})
    assert "not foreseen" in caplog.text and "\x1b" not in caplog.text
