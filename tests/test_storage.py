from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import boto3
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfd_batch import storage as store
from dfd_batch.outcomes import UsageError
from dfd_batch.settings import Storage

FAST = Storage(max_retries=1, read_timeout_s=5)

names = st.binary(min_size=1, max_size=40).map(lambda raw: raw.replace(b"\0", b"_"))


@given(names)
def test_local_uri_is_utf8_and_leads_back_to_any_file_name(raw: bytes) -> None:
    path = Path(os.path.normpath(os.fsdecode(b"/archive/" + raw)))
    uri = store.local_uri(path)
    assert uri.encode().decode() == uri
    assert store.local_path(uri) == path


def test_valid_names_stay_plain_paths() -> None:
    assert store.local_uri(Path("/a/100%25 ünï\n.mp4")) == "/a/100%25 ünï\n.mp4"
    assert store.local_path("/a/100%25.mp4") == Path("/a/100%25.mp4")
    assert store.local_path("file:///a/b%20c") == Path("/a/b c")


@pytest.mark.parametrize("uri", ["http://host/a.mp4", "gs://bucket/a", "file://host/a"])
def test_unknown_schemes_are_refused_with_their_uri(uri: str) -> None:
    with pytest.raises(UsageError, match=uri):
        store.local_path(uri)


def test_s3_keys_are_taken_literally() -> None:
    assert store.split_s3("s3://b//k%20 ?#") == ("b", "/k%20 ?#")
    with pytest.raises(UsageError):
        store.split_s3("s3://")


def test_join_works_for_all_kinds_of_uri(tmp_path: Path) -> None:
    assert store.join("s3://b", "runs", "x") == "s3://b/runs/x"
    assert store.join("s3://b/out/", "runs") == "s3://b/out/runs"
    assert store.join("out/", "runs") == "out/runs"
    odd = store.local_uri(tmp_path / os.fsdecode(b"\xff"))
    assert store.local_path(store.join(odd, "a%b")) == store.local_path(odd) / "a%b"


def test_local_files_are_written_whole_read_and_listed(tmp_path: Path) -> None:
    folder = str(tmp_path / "new" / "folder")
    uri = store.join(folder, "run.json")
    assert not store.exists(uri, FAST)
    assert store.list_names(folder, FAST) == []
    store.write_bytes(uri, b"one", FAST)
    store.write_bytes(uri, b"two", FAST)
    assert store.read_bytes(uri, FAST) == b"two"
    assert store.list_names(folder, FAST) == ["run.json"]
    assert store.exists(folder, FAST)


def test_s3_files_are_written_read_and_listed(bucket: str) -> None:
    uri = store.join(bucket, "out", "run.json")
    assert not store.exists(uri, FAST)
    assert not store.exists(bucket, FAST)
    store.write_bytes(uri, b"one", FAST)
    store.write_bytes(store.join(bucket, "out", "deep", "x"), b"", FAST)
    assert store.read_bytes(uri, FAST) == b"one"
    assert store.exists(uri, FAST)
    assert store.exists(store.join(bucket, "out"), FAST)
    assert not store.exists(store.join(bucket, "ou"), FAST)
    assert store.list_names(store.join(bucket, "out"), FAST) == ["deep", "run.json"]
    assert store.list_names(bucket, FAST) == ["out"]


def test_pickled_filesystem_serves_parquet_in_another_process(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, path = store.filesystem(store.join(bucket, "t.parquet"), FAST)
    (tmp_path / "files.pickle").write_bytes(pickle.dumps(files))
    assert b"testing" not in (tmp_path / "files.pickle").read_bytes()
    monkeypatch.delenv("AWS_ENDPOINT_URL")  # the endpoint travels with the filesystem
    write = (
        "import pickle, sys, pyarrow as pa, pyarrow.parquet as pq; "
        "files = pickle.load(open(sys.argv[1], 'rb')); "
        "pq.write_table(pa.table({'a': list(range(1000))}), sys.argv[2], filesystem=files)"
    )
    subprocess.run([sys.executable, "-c", write, tmp_path / "files.pickle", path], check=True)
    assert pq.read_table(path, filesystem=files)["a"].to_pylist() == list(range(1000))


def test_local_filesystem_takes_relative_and_file_uris(tmp_path: Path) -> None:
    files, path = store.filesystem(f"file://{tmp_path}/a%20b", FAST)
    assert path == f"{tmp_path}/a b"
    assert files.type_name == "local"


def test_missing_bucket_key_and_file_say_which_and_what_to_do(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"s3://no-such-bucket-here/a: the bucket does not exist"):
        store.write_bytes("s3://no-such-bucket-here/a", b"", FAST)
    with pytest.raises(UsageError, match=f"{bucket}/nothing: there is no such object"):
        store.read_bytes(f"{bucket}/nothing", FAST)
    with pytest.raises(UsageError, match="nothing: it does not exist"):
        store.read_bytes(str(tmp_path / "nothing"), FAST)


def test_unreachable_endpoint_is_explained_without_credentials() -> None:
    settings = FAST.model_copy(update={"endpoint_url": "http://user:pass@127.0.0.1:9"})
    anonymous = settings.model_copy(update={"anonymous": True})
    with pytest.raises(UsageError, match="cannot be reached") as caught:
        store.read_bytes("s3://bucket/key", anonymous)
    assert "pass" not in str(caught.value).replace("bypass", "")


def test_absent_credentials_say_how_to_give_them(
    s3_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    with pytest.raises(UsageError, match="AWS_ACCESS_KEY_ID"):
        store.read_bytes("s3://bucket/key", Storage(max_retries=2))


def test_unknown_profile_is_named(s3_server: str) -> None:
    with pytest.raises(UsageError, match="nobody"):
        store.client(Storage(profile="nobody"))


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("SignatureDoesNotMatch", "secret key is wrong"),
        ("InvalidAccessKeyId", "does not know this access key"),
        ("TeapotError", "TeapotError: no message"),
    ],
)
def test_empty_messages_of_a_store_still_show_the_code(code: str, told: str) -> None:
    from botocore.exceptions import ClientError

    error = ClientError({"Error": {"Code": code, "Message": None}}, "GetObject")
    text = str(store.explain(error, "s3://b/k"))
    assert told in text
    assert code in text
    assert "s3://b/k" in text


def test_keys_in_an_error_are_not_repeated() -> None:
    text = str(
        store.explain(
            OSError("bad AKIAABCDEFGHIJKLMNOP at https://a:b@h/?X-Amz-Signature=f00"), "x"
        )
    )
    assert "ABCDEFGH" not in text
    assert "a:b@" not in text
    assert "f00" not in text


def test_what_a_worker_raised_is_told_instead_of_its_wrapping() -> None:
    class WrappedError(Exception):
        cause = PermissionError(13, "Permission denied")

    assert "permission is denied" in str(store.explain(WrappedError("\x1b[36mray::Write()"), "/x"))
