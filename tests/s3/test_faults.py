"""A scan whose store misbehaves: typed outcomes, nothing lost, one sentence for the user."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pyarrow.dataset as ds
import pytest
from PIL import Image
from skimage.data import astronaut

from dfd_batch import pipeline, storage
from dfd_batch.catalog.listing import listing
from dfd_batch.cli import app
from dfd_batch.outcomes import UsageError
from dfd_batch.settings import Select, Settings, Storage
from tests.e2e.detector import write_detector
from tests.s3.proxy import Cut, Fault, FaultyStore, Refuse, Reset

REFUSALS = [
    (403, "InvalidAccessKeyId", "does not know this access key"),
    (403, "SignatureDoesNotMatch", "secret key is wrong"),
    (400, "ExpiredToken", "session token has expired"),
    (403, "AccessDenied", "access is denied"),
]


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_detector(tmp_path_factory.mktemp("detector"))


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: object) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr(pipeline, "start_ray", start)


@pytest.mark.parametrize(("status", "code", "told"), REFUSALS)
@pytest.mark.parametrize("where", ["source", "out"])
def test_bad_credentials_are_one_sentence_before_any_actor_starts(
    store: FaultyStore, bucket: str, tmp_path: Path, detector: str, no_ray: None,
    where: str, status: int, code: str, told: str,
) -> None:  # fmt: skip
    store.rule = lambda *_: Refuse(status, code)
    (tmp_path / "a.jpg").write_bytes(b"x")
    places = {"source": str(tmp_path), "out": str(tmp_path / "out")} | {where: f"{bucket}/x"}
    with pytest.raises(UsageError, match=told) as caught:
        pipeline.scan(**places, settings=Settings(checkpoint=detector))
    assert bucket in str(caught.value) and "\n" not in str(caught.value)
    assert len(store.seen) <= 4


@pytest.mark.parametrize(
    "command",
    [
        ["query", "worst", "--reports", "{out}"],
        ["act", "--reports", "{out}"],
        ["restore", "--reports", "{out}"],
        ["compact", "--reports", "{out}"],
        ["report", "{out}", "--out", "{here}/page"],
        ["summary", "--out", "{out}"],
        ["show", "{out}/in/a.mp4", "--out", "{out}"],
        ["verify", "--out", "{out}"],
        ["plan", "{out}/in", "--out", "{out}"],
    ],
    ids=lambda command: command[0],
)
@pytest.mark.parametrize("has_keys", [True, False], ids=["refused", "no keys"])
def test_every_command_says_in_one_sentence_that_it_is_not_let_in(
    store: FaultyStore, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], command: list[str], has_keys: bool,
) -> None:  # fmt: skip
    if not has_keys:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    store.rule = lambda *_: Refuse(403, "InvalidAccessKeyId")
    with pytest.raises(SystemExit) as ended:
        app([word.format(out=f"{bucket}/a", here=tmp_path) for word in command])
    told = capsys.readouterr()
    assert ended.value.code == 2, told
    sentence = told.err.strip()
    assert sentence.startswith("dfd: ") and bucket in sentence and "\n" not in sentence, told
    assert ("access key" if has_keys else "credentials") in sentence


def test_a_run_keeps_the_endpoint_of_its_drivers_environment(
    s3_server: str, bucket: str, tmp_path: Path, no_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The processes of a cluster have another environment, and a replay as well."""
    (tmp_path / "a.mp4").write_bytes(b"x")

    with pytest.raises(AssertionError, match="Ray was started"):
        pipeline.scan(str(tmp_path / "a.mp4"), f"{bucket}/out", Settings())
    (run,) = storage.list_names(f"{bucket}/out/runs", Storage())
    told = json.loads(storage.read_bytes(f"{bucket}/out/runs/{run}/run.json", Storage()))
    assert told["settings"]["storage"]["endpoint_url"] == s3_server

    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.replace("://", "://me:hidden@"))
    with pytest.raises(UsageError, match="AWS_ENDPOINT_URL") as caught:
        pipeline.scan(str(tmp_path / "a.mp4"), f"{bucket}/out", Settings())
    assert "hidden" not in str(caught.value)


@pytest.mark.slow
def test_a_million_keys_are_listed_page_by_page(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A simulated paginator: what is held does not grow with the number of pages."""
    n_pages, given = 1000, [0]
    now = datetime(2026, 5, 4, tzinfo=UTC)

    def paginate(**_: Any) -> Iterator[dict[str, Any]]:
        for page in range(n_pages):
            given[0] += 1
            yield {
                "Contents": [
                    {
                        "Key": f"v/{page:04}/{i:04}.mp4",
                        "ETag": '"e"',
                        "Size": 1,
                        "LastModified": now,
                    }
                    for i in range(1000)
                ]
            }

    class Client:
        def list_objects_v2(self, **_: Any) -> dict[str, Any]:
            return {}

        def get_paginator(self, _: str) -> Any:
            return type("Paginator", (), {"paginate": staticmethod(paginate)})

    monkeypatch.setattr(storage, "client", lambda _: Client())
    n_listed = 0
    for _ in listing(f"{bucket}/v", Select(), Storage()):
        if n_listed % 1000 == 0:
            assert given[0] == n_listed // 1000 + 1  # no page is asked for ahead of its use
        if n_listed == 20_000:
            tracemalloc.start()
        if n_listed == 100_000:
            held_bytes, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert held_bytes < 2_000_000, held_bytes  # one page, not eighty
        n_listed += 1
    assert n_listed == 1_000_000


class Archive:
    """Thirteen pictures in a bucket, some of which the store spoils."""

    def __init__(self, endpoint: str, bucket: str) -> None:
        self.s3 = boto3.client("s3", endpoint_url=endpoint)
        self.bucket = bucket
        self.refusing_reports_after: int | None = None
        self.n_reports = 0
        picture = io.BytesIO()
        Image.fromarray(astronaut()).crop((100, 0, 356, 256)).save(picture, "jpeg")
        self.picture = picture.getvalue()
        names = ["denied", "slow", "reset", "cut", "gone", "other"]
        for name in [*names, *(f"plain{i}" for i in range(7))]:
            self.put(name)

    def put(self, name: str, tail: bytes = b"") -> None:
        own = self.picture + name.encode() + tail
        self.s3.put_object(Bucket=self.bucket, Key=f"in/{name}.jpg", Body=own)

    def rule(self, method: str, path: str, n_before: int) -> Fault | None:
        if method == "PUT" and "/out/reports/" in path:
            self.n_reports += 1
            after = self.refusing_reports_after
            refused = after is not None and self.n_reports > after
            return Refuse(403, "AccessDenied") if refused else None
        name = path.rpartition("/")[2].partition(".jpg")[0]
        if method != "GET" or "/in/" not in path or "?list" in path:
            return None
        if name == "denied":
            return Refuse(403, "AccessDenied")
        if n_before == 0 and name == "gone":
            self.s3.delete_object(Bucket=self.bucket, Key="in/gone.jpg")
        if n_before == 0 and name == "other":
            self.put("other", b"a later version")
        spoiled = {"slow": Refuse(503, "SlowDown"), "reset": Reset(), "cut": Cut(100)}
        return spoiled.get(name) if n_before < 2 else None


@pytest.mark.slow
def test_a_scan_outlives_its_store(
    store: FaultyStore, s3_server: str, bucket: str, detector: str
) -> None:
    archive = Archive(s3_server, bucket.removeprefix("s3://"))
    archive.refusing_reports_after = 1
    store.rule = archive.rule
    environment = {"DFD_POOLS__ROWS_PER_FILE": "4", "DFD_POOLS__EMBED_BATCH_OBJECTS": "1"}

    def scan() -> tuple[int, dict[str, Any], str]:
        done = subprocess.run(
            [sys.executable, "-m", "dfd_batch.cli", "scan", f"{bucket}/in", "--out",
             f"{bucket}/out", "--checkpoint", detector, "--json"],
            check=False, capture_output=True, text=True, timeout=280,
            env={**os.environ, **environment},
        )  # fmt: skip
        assert "dfd_batch/cli.py" not in done.stderr, done.stderr  # no traceback of ours
        return done.returncode, json.loads(done.stdout), done.stderr

    code, told, said = scan()
    assert code == 1 and not told["reconciled"] and told["n_reported"] == 4
    assert "access is denied" in said and "/out/reports/" in told["stopped"]

    archive.refusing_reports_after = None
    code, told, said = scan()
    assert code == 0 and told["reconciled"] and told["stopped"] is None
    assert told["plan"]["n_done"] + told["n_manifest"] >= 12
    filesystem, path = storage.filesystem(f"{bucket}/out/reports", Storage())
    rows = ds.dataset(path, filesystem=filesystem, format="parquet").to_table().to_pylist()
    told_of = {}
    for row in sorted(rows, key=lambda row: row["scanned_at"]):
        name = Path(row["uri"]).stem
        told_of.setdefault(name, []).append(row["outcome"])
        assert (row["probability"] is not None) == (row["outcome"] == "scored")
    assert set(told_of.pop("denied")) == {"access_denied"}
    # whichever run read them first met the fault; the second one lists what is there then
    assert set(told_of.pop("gone", ["missing"])) <= {"missing"}
    assert set(told_of.pop("other")) <= {"changed", "scored"}
    assert set(map(tuple, told_of.values())) == {("scored",)}
