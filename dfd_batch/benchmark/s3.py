"""An S3 store to measure on: the user's prefix, or moto's server on loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from dfd_batch.benchmark.lines import Bench
from dfd_batch.catalog.objects import MediaObject
from dfd_batch.catalog.objects import make as make_object
from dfd_batch.outcomes import UsageError
from dfd_batch.settings import Storage
from dfd_batch.storage import client, join, split_s3

START_S = 60.0
BUCKET = "dfd-benchmark"


@contextmanager
def serving(bench: Bench) -> Iterator[str]:
    """Yield a prefix that can be written: `bench.s3`, else one of a server that ends with this.

    Raises:
        UsageError: moto is not installed, or its server does not start.
    """
    if bench.s3:
        yield bench.s3
        return
    if find_spec("moto") is None:
        raise UsageError(
            "Reading from S3 is measured on moto's server, which is not installed: install "
            "'moto[s3,server]' (it is one of this package's [dev] extras) or give --s3 "
            "s3://bucket/prefix."
        )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
    }
    before = {name: os.environ.get(name) for name in environment}
    try:
        _wait(server, port)
        os.environ.update(environment)
        yield f"s3://{BUCKET}/media"
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        server.terminate()
        server.wait(10)


def put(path: Path, prefix: str) -> MediaObject:
    """Store a file below a prefix and return it as the object that a listing would give."""
    uri = join(prefix, path.name)
    bucket, key = split_s3(uri)
    store = client(Storage())
    if bucket == BUCKET:
        store.create_bucket(Bucket=bucket)
    store.upload_file(str(path), bucket, key)
    told = store.head_object(Bucket=bucket, Key=key)
    return make_object(uri, told["ETag"], None, told["ContentLength"], told["LastModified"])


def _wait(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise UsageError("moto's server does not start; give --s3 s3://bucket/prefix.")
