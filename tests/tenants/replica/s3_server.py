"""A real S3 server for tests: moto's, in a process of its own, over HTTP on a free port.

S3 decides about a condition and writes in one step; moto looks first and writes then, in as many threads as there are requests.
So writes are let in one at a time here, each with its whole body read before.

Run as a program it prints its port and serves until it is told to end, or its parent does.
"""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from typing import Any, Self

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "not-a-secret"}
"""The server takes any."""

BUCKET = "engram-tests"


class S3Server:
    """One running server. A context manager."""

    def __init__(self) -> None:
        self.port = 0
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.tenants.replica.s3_server", str(os.getpid())],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(self, *exc_info: object) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        self._process.terminate()
        self._process.wait(30)
        self._process.stdout.close()

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"


def store_url(endpoint: str, prefix: str, *, bucket: str = BUCKET) -> str:
    """Return the address of a place in a bucket of the server, or of a proxy before it."""
    return f"s3://{bucket}/{prefix}?endpoint={endpoint}&region=us-east-1"


class _OneWriteAtATime:
    """WSGI: around moto's application."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self._writing = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] not in ("PUT", "POST", "DELETE"):
            reading: Iterable[bytes] = self._application(environ, start_response)
            return reading
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length)
        if len(body) < length:  # whoever sent it has gone
            start_response("400 Bad Request", [("Content-Length", "0")])
            return []
        environ["wsgi.input"] = io.BytesIO(body)
        with self._writing:
            return list(self._application(environ, start_response))


def main() -> None:
    """Serve."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    from engine.process import die_with_parent

    die_with_parent(int(sys.argv[1]))
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    # Connections stay open, as S3's do.
    handler = type("Handler", (MotoRequestHandler,), {"protocol_version": "HTTP/1.1"})
    application = _OneWriteAtATime(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=handler)
    print(server.port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
