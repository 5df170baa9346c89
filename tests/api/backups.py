"""What the tests of backups share: writing so that it is in the store, telling the moment, and looking into the store alone."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from tenants.replica.history.rebuild import rebuild
from tenants.replica.stores import open_store
from tenants.replica.trees import Trees
from tests.service import Account, Service

HEADER = "Engram-Durability"
REPLICATED = {HEADER: "replicated"}


def create(account: Account, content: str, **fields: Any) -> dict[str, Any]:
    """Store a memory so that it is in the object store when this returns."""
    answer = account.post("/v1/memories", json={"content": content, **fields}, headers=REPLICATED)
    assert answer.status_code == 201, answer.text
    assert answer.headers[HEADER] == "replicated"
    memory: dict[str, Any] = answer.json()
    return memory


def moment(account: Account) -> str:
    """Return the moment of what was stored last with ``create``."""
    answer = account.get("/v1/backups")
    assert answer.status_code == 200, answer.text
    return str(answer.json()["replicated_to"])


def contents(account: Account) -> list[str]:
    """Return what the database's memories say, oldest first."""
    answer = account.get("/v1/memories?limit=500&sort=id")
    assert answer.status_code == 200, answer.text
    return [memory["content"] for memory in answer.json()["memories"]]


def restore(account: Account, at: str, mode: str, *, status: int = 200, **fields: Any) -> dict[str, Any]:
    """Restore and return the answer."""
    answer = account.post("/v1/restore", json={"at": at, "mode": mode, **fields}, timeout=120)
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    return body


def in_store(service: Service, account: Account) -> list[str]:
    """Return what the database's memories say, by the object store alone."""
    store = open_store((service.folder / "replica").as_uri(), {})
    with closing(store), tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "memory.db")
        rebuild(Trees(store, None, Path(folder)).of(account.database), path)
        with closing(sqlite3.connect(path)) as database:
            return [row[0] for row in database.execute("SELECT content FROM memories WHERE deleted_at IS NULL ORDER BY id")]
