"""A proxy before the S3 server that spoils what it is told to spoil: the network, and the store on its bad days.

``with FaultProxy(port) as proxy`` forwards what comes to ``proxy.endpoint``. ``proxy.plan(Fault.LOST, method="PUT")`` has the
next such request spoiled; ``down`` and ``up`` take the whole of it away and back.
"""

from __future__ import annotations

import http.client
import socket
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

_SLOW_PIECES = 20
_PAUSE_S = 0.01
_REQUESTS_KEPT = 100_000


class Fault(Enum):
    """What may happen to a request."""

    LOST = auto()
    """It is done, and the connection is reset instead of an answer."""
    SILENT_AFTER = auto()
    """It is done, and no answer comes."""
    SILENT = auto()
    """It is swallowed, and no answer comes."""
    RESET = auto()
    """The connection is reset before anything is done."""
    CUT_UPLOAD = auto()
    """The store gets half of the body, then nobody is there."""
    TRUNCATED = auto()
    """The answer breaks off in the middle of its body."""
    FLIPPED = auto()
    """One bit of the answer's body is another."""
    SLOW = auto()
    """The answer comes in small pieces, with pauses."""
    CONFLICT = 409, "ConditionalRequestConflict"
    PRECONDITION = 412, "PreconditionFailed"
    INTERNAL = 500, "InternalError"
    SLOW_DOWN = 503, "SlowDown"
    FORBIDDEN = 403, "AccessDenied"
    TIMED_OUT = 400, "RequestTimeout"


@dataclass(kw_only=True)
class Rule:
    """What is spoiled."""

    fault: Fault
    method: str | None
    containing: str
    skip: int
    times: int
    spoiled: int = 0
    """How many requests were, so far."""

    def takes(self, method: str, path: str) -> bool:
        """Whether this request is to be spoiled; counts it."""
        if self.times == 0 or self.method not in (None, method) or self.containing not in path:
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        self.spoiled += 1
        return True


@dataclass
class _State:
    upstream: int
    rules: list[Rule] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    released: threading.Event = field(default_factory=threading.Event)
    requests: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=_REQUESTS_KEPT))


class FaultProxy:
    """One proxy on a free port. A context manager."""

    def __init__(self, upstream_port: int) -> None:
        self._state = _State(upstream_port)
        self._server: _Server | None = None
        self.port = 0

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.down()

    @property
    def endpoint(self) -> str:
        """Its address, which stays the same."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def requests(self) -> list[tuple[str, str]]:
        """Method and path of every request so far."""
        return list(self._state.requests)

    def plan(self, fault: Fault, *, method: str | None = None, containing: str = "", skip: int = 0, times: int = 1) -> Rule:
        """Have requests spoiled: ``times`` of those with this method and ``containing`` in their path, after ``skip`` others.

        ``times=-1``: all. The first rule that fits counts.
        """
        rule = Rule(fault=fault, method=method, containing=containing, skip=skip, times=times)
        with self._state.lock:
            self._state.rules.append(rule)
        return rule

    def clear(self) -> None:
        """Spoil nothing any more, and close the connections on which somebody waits in silence."""
        with self._state.lock:
            self._state.rules.clear()
        self._state.released.set()
        self._state.released = threading.Event()

    def down(self) -> None:
        """Be gone: connections are closed, new ones refused."""
        if self._server is not None:
            self.clear()
            self._server.end()
            self._server = None

    def up(self) -> None:
        """Be there, at the same address as before."""
        if self._server is None:
            self._server = _Server(self.port, self._state)
            self.port = self._server.server_port


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, state: _State) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.state = state
        self._connections: set[socket.socket] = set()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def end(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()
        for connection in list(self._connections):
            _reset(connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # whoever asked has gone, which is what they do


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 0

    def handle_any(self) -> None:
        assert isinstance(self.server, _Server)
        state = self.server.state
        state.requests.append((self.command, self.path))
        with state.lock:
            fault = next((rule.fault for rule in state.rules if rule.takes(self.command, self.path)), None)
        released = state.released
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if fault is not None and isinstance(fault.value, tuple):
            self._refuse(*fault.value)
        elif fault is Fault.RESET:
            self._hang_up()
        elif fault is Fault.SILENT:
            released.wait()
            self._hang_up()
        elif fault is Fault.CUT_UPLOAD:
            self._forward(body, cut=len(body) // 2)
            self._hang_up()
        else:
            status, headers, answer = self._forward(body)
            if fault is Fault.SILENT_AFTER:
                released.wait()
            if fault in (Fault.LOST, Fault.SILENT_AFTER):
                self._hang_up()
            else:
                self._answer(status, headers, answer, fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any

    def _forward(self, body: bytes, *, cut: int | None = None) -> tuple[int, list[tuple[str, str]], bytes]:
        assert isinstance(self.server, _Server)
        connection = http.client.HTTPConnection("127.0.0.1", self.server.state.upstream)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "expect"):
                    connection.putheader(name, value)
            connection.endheaders(body[:cut])
            if cut is not None:
                return 0, [], b""
            answer = connection.getresponse()
            headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP_BY_HOP]
            return answer.status, headers, answer.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, fault: Fault | None) -> None:
        if fault is Fault.FLIPPED and body:
            body = bytes([body[0] ^ 1]) + body[1:]
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if self.command != "HEAD" and not any(name.lower() == "content-length" for name, _ in headers):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if fault is Fault.TRUNCATED:
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self._hang_up()
        elif fault is Fault.SLOW:
            step = max(1, len(body) // _SLOW_PIECES)
            for start in range(0, len(body), step):
                self.wfile.write(body[start : start + step])
                self.wfile.flush()
                time.sleep(_PAUSE_S)
        else:
            self.wfile.write(body)

    def _refuse(self, status: int, code: str) -> None:
        body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>as planned</Message></Error>'.encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        _reset(self.connection)

    def log_message(self, format: str, *args: Any) -> None:
        pass


_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding"}


def _reset(connection: socket.socket) -> None:
    """End a connection at once: whoever reads from it gets an error, not an end."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
