"""Export files for the tests of import, written by hand."""

from __future__ import annotations

from typing import Any

from tests.service import Account

TIMES = {"created_at": "2026-03-21T12:52:55.123456789+00:00", "updated_at": "2026-03-22T08:00:00.000000001+00:00"}


def entry(number: int, content: str = "", **fields: Any) -> dict[str, Any]:
    """Return an entry with the fields that Engram's own importer demands, and no other."""
    plain = {
        "id": number,
        "content": content or f"entry {number}",
        "memory_type": "note",
        "tags": [],
        "metadata": {},
        "importance": 0.5,
        "workspace": "default",
        "tier": "permanent",
    }
    return plain | TIMES | fields


def file(*entries: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "version": "1.0",
        "exported_at": TIMES["created_at"],
        "memory_count": len(entries),
        "memories": list(entries),
    } | fields


def bring(account: Account, content: dict[str, Any]) -> dict[str, Any]:
    answer = account.post("/v1/import", json=content)
    assert answer.status_code == 200, answer.text
    outcome: dict[str, Any] = answer.json()
    return outcome
