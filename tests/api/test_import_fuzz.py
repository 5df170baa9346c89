"""Files that nobody would write: each is taken whole, or refused with a 4xx that says where, and nothing of it is kept."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.api.errors import CODES, Problem
from gateway.import_formats import records
from tests.api.answers import count
from tests.api.files import entry, file
from tests.service import Account, Service

MOMENT = "2026-01-01T00:00:00Z"
DOCUMENT = file(
    entry(1, tags=["a"], metadata={"k": [1, None]}, engram_cloud={"version": 3, "expires_at": None}),
    entry(2, scope_type="user", scope_id="anna", tier="daily"),
    entry(2**53 - 1, "far out"),
) | {
    "engram_cloud": {
        "links": [{"from_id": 1, "to_id": 2, "edge_type": "blocks", "strength": 0.5, "created_at": MOMENT}],
        "versions": [entry(1, "before") | {"memory_id": 1, "version": 1}],
    }
}
HUGE = st.sampled_from([2**53, 2**63 - 1, 2**63, 2**64, 10**40, -1, -(2**63) - 1, 1e308, -0.0])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | HUGE | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
ODD = st.sampled_from(
    ["\x00", "\ud800", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "transcriptchunk", "x" * 300, MOMENT, "1", ""]
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to each value of a document."""
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from paths(inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from paths(inner, (*path, number))


PATHS = [path for path in paths(DOCUMENT) if path]


def changed(path: tuple[Any, ...], value: Any, *, remove: bool) -> dict[str, Any]:
    """Return the document with one value replaced or removed."""
    document = copy.deepcopy(DOCUMENT)
    place: Any = document
    for step in path[:-1]:
        place = place[step]
    if remove:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return document


@pytest.fixture(scope="module")
def fuzzed(service: Service) -> Iterator[Account]:
    with service.sign_up() as account:
        yield account


def check(account: Account, answer: httpx.Response, before: int) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    if answer.status_code == 200:
        assert count(account) == before + body["imported"] <= before + len(DOCUMENT["memories"])
        for memory_id in [memory["id"] for memory in account.get("/v1/memories?limit=500").json()["memories"]]:
            account.delete(f"/v1/memories/{memory_id}", params={"purge": "true"})
    else:
        assert answer.status_code in (400, 413), (answer.status_code, body)
        assert body["field"]
        assert count(account) == before
    return body


FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(path=st.sampled_from(PATHS), value=VALUES | ODD, remove=st.booleans())
@example(path=("memories", 0, "metadata"), value={"k": 2**64}, remove=False)
@example(path=("memories", 0, "created_at"), value="9999-12-31T23:59:59-14:00", remove=False)
def test_one_value_that_is_not_as_it_should_be(fuzzed: Account, path: tuple[Any, ...], value: Any, remove: bool) -> None:
    before = count(fuzzed)
    content = json.dumps(changed(path, value, remove=remove)).encode("utf-8", "surrogatepass")
    answer = fuzzed.post("/v1/import", content=content, headers={"Content-Type": "application/json"})
    body = check(fuzzed, answer, before)

    if answer.status_code != 200 and path[0] == "memories" and len(path) > 2:
        # Removing a memory that a link names is the link's fault.
        assert body["field"].startswith((f"memories[{path[1]}]", "engram_cloud.")), body


@FUZZ
@given(
    form=st.sampled_from(["json", "jsonl", "markdown", ""]),
    cut=st.integers(0, len(json.dumps(DOCUMENT))),
    noise=st.binary(max_size=6),
)
def test_a_file_with_a_piece_missing_or_noise_inside(fuzzed: Account, form: str, cut: int, noise: bytes) -> None:
    before = count(fuzzed)
    whole = json.dumps(DOCUMENT).encode()
    content = whole[:cut] + noise + (whole[cut + len(noise) :] if noise else b"")
    parameters = {"format": form} if form else {}
    headers = {"Content-Type": "application/octet-stream"}
    check(fuzzed, fuzzed.post("/v1/import", content=content, params=parameters, headers=headers), before)


@pytest.mark.parametrize("depth", [100, 10_000, 1_000_000])
@pytest.mark.parametrize("place", ["metadata", "unknown"])
def test_deep_nesting(fuzzed: Account, place: str, depth: int) -> None:
    plain = json.dumps(file(entry(1, **{place: {"a": "here"}})))
    content = plain.replace('"here"', "[" * depth + "]" * depth)
    before = count(fuzzed)
    answer = fuzzed.post("/v1/import", content=content, headers={"Content-Type": "application/json"})
    body = check(fuzzed, answer, before)

    assert answer.status_code == 200 or body["field"].startswith("memories[0]")


MARKS = [b"---\n", b'version: "1.0"\n', b"<!-- engram:memory -->\n", b"<!-- engram:end -->\n", b"id: 1\n"]


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(["json", "jsonl", "markdown", None]),
    st.binary(max_size=40)
    | st.text(alphabet='{}[]",:\n-ab1 ', max_size=60).map(str.encode)
    | VALUES.map(lambda value: json.dumps(value).encode())
    | st.lists(st.sampled_from(MARKS), max_size=8).map(b"".join),
)
def test_bytes_of_no_meaning_are_a_problem_of_the_clients(form: Any, content: bytes) -> None:
    try:
        for _ in records(content, form):
            pass
    except Problem as problem:
        assert 400 <= CODES[problem.code][0] < 500
