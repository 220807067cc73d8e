"""Large objects are read in parts: the same row, fewer bytes, the same faults."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pytest

from dfd_batch import checkpoint as checkpoints
from dfd_batch.catalog.bucket import walk
from dfd_batch.schema import MANIFEST
from dfd_batch.settings import Settings, Storage
from dfd_batch.stages import Crop, RunContext
from tests.media import moving_frames, write_video
from tests.s3.proxy import FaultyStore, Refuse

SAME = ("outcome", "n_crops", "crops", "crop_time_s", "crop_box", "n_frames_decoded", "duration_s")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three megabytes, of which three clips of twenty-four frames are looked at."""
    folder = tmp_path_factory.mktemp("video")
    return write_video(folder / "a.mp4", moving_frames(900), gop=25, options={"crf": "10"})


def manifest_of(bucket: str, video: Path) -> pa.Table:
    name = bucket.removeprefix("s3://")
    boto3.client("s3").upload_file(str(video), name, "a.mp4")
    ((_, found),) = walk(bucket, Storage())
    row = {field: getattr(found, field) for field in MANIFEST.names if field != "attempt"}
    return pa.Table.from_pylist([row | {"attempt": 1}], schema=MANIFEST)


def cropped(rows: pa.Table, **storage: Any) -> dict[str, Any]:
    settings = Settings(storage=Storage(max_retries=2, **storage))
    checkpoint = checkpoints.load("default")
    today = datetime.now(UTC).date()
    crop = Crop(RunContext(settings, "", "run", "detector", today, checkpoint))
    (row,) = crop(rows).to_pylist()
    return row


def test_parts_give_the_row_of_the_whole_for_fewer_bytes(
    store: FaultyStore, bucket: str, video: Path
) -> None:
    rows, size = manifest_of(bucket, video), video.stat().st_size
    whole = cropped(rows, parts_from_bytes=2 * size)
    store.seen.clear()
    parts = cropped(rows, parts_from_bytes=0)
    n_requests = sum(method == "GET" for method, _ in store.seen)
    assert whole["n_crops"] > 0
    assert {name: parts[name] for name in SAME} == {name: whole[name] for name in SAME}
    assert whole["bytes_read"] == size
    assert parts["bytes_read"] < 0.7 * size
    assert 1 < n_requests <= 12
    assert parts["fetch_ms"] > 0


def test_an_object_that_changes_between_its_parts_is_changed(
    store: FaultyStore, bucket: str, video: Path
) -> None:
    rows = manifest_of(bucket, video)
    name = bucket.removeprefix("s3://")

    def rule(method: str, path: str, n_before: int) -> None:
        if method == "GET" and n_before == 1:
            boto3.client("s3").put_object(Bucket=name, Key="a.mp4", Body=b"another")

    store.rule = rule
    row = cropped(rows, parts_from_bytes=0)
    assert row["outcome"] == "changed"
    assert 0 < row["bytes_read"] < video.stat().st_size
    assert row["error_message"].count("a.mp4") == 1


def test_a_part_that_a_busy_store_refuses_is_throttled(
    store: FaultyStore, bucket: str, video: Path
) -> None:
    rows = manifest_of(bucket, video)
    store.rule = lambda method, path, n: (
        Refuse(503, "SlowDown") if method == "GET" and n > 0 else None
    )
    assert cropped(rows, parts_from_bytes=0)["outcome"] == "throttled"
