"""Acting on objects of a bucket; versions, locks, and stores that do less than S3 are expected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from dfd_batch.settings import Storage
from dfd_batch.storage.access import client
from dfd_batch.storage.acting import (
    CHUNK_BYTES,
    NO_VERSION,
    Head,
    Refused,
    Tags,
    changed,
    digest,
    taken,
)
from dfd_batch.storage.errors import explain
from dfd_batch.storage.uris import split_s3

MAX_TAGS = 10
ONE_COPY_BYTES = 5 * 10**9
"""Larger objects are copied in parts."""
_MISSING = {"NoSuchKey", "NoSuchVersion", "404", "MethodNotAllowed", "405"}
_CHANGED = {"PreconditionFailed", "412", "ConditionalRequestConflict"}
_DENIED = {"AccessDenied", "403"}
_UNKNOWN = {"NotImplemented", "501", "InvalidArgument", "InvalidRequest"}
_KEPT = ("ContentType", "CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage")


class S3Place:
    """Objects of buckets.

    Args:
        storage: How they are reached.
    """

    def __init__(self, storage: Storage) -> None:
        self._client = client(storage)

    def head(self, uri: str) -> Head | None:
        """Return the newest version of what lies there, or None."""
        with _refusing(uri):
            told = self._told(uri)
        if told is None:
            return None
        return Head(told["ETag"].strip('"'), told["ContentLength"], told.get("VersionId"))

    def tags(self, uri: str, head: Head) -> Tags:
        """Return an object's tags; none from a store that has none."""
        from botocore.exceptions import ClientError

        with _refusing(uri):
            try:
                found = self._client.get_object_tagging(**_named(uri, head))
            except ClientError as error:
                if _code(error) not in _UNKNOWN:
                    raise
                return {}
        return {tag["Key"]: tag["Value"] for tag in found["TagSet"]}

    def change_tags(self, uri: str, head: Head, change: Mapping[str, str | None]) -> None:
        """Read, merge, write, read back; S3 has no condition for tags, so it is looked at after."""
        before = self.tags(uri, head)
        merged = {k: v for k, v in (before | dict(change)).items() if v is not None}
        if merged != before:
            self._put_tags(uri, head, merged)
        now = self.head(uri)
        if now == head:
            return
        if head.pinned is None and now is not None:
            # another object took its place and got our tags: take them off again
            theirs = self.tags(uri, now)
            mine = {k for k, v in change.items() if v is not None and theirs.get(k) == v}
            if mine:
                self._put_tags(uri, now, {k: v for k, v in theirs.items() if k not in mine})
        raise changed(uri)

    def copy(self, uri: str, head: Head, to: str, new: bool = False) -> Head:
        """Copy the very version; compare sizes and ETags, or contents where these differ."""
        # not every store heeds the condition below, and copies in parts cannot carry it
        if new and self.head(to) is not None:
            raise taken(uri, to)
        with _refusing(uri):
            self._copy(uri, head, to, new)
        there = self.head(to)
        if there is None:
            raise Refused("failed", f"{uri}: its copy at {to} is not there.")
        # after the copy, for stores that leave them out or keep what was there before
        tags = self.tags(uri, head)
        if self.tags(to, there) != tags:
            self._put_tags(to, there, tags)
        same = there.size_bytes == head.size_bytes and (
            there.etag == head.etag or self._digest(uri, head) == self._digest(to, there)
        )
        if not same:
            raise Refused("failed", f"{uri}: its copy at {to} is not the same; it stays.")
        return there

    def remove(self, uri: str, head: Head, permanent: bool = False) -> None:
        """Remove it, if it is still the newest; a marker hides a version unless `permanent`."""
        now = self.head(uri)
        if now is None:
            raise Refused("missing", f"{uri}: it is not there (any more).")
        if now != head:
            raise changed(uri)
        bucket, key = split_s3(uri)
        try:
            with _refusing(uri):
                if head.pinned is None:
                    self._delete_if_same(bucket, key, head, permanent)
                elif permanent:
                    self._client.delete_object(Bucket=bucket, Key=key, VersionId=head.pinned)
                else:
                    self._hide(uri, bucket, key, head)
        except Refused as refusal:
            if refusal.kind == "denied" and self.is_locked(uri, head):
                raise Refused("locked", f"{uri}: the store holds it (object lock).") from refusal
            raise
        left = self.head(uri)
        if left == head:
            raise Refused("failed", f"{uri}: the store said that it was removed; it is there.")

    def is_locked(self, uri: str, head: Head) -> bool:
        """Return whether retention or a legal hold keeps a version from being removed."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            told = self._client.head_object(**_named(uri, head))
        except (BotoCoreError, ClientError):
            return False
        return "ObjectLockMode" in told or told.get("ObjectLockLegalHoldStatus") == "ON"

    def _told(self, uri: str) -> Any:
        from botocore.exceptions import ClientError

        bucket, key = split_s3(uri)
        try:
            return self._client.head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if _code(error) in _MISSING:
                return None
            raise

    def _put_tags(self, uri: str, head: Head, tags: Tags) -> None:
        if len(tags) > MAX_TAGS:
            raise Refused("failed", f"{uri}: with ours it would have more than {MAX_TAGS} tags.")
        told = [{"Key": key, "Value": value} for key, value in tags.items()]
        with _refusing(uri):
            self._client.put_object_tagging(**_named(uri, head), Tagging={"TagSet": told})
        if self.tags(uri, head) != tags:
            raise Refused("failed", f"{uri}: the store did not keep the tags.")

    def _copy(self, uri: str, head: Head, to: str, new: bool) -> None:
        source, (bucket, key) = _named(uri, head), split_s3(to)
        condition = {"CopySourceIfMatch": f'"{head.etag}"'}
        if head.size_bytes <= ONE_COPY_BYTES:
            asked = {"Bucket": bucket, "Key": key, "CopySource": source, **condition}
            if not (new and self._copy_new(uri, to, asked)):
                self._client.copy_object(**asked)
            return
        told = self._client.head_object(**source)
        kept = {name: told[name] for name in _KEPT if name in told}
        extra = {**kept, **condition, "Metadata": told["Metadata"]}
        self._client.copy(source, bucket, key, ExtraArgs=extra)

    def _copy_new(self, uri: str, to: str, asked: dict[str, Any]) -> bool:
        """Copy where nothing lies; False: the store or the client does not know the condition."""
        from botocore.exceptions import ClientError, ParamValidationError

        try:
            self._client.copy_object(**asked, IfNoneMatch="*")
        except ParamValidationError:
            return False
        except ClientError as error:
            if _code(error) in _UNKNOWN:
                return False
            if _code(error) in _CHANGED and self._told(to) is not None:
                raise taken(uri, to) from error
            raise
        return True

    def _delete_if_same(self, bucket: str, key: str, head: Head, permanent: bool) -> None:
        """Ask with all conditions, and with fewer where the store does not know one."""
        from botocore.exceptions import ClientError

        plain = {"Bucket": bucket, "Key": key}
        # not every store that keeps versions tells of this one
        named = {**plain, "VersionId": NO_VERSION} if permanent else plain
        ways = [{**named, "IfMatch": head.etag}, named]
        if permanent and head.version_id is None:
            ways.append(plain)
        for asked in ways[:-1]:
            try:
                self._client.delete_object(**asked)
                return
            except ClientError as error:
                if _code(error) not in _UNKNOWN:
                    raise
        self._client.delete_object(**ways[-1])

    def _hide(self, uri: str, bucket: str, key: str, head: Head) -> None:
        """Put a delete marker over the version, and take it off where it hides a newer one."""
        marker = self._client.delete_object(Bucket=bucket, Key=key).get("VersionId")
        listed = self._client.list_object_versions(Bucket=bucket, Prefix=key, MaxKeys=10)
        versions = [v["VersionId"] for v in listed.get("Versions", ()) if v["Key"] == key]
        if marker and versions and versions[0] != head.version_id:
            self._client.delete_object(Bucket=bucket, Key=key, VersionId=marker)
            raise changed(uri)

    def _digest(self, uri: str, head: Head) -> str:
        with _refusing(uri):
            body = self._client.get_object(**_named(uri, head))["Body"]
            return digest(body.iter_chunks(CHUNK_BYTES))


def _named(uri: str, head: Head) -> dict[str, str]:
    bucket, key = split_s3(uri)
    version = {} if head.pinned is None else {"VersionId": head.pinned}
    return {"Bucket": bucket, "Key": key, **version}


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code"))


@contextmanager
def _refusing(uri: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code = _code(error)
        if code in _CHANGED:
            raise changed(uri) from error
        kind = "missing" if code in _MISSING else "denied" if code in _DENIED else "failed"
        raise Refused(kind, str(explain(error, uri))) from error
    except BotoCoreError as error:
        raise Refused("failed", str(explain(error, uri))) from error
