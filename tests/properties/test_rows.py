"""Rows between the stages and of the report: whatever numbers come in, what comes out is sound."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dfd_batch import checkpoint
from dfd_batch.catalog.objects import make
from dfd_batch.catalog.plan import plan
from dfd_batch.outcomes import Outcome
from dfd_batch.reports import check
from dfd_batch.runs import Run, open_run
from dfd_batch.schema import EMBEDDED, MANIFEST, REPORT
from dfd_batch.settings import Pools, Settings
from dfd_batch.stages import Judge, RunContext
from dfd_batch.storage import filesystem
from tests.e2e.detector import write_detector
from tests.faults.test_outputs import HOSTILE
from tests.properties.test_report_files import NOON, values

RUN, DETECTOR = "run", "detector"
Row = dict[str, Any]
few = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    detector = checkpoint.load(write_detector(tmp_path_factory.mktemp("detector")))
    chosen = Settings(pools=Pools(device="cpu"))
    return Judge(RunContext(chosen, "", RUN, DETECTOR, date(2026, 1, 1), detector))


seen = st.fixed_dictionaries(
    {
        "media": st.sampled_from(["video", "image"]),
        "n": st.integers(0, 50),
        "seed": st.integers(0, 99),
        "scale": st.sampled_from([0.0, 1.0, 300.0, 65_000.0]),  # float16 ends at 65,504
        "spoilt": st.sampled_from([None, None, np.nan, np.inf, -np.inf]),
        "fps": st.sampled_from([None, 0.1, 25.0, 1000.0]),
        "failed": st.none() | st.sampled_from([o for o in Outcome if o is not Outcome.SCORED]),
    }
)


def embedded(number: int, told: Row, feature_dim: int) -> Row:
    """A row as Embed gives it: faces here and there, times that stand still or jump."""
    rng = np.random.default_rng(told["seed"])
    n = 0 if told["failed"] else (min(told["n"], 1) if told["media"] == "image" else told["n"])
    vectors = (told["scale"] * rng.normal(size=(n, feature_dim))).clip(-6e4, 6e4)
    vectors = vectors.astype(np.float16)
    logits = (told["scale"] * rng.normal(size=n)).astype(np.float32)
    if told["spoilt"] is not None and n:
        (vectors if told["seed"] % 2 else logits).flat[-1] = told["spoilt"]
    times_s = np.cumsum(rng.choice([0.0, 0.04, 0.5, 7.0], size=n))
    boxes = rng.uniform(0, 500, (n, 4))
    item = make(f"/v/{number}", "etag", None, 1)
    return dict.fromkeys(EMBEDDED.names) | {
        "media_id": item.media_id, "uri": item.uri, "etag": item.etag, "size_bytes": 1,
        "attempt": 1, "media": told["media"], "fps": told["fps"], "outcome": told["failed"],
        "n_crops": n, "features": vectors.tobytes(), "frame_logit": logits.tolist(),
        "crop_time_s": times_s.tolist(), "crop_track": rng.integers(0, 4, n).tolist(),
        "crop_clip": np.sort(rng.integers(0, 3, n)).tolist(), "crop_box": boxes.tolist(),
    }  # fmt: skip


@few
@given(st.lists(seen, max_size=6))
def test_whatever_the_networks_say_the_report_rows_hold_what_verify_asks_of_them(
    judge: Judge, told: list[Row]
) -> None:
    given_rows = [embedded(i, one, judge._feature_dim) for i, one in enumerate(told)]
    report = judge(pa.Table.from_pylist(given_rows, schema=EMBEDDED))
    assert report.schema.equals(REPORT)
    assert report["uri"].to_pylist() == [row["uri"] for row in given_rows]
    assert list(check.row_faults(report, RUN, DETECTOR)) == []
    assert list(check.band_faults(report, judge._card.thresholds)) == []
    for before, one, row in zip(given_rows, told, report.to_pylist(), strict=True):
        numbers = [before["frame_logit"], np.frombuffer(before["features"], np.float16)]
        sound = before["n_crops"] and all(np.isfinite(part).all() for part in numbers)
        if one["failed"]:
            assert row["outcome"] == one["failed"]
        elif not sound:
            assert (row["outcome"], row["error_kind"]) == ("crashed", "not_finite")
        elif row["outcome"] == "scored":
            assert 0 < row["probability"] < 1
            assert row["n_frames_scored"] == before["n_crops"]
            assert sum(face["n_frames"] for face in row["faces"]) == before["n_crops"]
            least, *_, most = [0.0, *sorted(face["probability"] for face in row["faces"])]
            assert least - 1e-6 <= row["probability"] <= most + 1e-6  # faces are kept as float32
            assert len(row["timeline"]) == (before["n_crops"] if one["media"] == "video" else 0)
            for part in row["segments"]:
                assert 0 <= part["start_s"] < part["end_s"]
        else:  # finite features may still overflow the temporal head
            assert (row["outcome"], row["error_kind"]) == ("crashed", "not_finite")


names = st.sampled_from(HOSTILE) | st.text(min_size=1, max_size=20)
objects = st.builds(
    make, names, st.none() | st.text(max_size=5), st.none() | st.text(max_size=5),
    st.none() | st.integers(0, 2**62), st.none() | values(pa.timestamp("us", "UTC"), False),
)  # fmt: skip


@few
@given(st.lists(objects, min_size=1, max_size=8))
def test_the_manifest_on_storage_is_the_plan(
    tmp_path_factory: pytest.TempPathFactory, listed: list[Any]
) -> None:
    planned = plan(listed, None, DETECTOR, 3)
    run = Run("20260504T120000-aa", str(tmp_path_factory.mktemp("out")), NOON)
    card = checkpoint.ModelCard(name="n", version="1", description="d")
    open_run(run, planned.table, "in", Settings(), card, DETECTOR)
    where, path = filesystem(run.manifest_uri, Settings().storage)
    found = pq.read_table(path, filesystem=where)
    assert found.cast(MANIFEST).equals(planned.table)
    assert {row["media_id"] for row in found.to_pylist()} == {item.media_id for item in listed}
