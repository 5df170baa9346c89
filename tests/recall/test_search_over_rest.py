"""The arguments of a search that only show in a request: what is refused, and what a hit looks like as JSON."""

from __future__ import annotations

from typing import Any

import pytest

from tests.service import Account


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"min_score": 1.5}, "min_score"),
        ({"signals": {"recency": 2}}, "signals.recency"),
        ({"signals": {"luck": 1}}, "signals.luck"),
        ({"signals": 1}, "signals"),
        ({"event_after": "yesterday"}, "event_after"),
        ({"created_before": "2024-01-01T00:00:00"}, "created_before"),
        ({"scope": {"type": "planet"}}, "scope.type"),
        ({"scope": {"type": "global", "id": "x"}}, "scope.id"),
        ({"compact": "yes"}, "compact"),
        ({"filter": {"colour": {"eq": 1}}}, "filter"),
    ],
)
def test_a_bad_argument_is_named(account: Account, fields: dict[str, Any], field: str) -> None:
    answer = account.post("/v1/search", json={"query": "x", **fields})

    assert answer.status_code == 400
    assert answer.json()["field"].startswith(field)


def test_every_argument_is_taken_and_a_compact_hit_is_short(account: Account) -> None:
    created = account.create("Ana: We met at the pier.", event_time="2023-05-08T09:00:00Z", tags=["sea"])
    fields = {
        "min_score": 0.01,
        "signals": {"session": 1, "dates": 0.5, "form": 0, "recency": 0.5, "importance": 1, "links": 1},
        "event_after": "2023-01-01T00:00:00Z",
        "event_before": "2024-01-01T00:00:00+02:00",
        "created_after": "2020-01-01T00:00:00Z",
        "created_before": "2999-01-01T00:00:00Z",
        "scope": {"type": "global"},
        "filter": {"tags": {"contains": "sea"}},
        "compact": True,
    }
    (hit,) = account.search("when did we meet at the pier in May 2023", **fields)

    assert {**hit, "score": 0} == {
        "id": created["id"], "score": 0, "type": "note", "tags": ["sea"], "excerpt": "Ana: We met at the pier."
    }  # fmt: skip
