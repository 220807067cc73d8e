from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.s3.proxy import FaultyStore


@pytest.fixture
def store(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyStore]:
    """A proxy before the S3 server that spoils what its rule says; AWS_ENDPOINT_URL leads to it."""
    with FaultyStore(int(s3_server.rpartition(":")[2])).serving() as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy
