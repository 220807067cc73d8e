"""An HTTP server on loopback that stands before an S3 server and spoils what it is told to.

In tests `FaultyStore` runs in a thread with rules; `python -m tests.s3.proxy PORT UPSTREAM_PORT`
is one that spoils nothing and can be killed and started again, as a store that goes away and
comes back with all its objects.
"""

from __future__ import annotations

import http.client
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive", "date", "server"}


@dataclass(frozen=True)
class Refuse:
    """Answer an S3 error instead of asking the store."""

    status: int
    code: str


@dataclass(frozen=True)
class Reset:
    """Break the connection off by RST, after some bytes of the body."""

    after_bytes: int = 0


@dataclass(frozen=True)
class Cut:
    """End the body early, with the whole length announced."""

    after_bytes: int


@dataclass(frozen=True)
class Trickle:
    """Send the body in pieces with pauses between them."""

    piece_bytes: int
    pause_s: float


@dataclass(frozen=True)
class Unconditional:
    """Ask the store without the request's conditions, as one that does not know them."""


CONDITIONS = {"if-match", "if-none-match"}
Fault = Refuse | Reset | Cut | Trickle | Unconditional
Rule = Callable[[str, str, int], Fault | None]
"""(method, path with query, how often this rule saw such a request before) -> what goes wrong."""


class FaultyStore(ThreadingHTTPServer):
    """The proxy; `rule` may be changed at any time, `seen` lists (method, path)."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, upstream_port: int, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.upstream_port = upstream_port
        self.rule: Rule = lambda method, path, n: None
        self.seen: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def fault(self, method: str, path: str) -> Fault | None:
        n_before = self.seen.count((method, path))
        self.seen.append((method, path))
        return self.rule(method, path, n_before)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are what this is for."""

    @contextmanager
    def serving(self) -> Iterator[FaultyStore]:
        thread = threading.Thread(target=self.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.shutdown()
            self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyStore

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.fault(self.command, self.path)
        if isinstance(fault, Refuse):
            told = f"<Error><Code>{fault.code}</Code><Message>by the test</Message></Error>"
            self._answer(fault.status, [("Content-Type", "application/xml")], told.encode(), None)
            return
        if fault == Reset():
            self._reset()
            return
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.upstream_port, timeout=60)
        try:
            headers = dict(self.headers)
            if fault == Unconditional():
                headers = {k: v for k, v in headers.items() if k.lower() not in CONDITIONS}
            upstream.request(self.command, self.path, body or None, headers)
            answer = upstream.getresponse()
            self._answer(answer.status, answer.getheaders(), answer.read(), fault)
        finally:
            upstream.close()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _any  # noqa: N815

    def _answer(
        self, status: int, headers: list[tuple[str, str]], body: bytes, fault: Fault | None
    ) -> None:
        self.send_response(status)
        given = {name.lower() for name, _ in headers}
        for name, value in headers:
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        if "content-length" not in given:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        match fault:
            case Trickle():
                for at in range(0, len(body), fault.piece_bytes):
                    self.wfile.write(body[at : at + fault.piece_bytes])
                    self.wfile.flush()
                    time.sleep(fault.pause_s)
            case Cut() | Reset():
                self.wfile.write(body[: fault.after_bytes])
                self.wfile.flush()
                self.close_connection = True
                if isinstance(fault, Reset):
                    self._reset()
            case _:
                self.wfile.write(body)

    def _reset(self) -> None:
        linger_0 = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_0)
        self.close_connection = True
        self.connection.close()

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the tests' output clean."""


if __name__ == "__main__":
    FaultyStore(int(sys.argv[2]), int(sys.argv[1])).serve_forever()
