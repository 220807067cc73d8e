from __future__ import annotations

import os
from pathlib import Path

import pytest

from dfd_batch.decode.fetch import Fetcher
from dfd_batch.outcomes import MediaFault, Outcome
from dfd_batch.settings import Limits, Storage
from dfd_batch.storage.uris import local_etag

CONTENT = bytes(range(256)) * 4000


@pytest.fixture
def fetcher() -> Fetcher:
    return Fetcher(Storage(max_retries=1), Limits(max_object_bytes=2_000_000))


def fault_of(fetcher: Fetcher, uri: str, *listed: object) -> MediaFault:
    with pytest.raises(MediaFault) as caught, fetcher.fetch(uri, *listed):  # type: ignore[arg-type]
        pass
    assert uri in caught.value.message
    return caught.value


def test_a_local_file_is_used_in_place(fetcher: Fetcher, tmp_path: Path) -> None:
    path = tmp_path / "a b%20ü.mp4"
    path.write_bytes(CONTENT)
    with fetcher.fetch(str(path), local_etag(path.stat()), None, len(CONTENT)) as fetched:
        assert (fetched.path, fetched.bytes_read) == (str(path), len(CONTENT))
    assert path.read_bytes() == CONTENT


def test_a_local_file_that_is_not_as_listed(fetcher: Fetcher, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    assert fault_of(fetcher, str(path)).outcome is Outcome.MISSING
    assert fault_of(fetcher, str(tmp_path)).outcome is Outcome.MISSING
    path.write_bytes(CONTENT)
    etag = local_etag(path.stat())
    path.write_bytes(CONTENT + b"more")
    assert fault_of(fetcher, str(path), etag).outcome is Outcome.CHANGED
    path.write_bytes(b"")
    assert fault_of(fetcher, str(path)).outcome is Outcome.EMPTY
    path.write_bytes(bytes(2_000_001))
    assert fault_of(fetcher, str(path)).outcome is Outcome.TOO_LARGE


@pytest.mark.parametrize("is_judged", [True, False])
def test_a_local_file_that_changes_while_it_is_read_is_not_judged(
    fetcher: Fetcher, tmp_path: Path, is_judged: bool
) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(CONTENT)
    with (
        pytest.raises(MediaFault) as caught,
        fetcher.fetch(str(path), local_etag(path.stat())),
    ):
        path.write_bytes(CONTENT[:999])
        if not is_judged:
            raise MediaFault(Outcome.UNREADABLE, "torn", "it seems torn.")
    assert caught.value.outcome is Outcome.CHANGED


def test_a_local_file_that_goes_when_it_was_read_was_read(fetcher: Fetcher, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(CONTENT)
    etag = local_etag(path.stat())
    with fetcher.fetch(str(path), etag):
        path.unlink()
    path.write_bytes(CONTENT)
    with pytest.raises(MediaFault) as caught, fetcher.fetch(str(path), local_etag(path.stat())):
        path.unlink()
        raise MediaFault(Outcome.UNREADABLE, "read_error", "it cannot be read.")
    assert caught.value.outcome is Outcome.MISSING


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(fetcher: Fetcher, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(CONTENT)
    path.chmod(0)
    assert fault_of(fetcher, str(path)).outcome is Outcome.ACCESS_DENIED


def _s3() -> object:
    import boto3

    return boto3.client("s3")


def test_an_s3_object_is_a_file_while_it_is_read(fetcher: Fetcher, bucket: str) -> None:
    s3 = _s3()
    name = bucket.removeprefix("s3://")
    etag = s3.put_object(Bucket=name, Key="dir/a %20.mp4", Body=CONTENT)["ETag"]  # type: ignore[attr-defined]
    uri = f"{bucket}/dir/a %20.mp4"
    for listed in (etag, etag.strip('"'), None):
        with fetcher.fetch(uri, listed, None, len(CONTENT)) as fetched:
            path = Path(fetched.path)
            assert path.read_bytes() == CONTENT
            assert fetched.bytes_read == len(CONTENT)
        assert not path.exists()


def test_an_s3_object_that_is_not_as_listed(fetcher: Fetcher, bucket: str) -> None:
    s3 = _s3()
    name = bucket.removeprefix("s3://")
    uri = f"{bucket}/a.mp4"
    assert fault_of(fetcher, uri).outcome is Outcome.MISSING
    assert fault_of(fetcher, "s3://no-such-bucket-0/a.mp4").outcome is Outcome.MISSING
    etag = s3.put_object(Bucket=name, Key="a.mp4", Body=CONTENT)["ETag"]  # type: ignore[attr-defined]
    s3.put_object(Bucket=name, Key="a.mp4", Body=b"other")  # type: ignore[attr-defined]
    assert fault_of(fetcher, uri, etag).outcome is Outcome.CHANGED
    s3.put_object(Bucket=name, Key="a.mp4", Body=bytes(2_000_001))  # type: ignore[attr-defined]
    assert fault_of(fetcher, uri).outcome is Outcome.TOO_LARGE


def test_the_listed_version_is_read_even_when_there_is_a_newer(
    fetcher: Fetcher, bucket: str
) -> None:
    s3 = _s3()
    name = bucket.removeprefix("s3://")
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})  # type: ignore[attr-defined]
    first = s3.put_object(Bucket=name, Key="a", Body=CONTENT)  # type: ignore[attr-defined]
    s3.put_object(Bucket=name, Key="a", Body=b"newer")  # type: ignore[attr-defined]
    with fetcher.fetch(f"{bucket}/a", first["ETag"], first["VersionId"], None) as fetched:
        assert Path(fetched.path).read_bytes() == CONTENT


def test_a_store_that_is_not_there_is_a_timeout(s3_server: str) -> None:
    nowhere = Storage(endpoint_url="http://127.0.0.1:9", max_retries=1, read_timeout_s=1)
    assert fault_of(Fetcher(nowhere, Limits()), "s3://bucket/a").outcome is Outcome.TIMEOUT


def test_no_credentials_are_access_denied(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    fetcher = Fetcher(Storage(max_retries=1), Limits())
    assert fault_of(fetcher, "s3://bucket/a").outcome is Outcome.ACCESS_DENIED
