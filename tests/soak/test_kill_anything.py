"""A long scan in which everything is killed once and again; nothing is lost, nothing is doubled."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import boto3
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from PIL import Image
from skimage.data import astronaut, coffee

from dfd_batch import storage
from dfd_batch.outcomes import Outcome
from dfd_batch.reports.read import latest
from dfd_batch.schema import REPORT
from dfd_batch.settings import Settings, Storage
from dfd_batch.verify import TOLERANCE, verify
from tests.e2e.detector import write_detector
from tests.media import moving_frames, write_video
from tests.release import length
from tests.soak.cluster import Nodes, Store, kill_driver, standing

pytestmark = [pytest.mark.slow, pytest.mark.timeout(length(1500, 900))]

SEED = int(os.environ.get("SOAK_SEED", "0"))
N_IMAGES = int(os.environ.get("SOAK_IMAGES", length("440", "88")))
N_VIDEOS, N_BAD = max(2, N_IMAGES // 11), max(3, N_IMAGES // 11)
KILLS = {"decoder": 7, "actor": 6, "driver": 4, "node": 2, "store": 2}
OUTAGES_S = length([30.0, 3.0], [10.0, 3.0])
SHARE = min(1.0, N_IMAGES / 440)
MAX_RUNS = 40
N_MORE = 32
"""So many objects arrive when all are judged before all is killed that shall be."""
ROWS_PER_FILE = 4
TELLING = {"RAY_BACKEND_LOG_LEVEL": "error"}
"""Makes an aborted driver say where it was."""
DIFFER = {"run_id", "scanned_at", "attempt"}
"""Columns that say when and how often, beside those that end in `_ms`."""


def put_pictures(endpoint: str, numbers: range) -> None:
    """Put real pictures of a face or of none, each with bytes of its own."""
    s3 = boto3.client("s3", endpoint_url=endpoint)
    face = Image.fromarray(astronaut()).crop((130, 10, 330, 210)).resize((144, 144))
    cup = Image.fromarray(coffee()).resize((150, 100))
    for i in numbers:
        picture = io.BytesIO()
        (cup if i % 10 == 9 else face).save(picture, "jpeg", quality=60 + i % 35)
        body = picture.getvalue() + i.to_bytes(4)  # bytes after the end are passed over
        s3.put_object(Bucket="soak", Key=f"in/{i % 7}/{i:04}.jpg", Body=body)


@pytest.fixture(scope="module")
def archive(s3_server: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a prefix with small real pictures and videos and what is neither."""
    s3 = boto3.client("s3", endpoint_url=s3_server)
    s3.create_bucket(Bucket="soak")
    put_pictures(s3_server, range(N_IMAGES))
    film = write_video(tmp_path_factory.mktemp("film") / "a.mp4", moving_frames(6, 256, 224))
    whole = film.read_bytes()
    for i in range(N_VIDEOS):
        free = (8 + 4).to_bytes(4) + b"free" + i.to_bytes(4)  # a box that players pass over
        s3.put_object(Bucket="soak", Key=f"in/v/{i:04}.mp4", Body=whole + free)
    noise = np.random.default_rng(SEED).bytes
    bad = [b"", whole[: len(whole) // 3], noise(500), b"\xff\xd8\xff\xe0" + noise(300), b"text"]
    for i in range(N_BAD):
        own = bad[i % len(bad)]
        s3.put_object(Bucket="soak", Key=f"in/bad/{i:04}.mp4", Body=own and own + i.to_bytes(4))
    return "s3://soak"


@pytest.fixture(scope="module")
def nodes(store: Store) -> Iterator[Nodes]:
    """A cluster whose workers reach the store that can vanish: they inherit its address."""
    short = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # its sockets' paths must stay short
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", "soak" * 12)
        patch.setenv("OMP_NUM_THREADS", "1")
        try:
            with standing(short) as found:
                yield found
        finally:
            shutil.rmtree(short, ignore_errors=True)


@pytest.fixture(scope="module")
def store(s3_server: str) -> Iterator[Store]:
    found = Store(s3_server)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", found.url)
        yield found
    found.close()


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_detector(tmp_path_factory.mktemp("detector"))


class Scan:
    """The same command each time."""

    def __init__(self, source: str, out: str, detector: str, *more: str, **settings: str) -> None:
        self._command = [sys.executable, "-m", "dfd_batch.cli", "scan", source, "--out", out,
                         "--checkpoint", detector, "--json", *more]  # fmt: skip
        given = {
            "limits__max_attempts": "20",
            "pools__rows_per_file": str(ROWS_PER_FILE),
            "pools__crop_actors": "2",
            "pools__embed_actors": "1",
        } | settings
        self._settings = {f"DFD_{name.upper()}": value for name, value in given.items()}

    def start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, **self._settings, **TELLING}, start_new_session=True,
        )  # fmt: skip

    def account(self, driver: subprocess.Popen[bytes]) -> dict[str, Any]:
        """Wait for a driver and return what it told, with its exit code."""
        told, said = driver.communicate(timeout=600)
        code = driver.returncode
        # Ray's core may abort a driver whose nodes are killed: the next run must make up for it too
        assert code in {0, 1, 2, -9, -6}, said.decode()[-3000:]
        if code == -6:
            print(f"driver aborted: {said.decode()[-5000:]}")
        return {"code": code, "said": said.decode(errors="replace")} | json.loads(told or "{}")


def n_files(endpoint: str, prefix: str) -> int:
    s3 = boto3.client("s3", endpoint_url=endpoint)
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket="soak", Prefix=prefix)
    return sum(len(page.get("Contents", ())) for page in pages)


def all_rows(out: str) -> pa.Table:
    filesystem, path = storage.filesystem(f"{out}/reports", Storage())
    return ds.dataset(path, filesystem=filesystem, format="parquet", schema=REPORT).to_table()


def what_was_found(rows: pa.Table) -> dict[str, dict[str, Any]]:
    kept = [n for n in REPORT.names if n not in DIFFER and not n.endswith("_ms")]
    return {row["uri"]: row for row in rows.select(kept).to_pylist()}


def same(one: Any, other: Any) -> bool:
    """Whether two rows, or parts of rows, say the same; numbers within what batching changes."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= TOLERANCE
    return bool(one == other)


def test_nothing_is_lost_whatever_is_killed(
    archive: str, nodes: Nodes, store: Store, s3_server: str, detector: str
) -> None:
    random = Random(SEED)
    n_images, n_objects = N_IMAGES, N_IMAGES + N_VIDEOS + N_BAD
    todo = [kind for kind, n in KILLS.items() for _ in range(max(1, round(n * SHARE)))]
    random.shuffle(todo)
    outages_s = list(OUTAGES_S)
    done: Counter[str] = Counter()
    out = f"{archive}/out"
    scan = Scan(f"{archive}/in", out, detector, "--address", nodes.address)
    # by progress, not by the clock: a fast machine is killed as often as a slow one
    every = max(1, n_objects // ROWS_PER_FILE // (len(todo) + 4))  # files between two kills
    n_at_kill = 0
    began = time.monotonic()
    accounts = []
    for _ in range(MAX_RUNS):
        driver = scan.start()
        while driver.poll() is None:
            time.sleep(0.05)
            n_now = n_files(s3_server, "out/reports/")
            if not todo or n_now < n_at_kill + every:
                continue
            kind = todo.pop()
            match kind:
                case "driver":
                    did = kill_driver(driver)
                case "decoder":
                    did = nodes.kill_decoder(random)
                case "actor":
                    did = nodes.kill_actor(random)
                case "node":
                    did = nodes.kill_node(random)
                case _:
                    did = store.vanish(outages_s.pop(0))
            done[kind] += did
            if did:
                n_at_kill = n_now
                print(f"{time.monotonic() - began:6.1f} s  {n_now} files  kill {kind}")
            else:  # there was none just then
                todo.insert(0, kind)
        accounts.append(scan.account(driver))
        print(f"{time.monotonic() - began:6.1f} s  run ends: {accounts[-1]}"[:600])
        if accounts[-1]["code"] == 0 and accounts[-1]["n_manifest"] == 0:
            if not todo:
                break
            put_pictures(s3_server, range(n_images, n_images + N_MORE))
            n_images, n_objects = n_images + N_MORE, n_objects + N_MORE
    print(done, len(accounts), "runs", f"{time.monotonic() - began:.0f} s")
    assert accounts[-1]["code"] == 0 and accounts[-1]["plan"]["n_done"] == n_objects
    assert not todo and done.total() >= (20 if SHARE == 1 else len(KILLS)), todo
    for account in accounts:
        no_traceback = "dfd_batch/cli.py" not in account["said"]
        assert no_traceback or account["code"] == -6, account["said"]

    rows = all_rows(out)
    pairs = Counter(zip(rows["media_id"].to_pylist(), rows["run_id"].to_pylist(), strict=True))
    assert max(pairs.values()) == 1
    final = latest(f"{out}/reports", Storage())
    assert len(final) == len(set(final["uri"].to_pylist())) == n_objects
    assert not any(Outcome(o).retryable for o in final["outcome"].to_pylist())
    finished = [a["run_id"] for a in accounts if a["code"] == 0]
    for run_id in finished:
        found = verify(out, Settings(), run_id, sample=0)
        assert found.sound, found

    began = time.monotonic()
    calm = Scan(f"{archive}/in", f"{archive}/calm", detector, "--address", nodes.address)
    account = calm.account(calm.start())
    print(f"undisturbed: {time.monotonic() - began:.0f} s")
    assert account["code"] == 0 and account["n_reported"] == n_objects
    expected = what_was_found(all_rows(f"{archive}/calm"))
    found_rows = what_was_found(final)
    assert found_rows.keys() == expected.keys()
    for uri, row in expected.items():
        assert same(found_rows[uri], row), (found_rows[uri], row)


def test_two_overlapping_runs_of_one_plan_end_with_one_latest_row_each(
    archive: str, nodes: Nodes, store: Store, detector: str
) -> None:
    out = f"{archive}/twice"
    few = {"pools__crop_actors": "1"}
    scan = Scan(f"{archive}/in/3", out, detector, "--address", nodes.address, **few)
    accounts = [scan.account(driver) for driver in [scan.start(), scan.start()]]
    assert [a["code"] for a in accounts] == [0, 0], accounts
    assert accounts[0]["run_id"] != accounts[1]["run_id"]
    assert all(a["reconciled"] for a in accounts)
    assert len({a["n_manifest"] for a in accounts}) == 1  # they really overlapped
    final = latest(f"{out}/reports", Storage())
    assert len(final) == accounts[0]["n_manifest"] == len(all_rows(out)) // 2
    again = scan.account(scan.start())
    assert (again["n_manifest"], again["plan"]["n_done"]) == (0, len(final))
