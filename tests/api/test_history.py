"""Versions, revert, the trash, conditions on a version, purges."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.answers import count, problem
from tests.service import Account, Service, wait_until


def change(account: Account, memory_id: int, **fields: Any) -> dict[str, Any]:
    answer = account.patch(f"/v1/memories/{memory_id}", json=fields)
    assert answer.status_code == 200, answer.text
    changed: dict[str, Any] = answer.json()
    return changed


def versions(account: Account, memory_id: int, **parameters: Any) -> dict[str, Any]:
    answer = account.get(f"/v1/memories/{memory_id}/versions", params=parameters)
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


def test_each_change_keeps_what_was_and_says_who_and_why(account: Account) -> None:
    memory_id = account.create("first", tags=["a"], metadata={"n": 1})["id"]
    change(account, memory_id, content="second", change_summary="it was wrong")
    change(account, memory_id, importance=0.9)

    page = versions(account, memory_id)
    key_ids = {key["id"] for key in account.get("/v1/keys").json()["keys"]}

    assert [(one["version"], one["content"]) for one in page["versions"]] == [(3, "second"), (2, "second"), (1, "first")]
    assert [one["change_summary"] for one in page["versions"]] == [None, "it was wrong", None]
    assert {one["changed_by"] for one in page["versions"]} <= key_ids
    assert page["next_before"] is None
    assert account.get(f"/v1/memories/{memory_id}/versions/1").json()["metadata"] == {"n": 1}


def test_a_change_that_changes_nothing_makes_no_version(account: Account) -> None:
    created = account.create("same", tags=["a", "b"], metadata={"a": 1}, event_time="2026-01-01T00:00:00Z")

    same = change(
        account, created["id"], content="same", tags=["a", "b", "a"], metadata={"a": 1}, event_time="2026-01-01T00:00:00Z"
    )

    assert same["version"] == 1
    assert len(versions(account, created["id"])["versions"]) == 1


def test_the_history_comes_in_pages(account: Account) -> None:
    memory_id = account.create("v1")["id"]
    for number in range(2, 8):
        change(account, memory_id, content=f"v{number}")

    seen, before = [], None
    while True:
        page = versions(account, memory_id, limit=3, **({} if before is None else {"before": before}))
        seen += [one["content"] for one in page["versions"]]
        if (before := page["next_before"]) is None:
            break

    assert seen == [f"v{number}" for number in range(7, 0, -1)]


def test_a_revert_is_a_new_version_that_is_found_again(account: Account) -> None:
    memory_id = account.create("the zebra crosses", workspace="a")["id"]
    change(account, memory_id, content="the lorry stops", workspace="b")

    answer = account.post(f"/v1/memories/{memory_id}/revert", json={"version": 1})

    assert (answer.status_code, answer.json()["version"], answer.headers["ETag"]) == (200, 3, '"3"')
    assert (answer.json()["content"], answer.json()["workspace"]) == ("the zebra crosses", "b")
    assert versions(account, memory_id)["versions"][0]["change_summary"] == "Reverted to version 1"
    assert [hit["memory"]["id"] for hit in account.search("zebra", mode="keyword")] == [memory_id]
    account.wait_for_embeddings()
    assert account.search("striped animal on the road", mode="semantic")[0]["memory"]["id"] == memory_id


def test_versions_of_what_is_not_there(account: Account) -> None:
    memory_id = account.create("one")["id"]

    problem(account.get("/v1/memories/999/versions"), 404, "not_found")
    problem(account.get(f"/v1/memories/{memory_id}/versions/2"), 404, "not_found", "version")
    problem(account.get(f"/v1/memories/{memory_id}/versions/x"), 404, "not_found")
    problem(account.post(f"/v1/memories/{memory_id}/revert", json={"version": 7}), 404, "not_found", "version")
    problem(account.post(f"/v1/memories/{memory_id}/revert", json={}), 400, "invalid", "version")
    problem(account.get(f"/v1/memories/{memory_id}/versions", params={"limit": 0}), 400, "invalid", "limit")
    problem(account.get(f"/v1/memories/{memory_id}/versions", params={"page": 2}), 400, "invalid", "page")


def test_a_change_for_another_version_is_refused(account: Account) -> None:
    created = account.post("/v1/memories", json={"content": "one"})
    path = f"/v1/memories/{created.json()['id']}"
    stale = created.headers["ETag"]
    changed = account.patch(path, json={"content": "two"}, headers={"If-Match": stale})

    refused = problem(account.patch(path, json={"content": "lost"}, headers={"If-Match": stale}), 412, "version_mismatch")
    problem(account.delete(path, headers={"If-Match": stale}), 412, "version_mismatch")
    problem(account.post(f"{path}/revert", json={"version": 1}, headers={"If-Match": stale}), 412, "version_mismatch")

    assert refused["version"] == 2
    assert account.get(path).headers["ETag"] == changed.headers["ETag"] == '"2"'
    assert account.get(path).json()["content"] == "two"
    assert account.patch(path, json={"content": "three"}, headers={"If-Match": "*"}).status_code == 200


@pytest.mark.parametrize("value", ["", "abc", '"x"', '"1", "2"', '"0"', "-1"])
def test_a_bad_if_match_is_named(account: Account, value: str) -> None:
    memory_id = account.create("one")["id"]

    problem(account.patch(f"/v1/memories/{memory_id}", json={}, headers={"If-Match": value}), 400, "invalid", "If-Match")


def test_the_trash_gives_back_what_was_deleted(account: Account) -> None:
    memory_id = account.create("a heron at the pond")["id"]
    deleted = account.delete(f"/v1/memories/{memory_id}").json()
    trash = account.get("/v1/memories", params={"in_trash": "true"}).json()["memories"]

    assert deleted["restorable_until"] > trash[0]["deleted_at"]
    assert [one["id"] for one in trash] == [memory_id]
    assert count(account) == 0
    problem(account.get(f"/v1/memories/{memory_id}/versions"), 404, "not_found")

    restored = account.post(f"/v1/memories/{memory_id}/restore")

    assert (restored.status_code, "deleted_at" in restored.json()) == (200, False)
    assert [hit["memory"]["id"] for hit in account.search("heron", mode="keyword")] == [memory_id]
    account.wait_for_embeddings()
    assert account.search("bird near water", mode="semantic")[0]["memory"]["id"] == memory_id
    problem(account.post(f"/v1/memories/{memory_id}/restore"), 404, "not_found")


def test_the_trash_can_be_emptied(account: Account) -> None:
    ids = [account.create(f"number {number}")["id"] for number in range(5)]
    for memory_id in ids[:3]:
        account.delete(f"/v1/memories/{memory_id}")

    assert account.request("DELETE", "/v1/trash").json() == {"erased": 3, "remaining": 0}
    problem(account.post(f"/v1/memories/{ids[0]}/restore"), 404, "not_found")
    assert count(account) == 2


def test_a_purge_leaves_nothing_in_the_files(account: Account, service: Service) -> None:
    planted = "Xylotomicwhimbrel"
    keep = account.create("something else stays")["id"]
    memory_id = account.create(f"{planted} one", tags=[f"{planted}-tag"], metadata={"k": f"{planted}-meta"})["id"]
    change(account, memory_id, content=f"{planted} two", change_summary=f"{planted} why")
    again = account.post("/v1/memories", json={"content": f"{planted} three"}, headers={"Idempotency-Key": "k1"}).json()["id"]
    account.post(f"/v1/memories/{keep}/links", json={"to_id": memory_id, "source_context": f"{planted} because"})
    account.search(planted)
    account.delete(f"/v1/memories/{again}")

    for purged in (memory_id, again):
        answer = account.delete(f"/v1/memories/{purged}", params={"purge": "true"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["gone_from_backups_at"]

    folder = service.tenant_folder(account)
    needles = [planted.lower().encode(), planted.lower()[:12].encode()]
    left = {
        path.name: needle
        for path in folder.rglob("*")
        if path.is_file()
        for needle in needles
        if needle in path.read_bytes().lower()
    }

    assert left == {}
    assert account.get(f"/v1/memories/{keep}").status_code == 200
    replay = account.post("/v1/memories", json={"content": f"{planted} three"}, headers={"Idempotency-Key": "k1"})
    problem(replay, 404, "not_found")


def test_bad_purges(account: Account) -> None:
    memory_id = account.create("one")["id"]

    problem(account.delete(f"/v1/memories/{memory_id}", params={"purge": "maybe"}), 400, "invalid", "purge")
    problem(account.delete(f"/v1/memories/{memory_id}", params={"forever": "true"}), 400, "invalid", "forever")
    problem(account.delete("/v1/memories/999", params={"purge": "true"}), 404, "not_found")


def test_an_expiry_is_set_and_taken_back(account: Account) -> None:
    path = f"/v1/memories/{account.create('fleeting')['id']}"

    set_to = account.put(f"{path}/expiration", json={"expires_at": "2100-01-01T00:00:00+01:00"}).json()
    assert (set_to["tier"], set_to["expires_at"]) == ("daily", "2099-12-31T23:00:00.000000Z")
    cleared = account.put(f"{path}/expiration", json={"ttl_seconds": 0}).json()
    assert (cleared["tier"], cleared["expires_at"]) == ("permanent", None)
    account.put(f"{path}/expiration", json={"ttl_seconds": 1})
    wait_until(lambda: account.get(path).status_code == 404)

    problem(account.put(f"{path}/expiration", json={}), 400, "invalid", "ttl_seconds")
    problem(account.put(f"{path}/expiration", json={"expires_at": "2020-01-01T00:00:00Z"}), 400, "invalid", "expires_at")
