"""``GET /v1/backups``: what is in the store, and how far back one can go."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from quotas.plans import PLANS
from tests.api.answers import problem
from tests.api.backups import create, moment
from tests.service import Account, wait_until

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def test_what_was_written_is_told_of(account: Account) -> None:
    first = create(account, "first")
    state = account.get("/v1/backups").json()

    assert state["replicating"] is True
    assert state["store"] == "directory"
    assert state["encrypted"] is False
    assert state["retention_seconds"] == PLANS["enterprise"].recovery_s
    assert (state["backlog"], state["lag_ms"]) == ({"files": 0, "bytes": 0}, 0)
    assert state["last_snapshot_at"] is None
    assert state["last_verified_at"] is None
    assert "verification_error" not in state
    assert state["earliest"] <= state["replicated_to"] == state["latest"]
    assert all(_RFC3339.fullmatch(state[name]) for name in ("earliest", "latest", "replicated_to"))
    captured_after = datetime.fromisoformat(state["replicated_to"]) - datetime.fromisoformat(first["created_at"])
    assert captured_after > -timedelta(milliseconds=1)  # a moment of capture has no microseconds


def test_it_goes_on_by_itself_soon_after_a_write(account: Account) -> None:
    create(account, "first")
    before = moment(account)
    account.create("second, and nobody waits for it")

    wait_until(lambda: moment(account) > before)


def test_a_database_without_a_memory_can_be_asked_too(account: Account) -> None:
    state = account.get("/v1/backups").json()

    assert state["replicating"] is True
    assert state["backlog"]["files"] >= 0


def test_it_is_for_keys_that_may_read(account: Account) -> None:
    key = account.post("/v1/keys", json={"name": "writer", "scopes": ["write"]}).json()["key"]
    with Account(str(account.base_url), key, account.database) as writer:
        problem(writer.get("/v1/backups"), 403, "forbidden")


def test_a_parameter_that_nobody_knows_is_refused(account: Account) -> None:
    problem(account.get("/v1/backups?at=now"), 400, "invalid", "at")


def test_what_is_purged_is_gone_from_backups_when_the_plan_looks_back_no_further(account: Account) -> None:
    memory = account.create("a secret")
    answer = account.delete(f"/v1/memories/{memory['id']}?purge=true").json()
    kept = datetime.fromisoformat(answer["gone_from_backups_at"]) - datetime.fromisoformat(memory["created_at"])

    assert kept >= timedelta(seconds=PLANS["enterprise"].recovery_s)
