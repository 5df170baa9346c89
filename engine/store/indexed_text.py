"""What of a memory goes into the word index, and in which form: SQL functions that triggers and the index's view call.

They must be deterministic for good: the index can only forget a row when it is told the very text that it was given.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apsw
import msgspec

from engine.recall.segmentation import search_text

INDEXED_METADATA_CHARACTERS_MAX = 4096
"""Metadata says things about a memory; what is longer than a page is a document in the wrong place."""

UNINDEXED_NAMES = frozenset(
    {f"{name}{ending}" for name in ("session", "conversation", "thread", "turn", "dia") for ending in ("", "_id", "Id")}
)
"""They say where a memory stands, not what it is about: ``session_3`` would answer every question with a 3 in it."""


def register(connection: apsw.Connection) -> None:
    """Make ``search_text`` and ``search_metadata`` known to a connection."""
    functions: dict[str, Any] = {"search_text": search_text, "search_metadata": search_metadata}
    for name, function in functions.items():
        connection.create_scalar_function(name, function, 1, deterministic=True, flags=apsw.SQLITE_INNOCUOUS)


def search_metadata(metadata: str) -> str:
    """Return what of a memory's metadata (JSON) can be found by its words: its texts and numbers, however deep.

    Names are left out, because a name that every memory has tells none from another, and so are true, false and null.
    """
    if metadata == "{}":
        return ""
    return search_text("\n".join(_leaves(msgspec.json.decode(metadata)))[:INDEXED_METADATA_CHARACTERS_MAX])


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            if name not in UNINDEXED_NAMES:
                yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)
