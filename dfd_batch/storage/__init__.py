"""How storage is reached: local folders and S3-compatible buckets behind the same functions."""

from dfd_batch.storage.access import MAX_CONNECTIONS, client, filesystem, resolved
from dfd_batch.storage.errors import explain, raised
from dfd_batch.storage.files import exists, list_names, read_bytes, write_bytes
from dfd_batch.storage.uris import (
    FILE_SCHEME,
    S3_SCHEME,
    is_s3,
    join,
    local_etag,
    local_path,
    local_uri,
    split_s3,
)

__all__ = [
    "FILE_SCHEME",
    "MAX_CONNECTIONS",
    "S3_SCHEME",
    "client",
    "exists",
    "explain",
    "filesystem",
    "is_s3",
    "join",
    "list_names",
    "local_etag",
    "local_path",
    "local_uri",
    "raised",
    "read_bytes",
    "resolved",
    "split_s3",
    "write_bytes",
]
