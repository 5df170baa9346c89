"""Requests sent twice, batches, and memories that are known already."""

from __future__ import annotations

import threading
from typing import Any

import httpx
import pytest

from tests.api.answers import count, problem
from tests.service import Account


def post(account: Account, key: str, **fields: Any) -> httpx.Response:
    return account.post("/v1/memories", json={"content": "once", **fields}, headers={"Idempotency-Key": key})


def test_a_request_sent_again_is_answered_the_same_and_done_once(account: Account) -> None:
    first, again = post(account, "a-key"), post(account, "a-key")

    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert count(account) == 1
    assert post(account, "another").json()["id"] != first.json()["id"]


def test_a_key_belongs_to_one_request(account: Account) -> None:
    memory_id = post(account, "k").json()["id"]

    problem(post(account, "k", tags=["x"]), 422, "idempotency_key_reused", "Idempotency-Key")
    deletion = account.delete(f"/v1/memories/{memory_id}", headers={"Idempotency-Key": "k"})
    problem(deletion, 422, "idempotency_key_reused", "Idempotency-Key")
    assert count(account) == 1


def test_a_request_that_failed_may_be_sent_again(account: Account) -> None:
    problem(post(account, "k", tier="daily", ttl_seconds=0), 400, "invalid", "ttl_seconds")

    assert post(account, "k").status_code == 201


def test_keys_of_another_customer_are_other_keys(account: Account, other_account: Account) -> None:
    post(account, "k", tags=["mine"])

    assert post(other_account, "k").status_code == 201


def test_many_at_once_with_one_key_make_one_memory(account: Account) -> None:
    answers: list[httpx.Response] = []
    threads = [threading.Thread(target=lambda: answers.append(post(account, "race"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {answer.json()["id"] for answer in answers if answer.status_code == 201} == {answers[0].json()["id"]}
    assert count(account) == 1


@pytest.mark.parametrize("key", ["", "with space", "x" * 256])
def test_a_bad_key_is_named(account: Account, key: str) -> None:
    problem(post(account, key), 400, "invalid", "Idempotency-Key")


def test_a_batch_changes_deletes_and_repeats(account: Account) -> None:
    ids = [account.create(f"number {number}")["id"] for number in range(3)]
    body = {
        "create": [{"content": "a gull on the mast", "memory_type": "decision"}, {"content": "a crab under the stone"}],
        "update": [{"id": ids[0], "content": "an eel in the weir"}, {"id": ids[1], "importance": 1}],
        "delete": [ids[2]],
    }
    headers = {"Idempotency-Key": "batch"}

    first = account.post("/v1/memories/batch", json=body, headers=headers)
    again = account.post("/v1/memories/batch", json=body, headers=headers)
    done = first.json()

    assert first.status_code == 200, first.text
    assert first.content == again.content
    assert [one["type"] for one in done["created"]] == ["decision", "note"]
    assert [(one["id"], one["version"]) for one in done["updated"]] == [(ids[0], 2), (ids[1], 2)]
    assert done["deleted"] == [ids[2]]
    assert count(account) == 4
    assert account.get("/v1/stats").json()["pending_embeddings"] == 0
    assert account.search("seabird", mode="semantic")[0]["memory"]["id"] == done["created"][0]["id"]
    assert account.search("snake-like fish", mode="semantic")[0]["memory"]["id"] == ids[0]


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"create": [{"content": "ok"}, {"content": ""}]}, 400, "create[1].content"),
        ({"create": [{"content": "ok"}, {"content": "   "}]}, 400, "create[1].content"),
        ({"create": [{"content": "ok"}], "update": [{"id": 999, "importance": 1}]}, 404, "update[0]"),
        ({"create": [{"content": "ok"}], "delete": [999]}, 404, "delete[0]"),
        ({"create": [{"content": "ok", "ttl_seconds": 5}]}, 400, "create[0].ttl_seconds"),
        ({"create": [{"content": "x"}] * 1001}, 400, "create"),
        ({"create": [{"content": "x"}] * 600, "delete": list(range(1, 501))}, 400, "create"),
        ({"create": [{"content": "ok", "colour": "red"}]}, 400, "create[0].colour"),
        ({"delete": [1, 1]}, 400, None),
    ],
)
def test_a_batch_with_one_bad_part_does_nothing(account: Account, body: dict[str, Any], status: int, field: str | None) -> None:
    account.create("is here")

    answer = account.post("/v1/memories/batch", json=body)

    assert answer.status_code == status, answer.text
    if field is not None:
        assert answer.json()["field"] == field
    assert count(account) == 1


def test_a_batch_holds_a_thousand(account: Account) -> None:
    answer = account.post("/v1/memories/batch", json={"create": [{"content": f"number {n}"} for n in range(1000)]})

    assert len({one["id"] for one in answer.json()["created"]}) == 1000
    assert count(account) == 1000
    account.wait_for_embeddings()
    assert account.search("number 730", limit=1)[0]["memory"]["content"] == "number 730"


def dedupe(account: Account, how: str, **fields: Any) -> httpx.Response:
    return account.post("/v1/memories", json={"content": "The  Same\ntext", "dedupe": how, **fields})


def test_the_same_text_is_refused_shown_or_merged_as_wished(account: Account) -> None:
    known = account.create("the same TEXT", tags=["a"], metadata={"x": 1, "y": 1}, importance=0.2)

    refused = problem(dedupe(account, "reject"), 409, "duplicate", "content")
    shown = dedupe(account, "skip", tags=["never"])
    merged = dedupe(account, "merge", tags=["b", "a"], metadata={"y": 2}, importance=0.7)

    assert refused["id"] == known["id"]
    assert (shown.status_code, shown.json()["outcome"], shown.json()["tags"]) == (200, "existing", ["a"])
    assert (merged.status_code, merged.json()["outcome"], merged.json()["version"]) == (200, "merged", 2)
    assert (merged.json()["tags"], merged.json()["metadata"]) == (["a", "b"], {"x": 1, "y": 2})
    assert merged.json()["importance"] == 0.7
    assert count(account) == 1
    assert dedupe(account, "allow").status_code == 201
    assert account.post("/v1/memories", json={"content": "the same text", "dedup_mode": "reject"}).status_code == 409


@pytest.mark.parametrize("elsewhere", [{"workspace": "other"}, {"scope": {"type": "user", "id": "u"}}])
def test_the_same_text_elsewhere_is_no_duplicate(account: Account, elsewhere: dict[str, Any]) -> None:
    account.create("the same text")

    created = dedupe(account, "reject", **elsewhere)

    assert created.status_code == 201
    assert "outcome" not in created.json()


def test_what_was_deleted_is_no_duplicate(account: Account) -> None:
    memory_id = account.create("the same text")["id"]
    account.delete(f"/v1/memories/{memory_id}")

    assert dedupe(account, "skip").status_code == 201
