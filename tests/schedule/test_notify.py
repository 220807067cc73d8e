"""The webhook hears of a tick, and nobody else hears of the webhook's URL."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dfd_batch.outcomes import UsageError
from dfd_batch.schedule.notify import Untold, post, webhook_url
from dfd_batch.schedule.rules import Notify

SECRET = "T0k3n-in-the-path"


class Hook(ThreadingHTTPServer):
    """Answers with `statuses` in their order, the last one for ever, and keeps what it got."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.statuses = [200]
        self.got: list[tuple[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hooks/{SECRET}"


class _Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, json.loads(body)))
        statuses = self.server.statuses
        status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the tests' output clean."""


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Hook() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_what_passes_is_tried_again(hook: Hook, caplog: pytest.LogCaptureFixture) -> None:
    hook.statuses = [503, 429, 204]
    with caplog.at_level(logging.DEBUG):
        post(hook.url, {"text": "ü"}, Notify(retries=3))
    assert hook.got == [(f"/hooks/{SECRET}", {"text": "ü"})] * 3
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("status", "n_sent"), [(404, 1), (302, 1), (500, 2)], ids=["refused", "elsewhere", "broken"]
)
def test_what_does_not_arrive_is_said_without_the_url(
    status: int, n_sent: int, hook: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    hook.statuses = [status]
    with caplog.at_level(logging.DEBUG), pytest.raises(Untold, match=str(status)) as told:
        post(hook.url, {}, Notify(retries=1))
    assert len(hook.got) == n_sent
    assert SECRET not in f"{told.value} {told.value.__cause__} {caplog.text}"


def test_a_host_that_is_not_there_is_said_without_the_url(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Untold, match="not reached") as told:
        post(f"http://127.0.0.1:9/{SECRET}", {}, Notify(retries=1, timeout_s=2))
    assert SECRET not in f"{told.value} {told.value.__cause__} {caplog.text} {capfd.readouterr()}"


def test_the_url_comes_from_the_environment_or_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert webhook_url(Notify(url_env="A_HOOK")) is None
    monkeypatch.setenv("A_HOOK", f"https://hooks.example/{SECRET}")
    assert webhook_url(Notify(url_env="A_HOOK")) == f"https://hooks.example/{SECRET}"
    file = tmp_path / "url"
    file.write_text("https://other.example/x\n")
    assert webhook_url(Notify(url_env="A_HOOK", url_file=file)) == "https://other.example/x"
    with pytest.raises(ValidationError):
        Notify(url=f"https://hooks.example/{SECRET}")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "url", [SECRET, f"ftp://{SECRET}", f"https:///{SECRET}", f"http://[{SECRET}"]
)
def test_what_is_no_url_is_refused_and_not_shown(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_HOOK", url)
    with pytest.raises(UsageError, match="A_HOOK") as told:
        webhook_url(Notify(url_env="A_HOOK"))
    assert SECRET not in str(told.value)
