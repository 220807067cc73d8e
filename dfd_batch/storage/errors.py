"""Errors of storage as one clear sentence: which object, why, what to do."""

from __future__ import annotations

import errno
import re
from typing import Any

from dfd_batch.outcomes import UsageError

_NEED_CREDENTIALS = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or the setting storage.profile, "
    "or storage.anonymous for a public bucket"
)

_BY_CODE = {
    "NoSuchBucket": "the bucket does not exist; check its name and the endpoint",
    "NoSuchKey": "there is no such object; check the key",
    "404": "there is no such bucket or object; check the name",
    "AccessDenied": "access is denied; the credentials need s3:ListBucket and s3:GetObject, "
    "and s3:PutObject for the output",
    "403": "access is denied; check the credentials and the bucket's policy",
    "InvalidAccessKeyId": "the store does not know this access key; check AWS_ACCESS_KEY_ID and "
    "the endpoint",
    "SignatureDoesNotMatch": "the secret key is wrong; check AWS_SECRET_ACCESS_KEY",
    "ExpiredToken": "the session token has expired; sign in again",
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it and try again",
    "PermanentRedirect": "the bucket lies in another region; set AWS_DEFAULT_REGION",
    "AuthorizationHeaderMalformed": "the bucket lies in another region; set AWS_DEFAULT_REGION",
    "SlowDown": "the store asks to slow down; try again later or raise storage.max_retries",
}

_BY_ERRNO = {
    errno.ENOENT: "it does not exist; check the path",
    errno.EACCES: "permission is denied; check the owner and mode",
    errno.EPERM: "permission is denied; check the owner and mode",
    errno.ENOTDIR: "part of the path is a file, not a folder",
    errno.EISDIR: "it is a folder, not a file",
    errno.ENOSPC: "no space is left on the device",
    errno.EROFS: "the file system is read-only",
}


def raised() -> tuple[type[Exception], ...]:
    """Return what boto3, s3fs, pyarrow and the operating system raise: to be explained."""
    from botocore.exceptions import BotoCoreError, ClientError
    from pyarrow import ArrowException

    return (BotoCoreError, ClientError, OSError, ArrowException)


def explain(error: BaseException, uri: str) -> UsageError:
    """Return one clear sentence for an error of storage: the URI, the cause, what to do.

    Args:
        error: What boto3, s3fs, pyarrow or the operating system raised.
        uri: The object or folder that was asked for.
    """
    if isinstance(error, UsageError):
        return error
    return UsageError(f"{_shown(uri)}: {_reason(error)}.")


def _reason(error: BaseException) -> str:
    from botocore import exceptions as boto

    if isinstance(error, boto.ClientError):
        return _client_reason(error)
    if isinstance(error, boto.ProfileNotFound):
        return f"{_plain(error)}; check storage.profile and the AWS configuration file"
    if isinstance(error, boto.SSLError):
        return f"TLS failed ({_plain(error)}); check the endpoint's certificate and https or http"
    if isinstance(error, boto.HTTPClientError | boto.ConnectionError):
        return f"the store cannot be reached ({_plain(error)}); check storage.endpoint_url"
    credentials = (
        boto.NoCredentialsError | boto.PartialCredentialsError | boto.CredentialRetrievalError
    )
    if isinstance(error, credentials | boto.TokenRetrievalError | boto.SSOError):
        return f"there are no usable S3 credentials ({_plain(error)}); {_NEED_CREDENTIALS}"
    remote = getattr(error, "cause", None)
    if isinstance(remote, Exception):
        return _reason(remote)  # Ray wraps what a worker raised
    cause = error.__cause__
    if isinstance(error, OSError) and isinstance(cause, boto.ClientError):
        return _client_reason(cause)  # s3fs turns S3's answer into an OSError
    if isinstance(error, OSError) and error.errno in _BY_ERRNO:
        return _BY_ERRNO[error.errno]
    if "411" in str(error) and "ength" in str(error):
        return (
            "the store refuses uploads without a length (HTTP 411); set "
            "AWS_REQUEST_CHECKSUM_CALCULATION=when_required"
        )
    return _plain(error)


def _client_reason(error: Any) -> str:
    """Return what a store's error answer means; its message may be empty, its code is not."""
    told = error.response.get("Error", {})
    code = str(told.get("Code") or "unknown error")
    if code in _BY_CODE:
        return f"{_BY_CODE[code]} ({code})"
    return _shown(f"the store answered {code}: {told.get('Message') or 'no message'}").rstrip(".")


def _plain(error: BaseException) -> str:
    """Return an error's first line, or its type where it says nothing."""
    lines = str(error).strip().splitlines()
    return _shown(lines[0]).rstrip(". ") if lines else type(error).__name__


def _shown(text: str) -> str:
    """Return a text without credentials that URLs or answers may carry."""
    text = re.sub(r"(?<=://)[^/\s@]+@", "", text)
    text = re.sub(r"\b(AKIA|ASIA)[A-Z0-9]{12,}\b", r"\1…", text)
    return re.sub(r"(?i)(X-Amz-(?:Signature|Credential|Security-Token)=)[^&\s\"]+", r"\1…", text)
