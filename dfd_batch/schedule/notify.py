"""Telling a webhook, without telling anybody its URL: in most services that is the password."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from dfd_batch import __version__
from dfd_batch.outcomes import UsageError
from dfd_batch.schedule.rules import Notify

RETRIED = (429, 500, 502, 503, 504)


class Untold(Exception):  # noqa: N818 - the tick's work is done
    """The webhook could not be told; why, without its URL."""


def webhook_url(rules: Notify) -> str | None:
    """Return where the summary goes, or None where nobody wants it.

    Raises:
        UsageError: There is no such file, or it is no http(s) URL (which is not shown).
    """
    if rules.url_file is not None:
        name = f"notify.url_file {rules.url_file}"
        try:
            url = rules.url_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise UsageError(f"{name} cannot be read.") from None
    else:
        name, url = rules.url_env, os.environ.get(rules.url_env, "").strip()
        if not url:
            return None
    try:
        parts = urlsplit(url)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        valid = False
    if not valid:
        raise UsageError(f"{name} does not hold an http:// or https:// URL.")
    return url


def post(url: str, document: dict[str, Any], rules: Notify) -> None:
    """Send a document as JSON; what may be of passing nature is tried again, ever later.

    Raises:
        Untold: It did not arrive.
    """
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    again = Retry(
        total=rules.retries,
        redirect=0,
        status_forcelist=RETRIED,
        allowed_methods=None,  # POST as well: to hear of a tick twice does no harm
        backoff_factor=1.0,
        backoff_jitter=0.5,
        raise_on_status=False,
    )
    try:
        with _silent(), requests.Session() as session:
            session.mount(f"{urlsplit(url).scheme}://", HTTPAdapter(max_retries=again))
            answer = session.post(
                url,
                json=document,
                headers={"User-Agent": f"dfd-batch/{__version__}"},
                timeout=rules.timeout_s,
                allow_redirects=False,  # the document is for this host alone
            )
    except requests.RequestException as error:
        raise Untold(f"the webhook was not reached ({_kind(error)})") from None
    if not answer.ok or answer.is_redirect:
        raise Untold(f"the webhook answered {answer.status_code}")


def _kind(error: BaseException) -> str:
    """Return the name of the first cause; messages hold the URL."""
    reason = error.args[0] if error.args else None
    inner = getattr(reason, "reason", None)
    return type(inner if isinstance(inner, Exception) else error).__name__


@contextmanager
def _silent() -> Iterator[None]:
    """Keep urllib3, which logs the path of what it tries again, from saying so."""
    loud = [logging.getLogger(f"urllib3.{name}") for name in ("connectionpool", "util.retry")]
    before = [logger.disabled for logger in loud]
    for logger in loud:
        logger.disabled = True
    try:
        yield
    finally:
        for logger, was in zip(loud, before, strict=True):
            logger.disabled = was
