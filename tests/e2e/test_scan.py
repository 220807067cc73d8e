"""The whole chain on real media with a real Ray."""

import csv
import json
import shutil
import time
import urllib.request
from collections import Counter
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest
import ray
from prometheus_client.parser import text_string_to_metric_families

from dfd_batch import metrics, pipeline, settings
from dfd_batch.demo import make_demo
from dfd_batch.outcomes import UsageError
from dfd_batch.resources import pool_sizes
from dfd_batch.schema import REPORT
from tests.e2e.detector import write_detector

EXPECTED = {
    "no_face": {"no_face"},
    "broken": {"unreadable", "unsupported", "empty"},
    "genuine": {"scored"},
    "manipulated": {"scored"},
}
STEPS = metrics.STEP_SECONDS.values


@pytest.fixture(scope="module", autouse=True)
def local_ray():
    """One Ray for the module's scans; a scan leaves a Ray alone that it did not start."""
    ray.init(address="local", num_cpus=3, include_dashboard=False, _node_ip_address="127.0.0.1")
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    root = tmp_path_factory.mktemp("demo")
    return make_demo(root), list(csv.DictReader((root / "labels.csv").open()))


@pytest.fixture(scope="module")
def chosen(tmp_path_factory):
    return settings.load({"checkpoint": write_detector(tmp_path_factory.mktemp("detector"))})


@pytest.fixture(scope="module")
def scanned(archive, chosen, tmp_path_factory):
    out = str(tmp_path_factory.mktemp("out"))
    told = []
    result = pipeline.scan(str(archive[0]), out, chosen, on_progress=told.append)
    return out, result, told


def rows(out):
    return ds.dataset(Path(out) / "reports", format="parquet", partitioning="hive").to_table()


def test_every_object_has_one_row_with_the_right_outcome(archive, scanned):
    out, result, _ = scanned
    table = rows(out).to_pylist()
    assert result.reconciled and result.n_manifest == len(archive[1]) == len(table)
    by_name = {Path(row["uri"]).name: row for row in table}
    for label in archive[1]:
        row = by_name[Path(label["object"]).name]
        assert row["outcome"] in EXPECTED[label["label"]], row["error_message"]
        if row["outcome"] == "scored":
            assert 0 < row["probability"] < 1
            assert row["integrity"] == pytest.approx(1 - row["probability"])
            assert row["verdict"] in {"authentic", "inconclusive", "suspicious", "manipulated"}
            assert row["faces"] and row["error_message"] is None
        else:
            assert row["probability"] is None and row["verdict"] is None
            assert row["uri"] in row["error_message"] or row["error_kind"] == "no_face"


def test_a_video_row_holds_its_evidence_and_its_account(scanned):
    row = next(r for r in rows(scanned[0]).to_pylist() if r["uri"].endswith("two_people.mp4"))
    assert row["media"] == "video" and row["codec"] == "h264" and row["has_audio"]
    assert (row["width"], row["height"]) == (1280, 720) and row["fps"] == pytest.approx(25)
    assert row["n_faces"] == len(row["faces"]) == 2
    assert row["n_frames_used"] == 72 and row["n_frames_scored"] == len(row["timeline"]) == 144
    assert row["n_frames_used"] <= row["n_frames_decoded"] <= 2 * row["n_frames_used"]
    left, right = sorted(row["faces"], key=lambda face: face["box"]["x0"])
    assert left["box"]["x1"] < right["box"]["x0"]
    times = [point["t_s"] for point in row["timeline"] if point["track"] == left["track"]]
    assert times == sorted(times) and times[0] < 0.05 and 2.8 < times[-1] < row["duration_s"] <= 4.1
    assert row["bytes_read"] == row["size_bytes"]
    assert min(row["decode_ms"], row["face_ms"], row["embed_ms"], row["judge_ms"]) > 0


def test_a_rotated_clip_is_upright_in_its_row(scanned):
    row = next(r for r in rows(scanned[0]).to_pylist() if r["uri"].endswith("phone.mov"))
    assert row["rotation"] in {90, 270} and (row["width"], row["height"]) == (480, 640)
    assert row["outcome"] == "scored"


def test_the_report_has_the_declared_schema_and_names_its_detector(scanned, chosen):
    out, result, _ = scanned
    files = list(Path(out).glob("reports/scan_date=*/*.parquet"))
    schema = ds.dataset(files).schema
    assert schema.remove_metadata() == REPORT.remove_metadata()
    assert schema.metadata[b"dfd_batch.schema_version"] == b"1"
    for row in rows(out).to_pylist():
        assert row["detector_id"] == result.detector_id and row["detector"] == "for-tests 0"
        assert row["run_id"] == result.run_id and row["attempt"] == 1


def test_the_run_folder_tells_what_was_done(scanned):
    out, result, told = scanned
    run = Path(result.run_uri)
    manifest = ds.dataset(run / "manifest.parquet").to_table()
    assert sorted(manifest["media_id"].to_pylist()) == sorted(rows(out)["media_id"].to_pylist())
    summary = json.loads((run / "summary.json").read_text())
    assert summary["reconciled"] and summary["outcomes"] == result.outcomes
    assert json.loads((run / "run.json").read_text())["detector_id"] == result.detector_id
    assert told[0].n_done == 0 and told[-1].n_done == told[-1].n_total == result.n_manifest
    assert told[-1].outcomes == result.outcomes
    failures = [json.loads(line) for line in (run / "failures.jsonl").read_text().splitlines()]
    told_of = {f["uri"] for f in failures if f["event"] == "failure"}
    failed = [r for r in rows(out).to_pylist() if r["outcome"] in EXPECTED["broken"]]
    assert told_of == {r["uri"] for r in failed}
    assert all(f["node"] and f["attempt"] == 1 for f in failures if f["event"] == "failure")


def test_the_numbers_of_a_run_are_those_of_its_rows(scanned):
    out, result, _ = scanned
    table = rows(out)
    text = (Path(result.run_uri) / "metrics.prom").read_text()
    told = {
        (s.name, *s.labels.values()): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }
    for outcome, n in result.outcomes.items():
        assert told["dfd_objects_total", outcome] == n
    for verdict, n in result.verdicts.items():
        assert told["dfd_verdicts_total", verdict] == n
    for step in STEPS:
        in_rows = pc.sum(table[f"{step}_ms"]).as_py() / 1000
        assert told["dfd_step_seconds_total", step] == pytest.approx(in_rows, rel=1e-4)
        assert result.work.step_s[step] == pytest.approx(in_rows, abs=1e-3)
    assert told["dfd_read_bytes_total",] == pc.sum(table["bytes_read"]).as_py()
    assert told["dfd_frames_total", "scored"] == pc.sum(table["n_frames_scored"]).as_py()
    assert told["dfd_run_complete",] == 1 and told["dfd_objects_left",] == 0


def test_the_stages_and_the_driver_hand_their_numbers_to_ray(scanned):
    """At the port of the node's own agent, which runs without a dashboard, too."""
    _, result, _ = scanned
    (node,) = ray.nodes()
    url = f"http://127.0.0.1:{node['MetricsExportPort']}/metrics"
    # other scans of this Ray are counted, too, so these are the least
    least = {("objects_total", outcome): n for outcome, n in result.outcomes.items()}
    least |= {("verdicts_total", verdict): n for verdict, n in result.verdicts.items()}
    least |= {("step_seconds_total", s): result.work.step_s[s] - 1e-3 for s in STEPS}
    least |= {("frames_total", "scored"): result.work.n_frames_scored}
    least |= {("frames_total", "decoded"): result.work.n_frames_decoded}
    least |= {("read_bytes_total", None): result.work.bytes_read}
    missing = least
    for _ in range(60):  # Ray sends them every ten seconds
        found = Counter()
        text = urllib.request.urlopen(url, timeout=10).read().decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                values = [sample.labels.get(k) for k in ("outcome", "verdict", "step")]
                label = next(filter(None, values), None)
                found[sample.name.removeprefix("ray_dfd_"), label] += sample.value
        missing = {key: n for key, n in least.items() if found[key] < n}
        if not missing:
            break
        time.sleep(1)
    assert not missing


def test_a_second_scan_finds_nothing_to_do_and_a_new_file_is_all_it_reads(
    archive, chosen, scanned, tmp_path
):
    out, first, _ = scanned
    again = pipeline.scan(str(archive[0]), out, chosen)
    assert again.reconciled and again.n_manifest == 0 and again.plan["n_done"] == first.n_manifest
    copy = tmp_path / "archive"
    shutil.copytree(archive[0], copy)
    own = str(tmp_path / "out")
    pipeline.scan(str(copy / "images"), own, chosen)
    shutil.copy(copy / "images" / "astronaut.jpg", copy / "images" / "new")  # no extension
    result = pipeline.scan(str(copy / "images"), own, chosen)
    assert result.n_manifest == 1 and result.outcomes == {"scored": 1}
    twins = [r for r in rows(own).to_pylist() if Path(r["uri"]).name in {"new", "astronaut.jpg"}]
    assert twins[0]["probability"] == pytest.approx(twins[1]["probability"], abs=1e-4)


def test_another_detector_judges_everything_again(archive, chosen, scanned):
    quick = settings.load({"checkpoint": chosen.checkpoint, "sampling": {"coverage": "quick"}})
    found = pipeline.make_plan(str(archive[0]), scanned[0], quick)
    assert found.n_done == 0 and found.n_new == scanned[1].n_manifest


def test_an_object_that_vanished_is_retried_and_then_left_alone(chosen, tmp_path, archive):
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(archive[0] / "images" / "astronaut.jpg", folder)
    listed = tmp_path / "list.jsonl"
    listed.write_text(
        "\n".join(json.dumps({"uri": str(folder / n)}) for n in ("astronaut.jpg", "gone.mp4"))
    )
    out = str(tmp_path / "out")
    twice = settings.load({"checkpoint": chosen.checkpoint, "limits": {"max_attempts": 2}})
    for attempt in (1, 2):
        result = pipeline.scan(str(listed), out, twice)
        assert result.reconciled and result.outcomes["missing"] == 1, attempt
    last = pipeline.scan(str(listed), out, twice)
    assert last.n_manifest == 0 and last.plan["n_exhausted"] == 1
    attempts = [r["attempt"] for r in rows(out).to_pylist() if r["outcome"] == "missing"]
    assert sorted(attempts) == [1, 2]


def test_a_checkpoint_is_needed(archive, tmp_path):
    with pytest.raises(UsageError, match="no_such_detector"):
        pipeline.scan(
            str(archive[0]), str(tmp_path), settings.load({"checkpoint": "no_such_detector"})
        )


@pytest.mark.parametrize("cpus", [1, 2, 3, 8, 64, 1000])
@pytest.mark.parametrize("gpus", [0, 1, 8])
def test_pools_leave_ray_a_cpu_for_its_own_tasks(cpus, gpus):
    sizes = pool_sizes(settings.Settings(), {"CPU": cpus, "GPU": gpus})
    assert sizes.crop >= 1 and sizes.embed == (gpus or sizes.embed) >= 1
    free = max(1, cpus // 64)
    assert (sizes.crop + sizes.embed) * sizes.cpus_per_actor <= max(0, cpus - free) + 0.01
    fixed = settings.load({"pools": {"crop_actors": 5, "embed_actors": 2}})
    sizes = pool_sizes(fixed, {"CPU": cpus})
    assert (sizes.crop, sizes.embed) == (5, 2)
