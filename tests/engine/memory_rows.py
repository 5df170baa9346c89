"""Rows of ``memories`` for tests below the tools."""

from __future__ import annotations

import json
from typing import Any

from engine.store import memories
from engine.store.database import Database

NOW = 1_790_000_000_000_000


def add(database: Database, content: str, **fields: Any) -> int:
    row: dict[str, Any] = {
        "content": content,
        "content_hash": memories.content_hash(content),
        "type": "note",
        "tags": "[]",
        "metadata": "{}",
        "importance": 0.5,
        "workspace": "default",
        "scope_type": "global",
        "tier": "permanent",
        "version": 1,
        "created_at": NOW,
        "updated_at": NOW,
    }
    given_fields = {name: json.dumps(value) if name in ("tags", "metadata") else value for name, value in fields.items()}
    return memories.insert(database.connection, row | given_fields)


def change(database: Database, memory_id: int, values: dict[str, str]) -> None:
    assignments = ", ".join(f"{name} = ?" for name in values)
    database.connection.execute(f"UPDATE memories SET {assignments} WHERE id = ?", (*values.values(), memory_id))
