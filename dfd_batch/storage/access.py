"""The clients that reach storage, made from the settings.

S3 files are opened for pyarrow and Ray through s3fs, not through pyarrow's own client: that one
knows no profiles and fails on stores without `aws-chunked` uploads (HTTP 411 on Ceph) unless the
environment of every worker is right, while the s3fs object carries its settings when it is
pickled into a worker. Credentials are never part of it; each process asks the usual AWS chain.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from dfd_batch.outcomes import UsageError
from dfd_batch.settings import Storage
from dfd_batch.settings import explain as explain_settings
from dfd_batch.storage.errors import explain
from dfd_batch.storage.uris import is_s3, local_path, split_s3

if TYPE_CHECKING:
    import pyarrow.fs

MAX_CONNECTIONS = 32
CONNECT_TIMEOUT_S = 10.0


def resolved(storage: Storage) -> Storage:
    """Return the settings with the endpoint that this process would use.

    The processes of a cluster have an environment of their own: what `AWS_ENDPOINT_URL` says here
    must travel with the settings, or they ask another store.

    Raises:
        UsageError: The endpoint of the environment holds a password.
    """
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if storage.endpoint_url or not endpoint:
        return storage
    try:
        return Storage(**storage.model_dump() | {"endpoint_url": endpoint})
    except ValidationError as error:
        raise UsageError(f"AWS_ENDPOINT_URL: {explain_settings(error)}") from None


def client(storage: Storage) -> Any:
    """Return a thread-safe boto3 S3 client, one per process and settings.

    Raises:
        UsageError: The profile or the endpoint does not exist or is not valid.
    """
    chain = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE", "AWS_ACCESS_KEY_ID")
    return _client(storage, os.getpid(), *(os.environ.get(name) for name in chain))


@functools.lru_cache(maxsize=8)
def _client(storage: Storage, *_process_and_environment: object) -> Any:
    import boto3
    from botocore.exceptions import BotoCoreError

    try:
        session = boto3.session.Session(profile_name=storage.profile)
        return session.client("s3", endpoint_url=storage.endpoint_url, config=_config(storage))
    except (BotoCoreError, ValueError) as error:
        raise explain(error, storage.endpoint_url or "S3") from error


def _config(storage: Storage) -> Any:
    from botocore import UNSIGNED
    from botocore.config import Config

    unsigned = {"signature_version": UNSIGNED} if storage.anonymous else {}
    return Config(**_config_options(storage), **unsigned)


def _config_options(storage: Storage) -> dict[str, Any]:
    return {
        # standard: exponential back-off on 503 SlowDown, which legacy retries give up on early
        "retries": {"mode": "standard", "max_attempts": storage.max_retries},
        "connect_timeout": min(CONNECT_TIMEOUT_S, storage.read_timeout_s),
        "read_timeout": storage.read_timeout_s,
        "max_pool_connections": MAX_CONNECTIONS,
        # Ceph, Swift and older stores refuse the checksums that botocore sends by default
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
    }


def filesystem(uri: str, storage: Storage) -> tuple[pyarrow.fs.FileSystem, str]:
    """Return the filesystem and the path that pyarrow and Ray read and write a URI with.

    The filesystem can be pickled into Ray workers and carries endpoint, profile and retries.
    """
    import pyarrow.fs

    if not is_s3(uri):
        return pyarrow.fs.LocalFileSystem(), os.path.abspath(local_path(uri))  # noqa: PTH100
    import s3fs

    bucket, key = split_s3(uri)
    files = s3fs.S3FileSystem(
        anon=storage.anonymous,
        endpoint_url=resolved(storage).endpoint_url,
        config_kwargs=_config_options(storage),
        use_listings_cache=False,  # reports appear while we look
        **({"profile": storage.profile} if storage.profile else {}),
    )
    handler = pyarrow.fs.FSSpecHandler(files)
    return pyarrow.fs.PyFileSystem(handler), f"{bucket}/{key}".rstrip("/")
