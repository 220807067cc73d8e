"""The same command against a real object store, where there is one (CI installs it)."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pyarrow.dataset as ds
import pytest
from PIL import Image
from skimage.data import astronaut

from dfd_batch import storage
from dfd_batch.catalog.listing import listing
from dfd_batch.decode.fetch import Fetcher
from dfd_batch.outcomes import MediaFault, Outcome, UsageError
from dfd_batch.reports.read import latest
from dfd_batch.settings import Limits, Select, Storage
from tests.e2e.detector import write_detector
from tests.release import length
from tests.s3 import ceph
from tests.s3.names import keys, scan_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not ceph.is_here(), reason="no radosgw, or no ../shared/s3 to start it by"),
]
N_PICTURES, N_KILLED = 12, length(60, 24)
DEAD_S = length(30.0, 8.0)


@pytest.fixture(scope="module")
def store() -> Iterator[ceph.Ceph]:
    settings = {
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "NO_PROXY": "127.0.0.1",
    }
    with ceph.running() as running, pytest.MonkeyPatch.context() as patch:
        for name, value in (settings | running.environment).items():
            patch.setenv(name, value)
        patch.setattr(boto3, "DEFAULT_SESSION", None)  # it remembers the keys of another store
        yield running


@pytest.fixture(scope="module")
def archive(store: ceph.Ceph) -> str:
    s3 = client()
    s3.create_bucket(Bucket="archive")
    picture = io.BytesIO()
    Image.fromarray(astronaut()).crop((100, 0, 356, 256)).save(picture, "jpeg")
    for i in range(N_PICTURES):
        s3.put_object(Bucket="archive", Key=f"in/ü {i}+&.jpg", Body=picture.getvalue() + bytes([i]))
    s3.put_object(Bucket="archive", Key="in/empty.mp4", Body=b"")
    return "s3://archive"


def client() -> Any:
    return boto3.client(
        "s3", config=boto3.session.Config(request_checksum_calculation="when_required")
    )


def start(archive: str, detector: str, part: str = "", **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "dfd_batch.cli", "scan", f"{archive}/{part}in", "--out",
         f"{archive}/{part}out", "--checkpoint", detector, "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, **environment, "RAY_BACKEND_LOG_LEVEL": "error"},
    )  # fmt: skip


def end_of(started: subprocess.Popen[str]) -> tuple[int, dict[str, Any], str]:
    told, said = started.communicate(timeout=600)
    return started.returncode, json.loads(told or "{}"), said[-6000:]


def scan(archive: str, detector: str, **environment: str) -> tuple[int, dict[str, Any], str]:
    return end_of(start(archive, detector, **environment))


def rows_of(out: str) -> list[dict[str, Any]]:
    filesystem, path = storage.filesystem(f"{out}/reports", Storage())
    found = ds.dataset(path, filesystem=filesystem, format="parquet").to_table()
    rows: list[dict[str, Any]] = found.to_pylist()
    return rows


def test_a_scan_from_and_to_a_real_store(archive: str, tmp_path: Path) -> None:
    detector = write_detector(tmp_path / "d")
    code, told, said = scan(archive, detector)
    assert code == 0, (code, told, said)
    assert told["reconciled"] and told["outcomes"] == {"scored": N_PICTURES, "empty": 1}
    rows = rows_of(f"{archive}/out")
    assert len({row["uri"] for row in rows}) == len(rows) == N_PICTURES + 1
    code, told, said = scan(archive, detector)
    assert (code, told["n_manifest"], told["plan"]["n_done"]) == (0, 0, N_PICTURES + 1), said

    code, told, said = scan(archive, detector, AWS_SECRET_ACCESS_KEY="not-the-secret")
    assert code == 2 and "AWS_SECRET_ACCESS_KEY" in said and "Traceback" not in said
    assert "not-the-secret" not in said


def test_a_real_store_does_not_give_another_version_for_the_one_that_was_listed(
    archive: str,
) -> None:
    s3 = client()
    s3.put_object(Bucket="archive", Key="moving/a.mp4", Body=b"first")
    (found,) = listing(f"{archive}/moving", Select(), Storage())
    fetcher = Fetcher(Storage(), Limits())
    with fetcher.fetch(found.uri, found.etag, None, found.size_bytes) as fetched:
        assert Path(fetched.path).read_bytes() == b"first"
    s3.put_object(Bucket="archive", Key="moving/a.mp4", Body=b"other")
    assert outcome_of(fetcher, found.uri, found.etag) is Outcome.CHANGED
    s3.delete_object(Bucket="archive", Key="moving/a.mp4")
    assert outcome_of(fetcher, found.uri, found.etag) is Outcome.MISSING


def test_a_real_store_that_hangs_is_a_timeout_and_then_goes_on(
    archive: str, store: ceph.Ceph
) -> None:
    client().put_object(Bucket="archive", Key="late.mp4", Body=b"here")
    patient = Fetcher(Storage(), Limits())
    hasty = Fetcher(Storage(read_timeout_s=0.5, max_retries=1), Limits())
    with store.hanging():
        assert outcome_of(hasty, f"{archive}/late.mp4") is Outcome.TIMEOUT
    with patient.fetch(f"{archive}/late.mp4") as fetched:
        assert Path(fetched.path).read_bytes() == b"here"


def test_a_scan_outlives_a_real_store_that_is_killed(
    archive: str, store: ceph.Ceph, tmp_path: Path
) -> None:
    s3, bucket = client(), archive.removeprefix("s3://")
    picture = s3.get_object(Bucket=bucket, Key="in/ü 0+&.jpg")["Body"].read()
    for i in range(N_KILLED):
        body = picture + i.to_bytes(2)
        s3.put_object(Bucket=bucket, Key=f"killed-in/{i:03}.jpg", Body=body)
    detector = write_detector(tmp_path / "d")
    given = {"DFD_POOLS__ROWS_PER_FILE": "1", "DFD_LIMITS__MAX_ATTEMPTS": "20"}
    started = start(archive, detector, "killed-", **given)
    while not storage.list_names(f"{archive}/killed-out/reports", Storage()):
        assert started.poll() is None
        time.sleep(0.05)
    with store.dead():
        assert started.poll() is None
        time.sleep(DEAD_S)
    accounts = [end_of(started)]
    assert len(rows_of(f"{archive}/killed-out")) >= 1
    while accounts[-1][1].get("n_manifest") != 0:
        assert len(accounts) < 6, accounts
        accounts.append(end_of(start(archive, detector, "killed-", **given)))
    print(f"\n{[(code, told.get('outcomes')) for code, told, _ in accounts]}")
    assert all("dfd_batch/cli.py" not in said for *_, said in accounts)  # no traceback of ours
    code, told, said = accounts[-1]
    assert (code, told["plan"]["n_done"]) == (0, N_KILLED), said
    rows = rows_of(f"{archive}/killed-out")
    assert len({(row["uri"], row["run_id"]) for row in rows}) == len(rows)
    final = latest(f"{archive}/killed-out/reports", Storage()).to_pylist()
    assert len({row["uri"] for row in final}) == len(final) == N_KILLED
    assert {row["outcome"] for row in final} == {"scored"}


def test_a_real_store_s_objects_are_read_whatever_they_are_called(store: ceph.Ceph) -> None:
    client().create_bucket(Bucket="names")
    told, expected = scan_of(client(), "names", keys("in/"))
    assert told == expected


def test_a_real_store_says_which_bucket_is_not_there(store: ceph.Ceph) -> None:
    with pytest.raises(UsageError, match="s3://nowhere/in: the bucket does not exist"):
        list(listing("s3://nowhere/in", Select(), Storage()))


def outcome_of(fetcher: Fetcher, uri: str, etag: str | None = None) -> Outcome:
    with pytest.raises(MediaFault) as caught, fetcher.fetch(uri, etag):
        pass
    return caught.value.outcome
