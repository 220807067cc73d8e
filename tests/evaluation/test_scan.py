"""A whole evaluation with a real Ray: media, reports, curves, page; a second one scans nothing."""

from __future__ import annotations

import csv
import json

import pyarrow.dataset as ds
import pytest
import ray

from dfd_batch.demo import make_demo
from tests.e2e.detector import write_detector
from tests.evaluation.conftest import evaluate

pytestmark = pytest.mark.slow
LABELS = {"genuine": 0, "manipulated": 1, "no_face": 0, "broken": 1}


@pytest.fixture(scope="module", autouse=True)
def local_ray():
    ray.init(address="local", num_cpus=3, include_dashboard=False, _node_ip_address="127.0.0.1")
    yield
    ray.shutdown()


def test_media_to_page(tmp_path, pool):
    archive = make_demo(tmp_path / "demo")
    with (tmp_path / "demo" / "labels.csv").open(newline="") as file:
        demo = list(csv.DictReader(file))
    with (archive / "truth.jsonl").open("w") as file:
        for row in demo:
            spans = [[float(row["from_s"]), float(row["to_s"])]] if row["from_s"] else []
            told = {"uri": row["object"], "label": LABELS[row["label"]], "segments": spans}
            file.write(json.dumps(told) + "\n")
    detector, out = write_detector(tmp_path / "detector"), tmp_path / "e"
    words = ("--checkpoint", detector, "--out", out, "--draws", 20)
    faces = ("--faces", pool, "--most-faces", 2, "--attacks")
    code, said, told = evaluate(archive / "truth.jsonl", *words, *faces)
    assert code == 0, said
    (account,) = told["accounts"]
    assert account["n_listed"] == len(demo) == 14
    assert account["outcomes"]["scored"] == {"genuine": 6, "manipulated": 3}
    assert account["outcomes"]["no_face"]["genuine"] == 2
    metrics = {r["metric"] for r in told["rows"] if r["level"] == "segment"}
    assert metrics == {"AP@0.5", "AP@0.75", "AP@0.95", "AR@10", "AR@20", "AR@50", "AR@100"}
    # Videos alone have another score without the LSTM.
    bare = next(r for r in told["rows"] if r["slice"] == "mean of frames, no LSTM")
    assert (bare["n_genuine"], bare["n_manipulated"]) == (3, 2)
    reports = ds.dataset(out / "reports", format="parquet").to_table().to_pylist()
    assert len(reports) == 14 + 5
    assert {c["name"] for c in told["curves"]} >= {"JPEG", "H.264", "resize", "blur", "noise"}
    assert len(next(c for c in told["curves"] if c["name"] == "FGSM")["points"]) == 5
    assert "C&W L2" in {r["slice"] for r in told["rows"] if r["by"] == "attack"}
    assert {r["slice"] for r in told["rows"] if r["by"] == "operation"} >= {"self", "swap"}
    assert (out / "evaluation.html").read_text().count("<svg") == 2
    code, said, again = evaluate(archive / "truth.jsonl", *words, "--quick")
    assert code == 0 and "14 done before, 0 to scan" in said
    assert again["accounts"] == told["accounts"] and again["curves"] == []
