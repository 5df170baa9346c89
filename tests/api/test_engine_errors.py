"""What an engine's error becomes in HTTP: always a problem of ours, whatever the engine says."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.protocol import ErrorCode, RemoteError
from gateway.api.errors import CODES, body, from_remote, response

PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=600)
DETAILS = st.dictionaries(
    st.sampled_from(["field", "limit", "retry_after", "id", "status", "type", "title", "code", "detail", "headers", "url"]),
    PLAIN | st.lists(PLAIN, max_size=3) | st.dictionaries(st.text(), PLAIN, max_size=3),
)
OURS = {"type", "title", "status", "code", "detail"}
SHOWN = {"field", "metric", "limit", "current", "version", "entry", "id", "retry_after"}


@given(st.sampled_from(ErrorCode), st.text(max_size=50), DETAILS)
def test_whatever_the_details_the_problem_is_ours(code: ErrorCode, message: str, details: dict[str, Any]) -> None:
    error = RemoteError(code, message)
    error.details = details
    problem = from_remote(error)
    document = msgspec.json.decode(msgspec.json.encode(body(problem)))
    status, title = CODES[problem.code]

    assert (document["status"], document["title"], document["type"]) == (status, title, "about:blank")
    assert document["code"] == problem.code
    assert document.keys() <= OURS | SHOWN
    assert response(problem).status_code == status
    for name, value in problem.headers.items():
        assert name == "Retry-After"
        assert value.isdecimal()
        assert 1 <= int(value) <= 3600


@pytest.mark.parametrize(
    ("given_wait", "header"),
    [(5, "5"), (0.2, "1"), (1e308, "1"), (float("nan"), "1"), (-1, "1"), ("x", "1"), ([3], "1"), (True, "1"), (10**6, "3600")],
)
def test_a_wait_is_whole_seconds(given_wait: Any, header: str) -> None:
    error = RemoteError(ErrorCode.UNAVAILABLE, "later", retry_after=given_wait)

    assert from_remote(error).headers == {"Retry-After": header}


def test_an_engine_that_broke_the_protocol_is_a_bad_gateway() -> None:
    problem = from_remote(RemoteError(ErrorCode.BROKEN, "the answer can't be used"))

    assert (problem.code, CODES[problem.code][0], problem.headers) == ("engine_failed", 502, {})
