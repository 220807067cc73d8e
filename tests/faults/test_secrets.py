"""Credentials stay where they were given: nothing that a run says, writes or logs holds them."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import boto3
import pyarrow.parquet as pq
import pytest
from PIL import Image
from skimage.data import astronaut

from dfd_batch import settings
from dfd_batch.outcomes import UsageError
from tests.e2e.detector import write_detector
from tests.s3.conftest import store
from tests.s3.proxy import Fault, FaultyStore, Refuse

__all__ = ["store"]  # a fixture

SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIAQ7XN4TESTKEYID42",
    "AWS_SECRET_ACCESS_KEY": "vErY/sEcReT+kEy0123456789abcdefghijklmno",
    "AWS_SESSION_TOKEN": "sEsSiOn//tOkEn==0123456789abcdefghijklmn",
    "RAY_AUTH_TOKEN": "rAyToKeN" * 6,
}


@pytest.fixture
def ray_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))  # its sockets' paths must stay short
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def dfd(*words: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "dfd_batch.cli", *words],
        check=False, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def written(bucket: str) -> Iterator[tuple[str, str]]:
    """Name and content of everything in a bucket's output; tables as what they say."""
    s3 = boto3.client("s3")
    name = bucket.removeprefix("s3://")
    for entry in s3.list_objects_v2(Bucket=name, Prefix="out/")["Contents"]:
        body = s3.get_object(Bucket=name, Key=entry["Key"])["Body"].read()
        if entry["Key"].endswith(".parquet"):
            table = pq.read_table(io.BytesIO(body))
            body += f"{table.to_pylist()} {table.schema}".encode()
        yield entry["Key"], body.decode("latin-1")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_that_a_run_leaves_behind_holds_a_credential(
    store: FaultyStore, bucket: str, ray_folder: Path, tmp_path: Path
) -> None:
    s3 = boto3.client("s3")
    picture = io.BytesIO()
    Image.fromarray(astronaut()).crop((100, 0, 356, 256)).save(picture, "jpeg")
    for name in ("a", "denied", "torn"):
        body = picture.getvalue() if name != "torn" else b"\xff\xd8\xff\xe0" + bytes(50)
        s3.put_object(Bucket=bucket.removeprefix("s3://"), Key=f"in/{name}.jpg", Body=body)

    def rule(method: str, path: str, n_before: int) -> Fault | None:
        return Refuse(403, "AccessDenied") if "denied.jpg" in path else None

    store.rule = rule
    out = f"{bucket}/out"
    detector = write_detector(tmp_path / "d")
    told = {}
    code, told["scan"] = dfd("scan", f"{bucket}/in", "--out", out, "--checkpoint", detector)
    assert code == 0, told["scan"]
    for command in ("summary", "verify"):
        code, told[command] = dfd(command, "--out", out, "--json")
        assert code == 0, told[command]
    store.rule = lambda *_: Refuse(403, "SignatureDoesNotMatch")
    code, told["refused"] = dfd("scan", f"{bucket}/in", "--out", out, "--checkpoint", detector)
    assert code == 2, told["refused"]
    store.rule = lambda *_: None

    told |= dict(written(bucket))
    assert {"manifest.parquet", "run.json", "summary.json"} <= {n.split("/")[-1] for n in told}
    logs = [path for path in ray_folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(logs) > 10
    told |= {str(path): path.read_bytes().decode("latin-1") for path in logs}
    for where, text in told.items():
        for variable, secret in SECRETS.items():
            assert secret not in text, (variable, where)


def test_an_endpoint_with_a_password_is_refused_without_repeating_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for given in ("http://me:hidden@127.0.0.1:1", "https://hidden@store/x"):
        monkeypatch.setenv("DFD_STORAGE__ENDPOINT_URL", given)
        with pytest.raises(UsageError, match=r"storage\.endpoint_url") as caught:
            settings.load()
        assert "hidden" not in str(caught.value)
    monkeypatch.setenv("DFD_STORAGE__ENDPOINT_URL", "http://127.0.0.1:1/a@b")
    assert settings.load().storage.endpoint_url == "http://127.0.0.1:1/a@b"


def test_no_environment_variable_of_this_process_reaches_a_decoder_unless_it_must(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from dfd_batch.decode.cell import Cell
    from dfd_batch.outcomes import MediaFault
    from dfd_batch.settings import Limits, Sampling

    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)
    with Cell(Limits()) as cell:
        with pytest.raises(MediaFault):
            list(cell.decode("/nowhere", Sampling()))
        environ = Path(f"/proc/{cell.server_pid}/environ").read_text()
    assert "PATH=" in environ
    assert not any(secret in environ for secret in SECRETS.values())
