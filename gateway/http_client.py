"""The command line's side of the HTTP interface: a connection with a key, and what an answer that is an error says."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import httpx

_TIMEOUT = httpx.Timeout(30.0, read=900.0)
"""A large import or restore is answered after minutes."""


class CallFailed(Exception):
    """What was asked for did not happen; the message says why."""


@contextlib.contextmanager
def connect(url: str, key: str) -> Iterator[httpx.Client]:
    """Yield a client that sends the key; ``CallFailed`` when nobody answers."""
    try:
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=_TIMEOUT) as client:
            yield client
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise CallFailed(f"{url} does not answer: {error}") from error
    except ValueError as error:  # a key that is no header value
        raise CallFailed("the key has characters that no key has") from error


def check(response: httpx.Response) -> httpx.Response:
    """Return an answer that is none of an error; ``CallFailed`` says what it is otherwise."""
    if response.is_error:
        raise CallFailed(explain(response))
    return response


def explain(response: httpx.Response) -> str:
    """Return in a line what an error says."""
    try:
        problem = response.json()
        message = problem.get("detail") or problem["title"]
    except (ValueError, KeyError, AttributeError):
        return f"the service answered {response.status_code}"
    return f"{message} ({problem.get('code', response.status_code)})"
