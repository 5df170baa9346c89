"""One connection that any customer's requests are sent over: a whole HTTP client's own work would be part of the figures."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from http.client import HTTPConnection
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit
from uuid import uuid4


@dataclass(frozen=True, kw_only=True)
class Customer:
    """Who has signed up."""

    key: str
    database: str


class Caller:
    """A context manager."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._connection = HTTPConnection(address.hostname or "", address.port, timeout=600)

    def __enter__(self) -> Self:
        self.call("GET", "/health")  # from here on the connection is there
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._connection.close()

    def call(self, method: str, path: str, *, key: str = "", body: object = None) -> Any:
        """Send a request and return what it answered, which must be a success."""
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        self._connection.request(method, path, data, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {content[:300]!r}")
        return json.loads(content)

    def timed_ms(self, method: str, path: str, *, key: str, body: object = None) -> float:
        """Send a request that must succeed; return how many milliseconds its answer took."""
        began = time.perf_counter()
        self.call(method, path, key=key, body=body)
        return (time.perf_counter() - began) * 1000

    def sign_up(self) -> Customer:
        """Sign up someone new. The node hashes a password for it, some 50 ms of a core."""
        body = {"email": f"{uuid4().hex}@example.com", "password": "correct horse", "organization": "Test"}
        answer = self.call("POST", "/v1/signup", body=body)
        return Customer(key=answer["api_key"], database=answer["database"])
