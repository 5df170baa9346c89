"""Memories over REST: created, read, changed, deleted."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any, get_args

import httpx
import pytest

from engine.catalogue.memory import MemoryType
from tests.api.answers import JSON, count, problem
from tests.service import Account, wait_until

EVERY_FIELD: dict[str, Any] = {
    "content": "Die Bürokatze schläft\r\nauf dem\tDrucker. 😺",
    "type": "decision",
    "tags": ["office/cat", "Ünïcode", "a b"],
    "metadata": {"n": 1, "f": 0.1, "list": [None, True, "x"], "deep": {"er": {}}, "": "empty name", "big": 2**63 - 1},
    "importance": 0.25,
    "workspace": "my-work_1",
    "scope": {"type": "session", "id": "s/1"},
    "tier": "permanent",
    "event_time": "2026-03-01T12:00:00.250000Z",
}


def moment(text: str) -> datetime:
    """Return a time as every answer must write it: UTC, six decimals."""
    assert len(text) == len("2026-03-01T12:00:00.000000Z")
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ")


def change(account: Account, memory_id: int, **fields: Any) -> dict[str, Any]:
    answer = account.patch(f"/v1/memories/{memory_id}", json=fields)
    assert answer.status_code == 200, answer.text
    changed: dict[str, Any] = answer.json()
    return changed


def without_access(memory: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in memory.items() if name not in ("accessed_at", "access_count")}


def test_every_field_is_kept_and_read_back(account: Account) -> None:
    created = account.create(**EVERY_FIELD)

    assert {name: created[name] for name in EVERY_FIELD} == EVERY_FIELD
    assert without_access(account.get(f"/v1/memories/{created['id']}").json()) == without_access(created)


def test_only_content_is_needed_and_the_rest_has_defaults(account: Account) -> None:
    created = account.create("A fact")
    times = {created.pop("created_at"), created.pop("updated_at")}

    assert isinstance(created.pop("id"), int)
    assert len(times) == 1
    assert moment(times.pop())
    assert created == {
        "content": "A fact",
        "type": "note",
        "tags": [],
        "metadata": {},
        "importance": 0.5,
        "workspace": "default",
        "scope": {"type": "global", "id": None},
        "tier": "permanent",
        "version": 1,
        "accessed_at": None,
        "access_count": 0,
        "expires_at": None,
        "event_time": None,
        "content_hash": "sha256:" + hashlib.sha256(b"a fact").hexdigest(),
    }


@pytest.mark.parametrize("memory_type", get_args(MemoryType))
def test_every_type_is_known(account: Account, memory_type: str) -> None:
    assert len(get_args(MemoryType)) == 17
    assert account.create("x", type=memory_type)["type"] == memory_type


def test_a_tag_given_twice_is_kept_once_in_its_place(account: Account) -> None:
    assert account.create("x", tags=["b", "a", "b"])["tags"] == ["b", "a"]


@pytest.mark.parametrize(
    "content",
    [
        "a\u0000b",
        "\u0000",
        "\u202eabc\u202c",
        "\ufeffx",
        "e\u0301 \u00e9",
        "\r\n.\r\n",
        "🏴\U000e0067\U000e007f",
        "a\u2028b\u2029",
        "'\";--",
    ],
)
def test_unusual_characters_come_back_exactly(account: Account, content: str) -> None:
    """Also by list and search: ``length()`` of SQL stops at NUL, and so might a copy."""
    created = account.create(content, metadata={content: content}, tags=[content])

    assert (created["content"], created["metadata"], created["tags"]) == (content, {content: content}, [content])
    assert account.get(f"/v1/memories/{created['id']}").json()["content"] == content
    assert account.get("/v1/memories", params={"tag": content}).json()["memories"][0]["content"] == content


def test_reading_counts_accesses_but_listing_does_not(account: Account) -> None:
    memory_id = account.create("x")["id"]
    account.get(f"/v1/memories/{memory_id}")
    account.get("/v1/memories")
    read = account.get(f"/v1/memories/{memory_id}").json()
    again = account.get(f"/v1/memories/{memory_id}").json()

    assert read["access_count"] <= again["access_count"] <= 3  # counted in memory, written with the next write
    assert again["version"] == 1


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("2026-03-01T12:00:00+02:00", "2026-03-01T10:00:00.000000Z"),
        ("2026-03-01T00:30:00-05:30", "2026-03-01T06:00:00.000000Z"),
        ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
        ("2024-02-29T00:00:00z", "2024-02-29T00:00:00.000000Z"),
    ],
)
def test_event_times_are_stored_in_utc(account: Account, given: str, stored: str) -> None:
    assert account.create("x", event_time=given)["event_time"] == stored


@pytest.mark.parametrize(
    "given",
    [
        "2026-03-01T12:00:00",
        "2026-03-01",
        "2026-02-29T00:00:00Z",
        "yesterday",
        "",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59.999999-14:00",
        "10000-01-01T00:00:00Z",
    ],
)
def test_what_is_no_time_or_no_time_in_utc_is_refused(account: Account, given: str) -> None:
    problem(account.post("/v1/memories", json={"content": "x", "event_time": given}), 400, "invalid", "event_time")
    memory_id = account.create("x")["id"]
    problem(account.patch(f"/v1/memories/{memory_id}", json={"event_time": given}), 400, "invalid", "event_time")


def test_null_clears_an_event_time(account: Account) -> None:
    memory_id = account.create("x", event_time="2026-03-01T12:00:00Z")["id"]

    assert change(account, memory_id, importance=1)["event_time"] == "2026-03-01T12:00:00.000000Z"
    assert change(account, memory_id, event_time=None)["event_time"] is None


def test_a_daily_memory_lives_a_day_or_as_long_as_it_is_told(account: Account) -> None:
    for fields, seconds in (({}, 86400), ({"ttl_seconds": 60}, 60), ({"ttl_seconds": 315_360_000}, 315_360_000)):
        memory = account.create("x", tier="daily", **fields)

        assert moment(memory["expires_at"]) - moment(memory["created_at"]) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "fields",
    [
        {"ttl_seconds": 60},
        {"tier": "permanent", "ttl_seconds": 60},
        {"tier": "daily", "ttl_seconds": 0},
        {"tier": "daily", "ttl_seconds": -1},
        {"tier": "daily", "ttl_seconds": 315_360_001},
        {"tier": "daily", "ttl_seconds": 1.5},
    ],
)
def test_a_life_that_contradicts_its_tier_is_refused(account: Account, fields: dict[str, Any]) -> None:
    problem(account.post("/v1/memories", json={"content": "x", **fields}), 400, "invalid", "ttl_seconds")


def test_changing_tier_and_life(account: Account) -> None:
    memory_id = account.create("x")["id"]

    daily = change(account, memory_id, ttl_seconds=60)
    assert daily["tier"] == "daily"
    assert moment(daily["expires_at"]) - moment(daily["updated_at"]) == timedelta(seconds=60)

    kept = change(account, memory_id, content="y")
    assert kept["expires_at"] == daily["expires_at"]

    cleared = change(account, memory_id, ttl_seconds=0)
    assert (cleared["tier"], cleared["expires_at"]) == ("permanent", None)

    again = change(account, memory_id, tier="daily")
    assert moment(again["expires_at"]) - moment(again["updated_at"]) == timedelta(days=1)

    permanent = change(account, memory_id, tier="permanent")
    assert permanent["expires_at"] is None


def test_an_expired_memory_is_gone_everywhere(account: Account) -> None:
    memory_id = account.create("ephemeral walrus", tier="daily", ttl_seconds=1)["id"]
    kept = account.create("lasting otter")["id"]
    wait_until(lambda: account.get(f"/v1/memories/{memory_id}").status_code == 404)

    problem(account.patch(f"/v1/memories/{memory_id}", json={"ttl_seconds": 0}), 404, "not_found")
    problem(account.delete(f"/v1/memories/{memory_id}"), 404, "not_found")
    assert [memory["id"] for memory in account.get("/v1/memories").json()["memories"]] == [kept]
    assert [hit["memory"]["id"] for hit in account.search("ephemeral walrus")] == [kept]
    assert count(account) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("content", "new text"),
        ("type", "todo"),
        ("tags", ["new"]),
        ("metadata", {"new": [1]}),
        ("importance", 1.0),
        ("workspace", "elsewhere"),
        ("scope", {"type": "user", "id": "u"}),
        ("event_time", "2020-01-01T00:00:00.000000Z"),
    ],
)
def test_a_change_sets_one_field_and_leaves_the_others(account: Account, name: str, value: Any) -> None:
    before = account.create(**EVERY_FIELD)
    after = change(account, before["id"], **{name: value})
    free = {name, "version", "updated_at"} | ({"content_hash"} if name == "content" else set())

    assert after[name] == value
    assert after["version"] == 2
    assert moment(after["updated_at"]) > moment(before["updated_at"])
    assert {key: after[key] for key in after if key not in free} == {key: before[key] for key in before if key not in free}
    assert without_access(account.get(f"/v1/memories/{before['id']}").json()) == without_access(after)


def test_an_empty_change_changes_nothing(account: Account) -> None:
    before = account.create("x")

    assert without_access(change(account, before["id"])) == without_access(before)


@pytest.mark.parametrize("field", ["id", "version", "created_at", "updated_at", "content_hash", "access_count", "expires_at"])
def test_what_is_ours_to_set_can_not_be_set(account: Account, field: str) -> None:
    memory_id = account.create("x")["id"]

    problem(account.patch(f"/v1/memories/{memory_id}", json={field: 1}), 400, "invalid", field)
    problem(account.post("/v1/memories", json={"content": "x", field: 1}), 400, "invalid", field)


def test_a_changed_text_is_found_by_its_new_words_and_meaning_and_not_by_the_old(account: Account) -> None:
    changed = account.create("The office cat sleeps on the printer.")["id"]
    other = account.create("The kitten is fed from a bowl in the kitchen.")["id"]
    assert account.search("feline asleep at work", mode="semantic")[0]["memory"]["id"] == changed

    change(account, changed, content="Quarterly revenue rose by ten percent.")

    assert account.search("cat printer", mode="keyword") == []
    assert account.search("revenue", mode="keyword")[0]["memory"]["id"] == changed
    assert account.search("feline asleep at work", mode="semantic")[0]["memory"]["id"] == other
    assert account.search("financial growth", mode="semantic")[0]["memory"]["id"] == changed
    assert account.search("financial growth")[0]["memory"]["id"] == changed


def test_a_deleted_memory_is_gone_from_get_list_search_and_statistics(account: Account) -> None:
    gone = account.create("a purple walrus", tags=["walrus"], workspace="zoo", type="issue")["id"]
    kept = account.create("a green otter")["id"]

    assert account.delete(f"/v1/memories/{gone}").json()["deleted"] is True

    problem(account.get(f"/v1/memories/{gone}"), 404, "not_found")
    problem(account.delete(f"/v1/memories/{gone}"), 404, "not_found")
    assert [memory["id"] for memory in account.get("/v1/memories").json()["memories"]] == [kept]
    for mode in ("auto", "keyword", "semantic", "hybrid"):
        assert gone not in [hit["memory"]["id"] for hit in account.search("purple walrus", mode=mode)]
    stats = account.get("/v1/stats").json()
    assert (stats["memories"], stats["by_type"], stats["by_workspace"], stats["by_tag"]) == (1, {"note": 1}, {"default": 1}, {})


def test_an_id_is_not_used_again(account: Account) -> None:
    last = [account.create(f"note {n}")["id"] for n in range(3)][-1]
    account.delete(f"/v1/memories/{last}")

    assert account.create("another")["id"] > last


@pytest.mark.parametrize(
    "memory_id", ["0", "-1", "1.0", "2e0", "9007199254740991", "9007199254740992", "9" * 40, "x", "%00", "٣"]
)
def test_what_is_not_there_answers_like_what_is_anothers(account: Account, other_account: Account, memory_id: str) -> None:
    """Byte for byte: no caller learns from an answer that somebody else has a memory of that id."""
    foreign = [other_account.create(f"secret {n}")["id"] for n in range(3)][-1]

    def answers(identity: str) -> list[httpx.Response]:
        path = f"/v1/memories/{identity}"
        return [account.get(path), account.patch(path, content=b'{"content":"x"}', headers=JSON), account.delete(path)]

    for theirs, nobodys in zip(answers(str(foreign)), answers(memory_id), strict=True):
        problem(theirs, 404, "not_found")
        assert theirs.content == nobodys.content
        assert {*theirs.headers} == {*nobodys.headers}

    assert other_account.get(f"/v1/memories/{foreign}").json()["content"] == "secret 2"
