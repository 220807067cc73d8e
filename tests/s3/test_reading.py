"""One object read from a store that misbehaves: the right bytes, or the right outcome."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from dfd_batch.catalog.listing import listing
from dfd_batch.decode import download
from dfd_batch.decode.fetch import Fetcher
from dfd_batch.outcomes import MediaFault, Outcome
from dfd_batch.settings import Limits, Select, Storage
from tests.s3.proxy import Cut, Fault, FaultyStore, Refuse, Reset, Trickle, Unconditional

CONTENT = os.urandom(700_000)  # more than two chunks
RETRIES = 4


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the client and the fetcher would have slept."""
    slept: list[float] = []
    clock = SimpleNamespace(**vars(time) | {"sleep": slept.append})
    monkeypatch.setattr("botocore.endpoint.time", clock)
    monkeypatch.setattr(download, "time", clock)
    return slept


@pytest.fixture
def uri(bucket: str, s3_server: str) -> str:
    put(s3_server, f"{bucket}/a.mp4", CONTENT)
    return f"{bucket}/a.mp4"


def put(endpoint: str, uri: str, body: bytes) -> None:
    bucket, key = uri.removeprefix("s3://").split("/", 1)
    boto3.client("s3", endpoint_url=endpoint).put_object(Bucket=bucket, Key=key, Body=body)


def read(uri: str, **storage: Any) -> bytes:
    options: dict[str, Any] = {"max_retries": RETRIES, "read_timeout_s": 5.0} | storage
    with Fetcher(Storage(**options), Limits()).fetch(uri) as fetched:
        return Path(fetched.path).read_bytes()


def fault_of(uri: str, **storage: Any) -> MediaFault:
    with pytest.raises(MediaFault) as caught:
        read(uri, **storage)
    return caught.value


def first(n: int, fault: Fault) -> Any:
    """Spoil the first n reads of each object."""
    return lambda method, path, n_before: fault if method == "GET" and n_before < n else None


@pytest.mark.parametrize(
    "fault",
    [
        Refuse(503, "SlowDown"), Refuse(500, "InternalError"), Reset(), Reset(300_000),
        Reset(1_000), Cut(300_000), Cut(0), Cut(1_000),
    ],
    ids=str,
)  # fmt: skip
def test_what_fails_twice_is_read_at_last(
    store: FaultyStore, uri: str, pauses: list[float], fault: Fault
) -> None:
    store.rule = first(2, fault)
    assert read(uri) == CONTENT
    assert len(store.seen) == 3
    assert len(pauses) == 2


def test_a_store_that_asks_to_slow_down_is_asked_ever_more_rarely_and_at_random(
    store: FaultyStore, uri: str, pauses: list[float]
) -> None:
    store.rule = first(1000, Refuse(503, "SlowDown"))
    for _ in range(3):
        assert fault_of(uri, max_retries=8).outcome is Outcome.THROTTLED
    assert len(store.seen) <= 3 * 9
    for number, pause_s in enumerate(pauses[: len(pauses) // 3]):
        assert 0 <= pause_s <= min(2**number, 20)
    assert len(set(pauses)) == len(pauses)


@pytest.mark.parametrize("fault", [Cut(1_000), Reset(1_000)], ids=str)
def test_a_body_that_always_breaks_off_is_given_up(
    store: FaultyStore, uri: str, pauses: list[float], fault: Fault
) -> None:
    store.rule = first(1000, fault)
    assert fault_of(uri).outcome is Outcome.TIMEOUT
    assert len(store.seen) == RETRIES


def test_a_body_that_breaks_off_after_each_chunk_is_read_from_where_it_was(
    store: FaultyStore, uri: str, pauses: list[float]
) -> None:
    store.rule = first(1000, Cut(download.CHUNK_BYTES + 10))
    assert read(uri, max_retries=2) == CONTENT
    assert len(store.seen) == 3


def test_a_slow_body_is_waited_for(store: FaultyStore, uri: str) -> None:
    store.rule = first(1, Trickle(100_000, 0.05))
    assert read(uri) == CONTENT
    assert len(store.seen) == 1


def test_a_trickle_without_end_is_a_timeout(
    store: FaultyStore, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte comes before the socket's time-out; the whole never does."""
    monkeypatch.setattr(download, "SLOWEST_BYTES_PER_S", 2**30)
    store.rule = first(1000, Trickle(1, 0.05))
    fault = fault_of(uri, read_timeout_s=0.5)
    assert (fault.outcome, len(store.seen)) == (Outcome.TIMEOUT, 1)


def test_a_silent_store_is_a_timeout(store: FaultyStore, uri: str, pauses: list[float]) -> None:
    store.rule = first(1000, Trickle(1, 30))
    assert fault_of(uri, read_timeout_s=0.2, max_retries=2).outcome is Outcome.TIMEOUT


def test_an_object_that_is_overwritten_while_it_is_read_is_not_pieced_together(
    store: FaultyStore, uri: str, s3_server: str, pauses: list[float]
) -> None:
    def rule(method: str, path: str, n_before: int) -> Fault | None:
        if n_before:
            put(s3_server, uri, CONTENT[::-1])
            return None
        return Cut(400_000)

    store.rule = rule
    assert fault_of(uri).outcome is Outcome.CHANGED


def test_a_store_that_knows_no_conditions_gives_no_other_version_for_the_one_listed(
    store: FaultyStore, uri: str, s3_server: str
) -> None:
    (listed,) = listing(uri, Select(), Storage(endpoint_url=s3_server))
    put(s3_server, uri, CONTENT[::-1])
    store.rule = first(1000, Unconditional())
    fetcher = Fetcher(Storage(), Limits())
    with pytest.raises(MediaFault) as caught, fetcher.fetch(uri, listed.etag):
        pass
    assert caught.value.outcome is Outcome.CHANGED
    (listed,) = listing(uri, Select(), Storage(endpoint_url=s3_server))
    with fetcher.fetch(uri, listed.etag) as fetched:
        assert Path(fetched.path).read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidAccessKeyId", "AccessDenied"])
def test_what_credentials_do_not_allow_is_not_asked_again(
    store: FaultyStore, uri: str, pauses: list[float], code: str
) -> None:
    store.rule = first(1000, Refuse(403, code))
    assert fault_of(uri).outcome is Outcome.ACCESS_DENIED
    assert (len(store.seen), pauses) == (1, [])


@pytest.fixture(autouse=True)
def fresh_clients() -> Iterator[None]:
    """Retry quotas belong to a client; a test must not spend another's."""
    from dfd_batch.storage.access import _client

    _client.cache_clear()
    yield
    _client.cache_clear()


def test_a_full_disk_is_not_blamed_on_the_store(uri: str) -> None:
    object_ = download.Download(Storage(), uri, None, None, lambda size: None)
    with Path("/dev/full").open("r+b", buffering=0) as full, pytest.raises(MediaFault) as caught:
        object_.read(full)
    assert (caught.value.outcome, caught.value.kind) == (Outcome.CRASHED, "no_space")
    assert uri in caught.value.message and "set TMPDIR" in caught.value.message
