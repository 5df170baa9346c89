"""``POST /v1/restore``: a look at the past, a copy of it, and the way back to it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from engine.protocol.moment import to_text
from tenants.replica.history.timeline import earliest_ms
from tests.api.answers import problem
from tests.api.backups import contents, create, in_store, moment, restore
from tests.service import Account, Service
from tests.tenants.replica.histories import set_ahead
from tests.tenants.replica.replicating import tree_at


@pytest.fixture
def changed(account: Account) -> tuple[Account, str]:
    """A database in which much has happened since a moment."""
    for content in ("stays", "is changed", "is deleted", "is purged"):
        create(account, content)
    at = moment(account)
    account.patch("/v1/memories/2", json={"content": "was changed"}).raise_for_status()
    account.delete("/v1/memories/3").raise_for_status()
    account.delete("/v1/memories/4?purge=true").raise_for_status()
    account.create("made since")
    return account, at


def test_a_preview_says_what_would_change_and_changes_nothing(changed: tuple[Account, str]) -> None:
    account, at = changed
    before = contents(account)
    done = restore(account, at, "preview")

    assert (done["added"], done["changed"], done["deleted"]) == (1, 1, 1)
    examples = {example["id"]: (example["change"], example["content"]) for example in done["examples"]}
    assert examples == {3: ("added", "is deleted"), 2: ("changed", "is changed"), 5: ("deleted", "made since")}
    assert done["restored_to"] == at
    assert contents(account) == before


def test_a_fork_is_a_database_of_its_own(changed: tuple[Account, str]) -> None:
    account, at = changed
    before = contents(account)
    done = restore(account, at, "fork", status=201, name="Before the accident")

    assert done["restored_to"] == at
    assert done["database"] != account.database
    with Account(str(account.base_url), done["api_key"], done["database"]) as fork:
        assert contents(fork) == ["stays", "is changed", "is deleted"]  # what was purged does not come back
        create(fork, "of the fork")
        assert [hit["memory"]["content"] for hit in fork.search("of the fork", mode="keyword")] == ["of the fork"]
        assert [key["name"] for key in fork.get("/v1/keys").json()["keys"]] == ["first key"]
    assert contents(account) == before


def test_a_fork_is_in_the_store_without_what_was_purged_before_its_key_is_told(
    service: Service, changed: tuple[Account, str]
) -> None:
    """Lost with its disk right then, it must not come back with what its source has purged."""
    account, at = changed
    done = restore(account, at, "fork", status=201)
    with Account(str(account.base_url), done["api_key"], done["database"]) as fork:
        assert in_store(service, fork) == ["stays", "is changed", "is deleted"]


def test_a_restore_in_place_can_be_taken_back(changed: tuple[Account, str]) -> None:
    account, at = changed
    before = contents(account)
    done = restore(account, at, "in_place")

    assert done["restored_to"] == at
    assert contents(account) == ["stays", "is changed", "is deleted"]
    new = create(account, "made after the restore")
    assert new["id"] == 6  # an id is never given twice

    restore(account, done["undo_at"], "in_place")
    assert contents(account) == before


@pytest.mark.usefixtures("models")
def test_it_can_be_taken_back_where_the_clock_was_fast_and_is_set_back(tmp_path: Path) -> None:
    """Then the last moment before it lies in the future, and may be asked for as the only one."""
    with Service(tmp_path) as service, service.sign_up() as account:
        create(account, "first")
        create(account, "second")
        key, database = account.key, account.database
    with tree_at(tmp_path, (tmp_path / "replica").as_uri(), database) as tree:
        set_ahead(tree, 3_600_000)
        first_ms = earliest_ms(tree)
    assert first_ms is not None

    with Service(tmp_path) as service, Account(service.url, key, database) as account:
        create(account, "third")
        later = (datetime.fromisoformat(moment(account)) + timedelta(minutes=1)).isoformat()
        problem(account.post("/v1/restore", json={"at": later, "mode": "preview"}), 400, "invalid", "at")
        done = restore(account, to_text(1000 * first_ms), "in_place")
        assert contents(account) == ["first"]
        restore(account, done["undo_at"], "in_place")
        assert contents(account) == ["first", "second", "third"]


def test_what_was_written_just_now_is_part_of_the_past(account: Account) -> None:
    create(account, "first")
    account.create("second, and nobody waited for it")
    written = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    done = restore(account, written, "preview")

    # It was captured within the flush before the restore, or up to then: at the latest, a moment after it was asked for.
    assert (done["added"], done["changed"]) == (0, 0)
    assert done["deleted"] <= 1


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no moment": ({"mode": "preview"}, "at"),
    "no time": ({"at": "yesterday", "mode": "preview"}, "at"),
    "a number": ({"at": 1_700_000_000, "mode": "preview"}, "at"),
    "no time zone": ({"at": "2026-03-21T12:52:55", "mode": "preview"}, "at"),
    "outside the calendar": ({"at": "0001-01-01T00:00:00+05:00", "mode": "preview"}, "at"),
    "long ago": ({"at": "1999-01-01T00:00:00Z", "mode": "preview"}, "at"),
    "no mode": ({"at": "2026-03-21T12:52:55Z"}, "mode"),
    "another mode": ({"at": "2026-03-21T12:52:55Z", "mode": "undo"}, "mode"),
    "a name for nothing": ({"at": "2026-03-21T12:52:55Z", "mode": "in_place", "name": "x"}, "name"),
    "another field": ({"at": "2026-03-21T12:52:55Z", "mode": "preview", "to": "x"}, "to"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_by_name(account: Account, name: str) -> None:
    body, field = BAD[name]
    account.create("first")

    problem(account.post("/v1/restore", json=body), 400, "invalid", field)


def test_the_future_is_refused(account: Account) -> None:
    at = (datetime.now(UTC) + timedelta(hours=1)).isoformat()

    problem(account.post("/v1/restore", json={"at": at, "mode": "preview"}), 400, "invalid", "at")


def test_a_moment_before_the_first_says_which_is_the_first(account: Account) -> None:
    create(account, "first")
    earliest = account.get("/v1/backups").json()["earliest"]
    at = (datetime.fromisoformat(earliest) - timedelta(seconds=1)).isoformat()
    refused = problem(account.post("/v1/restore", json={"at": at, "mode": "fork"}), 400, "invalid", "at")

    assert refused["earliest"] == earliest
    assert earliest in refused["detail"]


def test_it_is_for_keys_with_the_scope_admin(account: Account) -> None:
    key = account.post("/v1/keys", json={"name": "usual", "scopes": ["read", "write"]}).json()["key"]
    with Account(str(account.base_url), key, account.database) as other:
        at = "2026-03-21T12:52:55Z"
        problem(other.post("/v1/restore", json={"at": at, "mode": "preview"}), 403, "forbidden")


@pytest.mark.parametrize("name", ["", "   ", "a\nb", "x" * 101])
def test_a_bad_name_makes_no_fork(account: Account, name: str) -> None:
    create(account, "first")
    body = {"at": moment(account), "mode": "fork", "name": name}

    problem(account.post("/v1/restore", json=body), 400, "invalid", "name")
