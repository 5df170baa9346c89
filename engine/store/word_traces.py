"""Erases what FTS5's ``secure-delete`` leaves of a term: the separators of its b-tree.

``secure-delete`` takes a term out of the leaf pages, but not out of ``memories_fts_idx``, which names for each leaf page the
shortest text that parts it from the page before. That is the beginning of the term that was first on the page, or all of it.
It is replaced by the first term that is there now, which parts the two pages just as well. A merge that is under way has taken
away pages at a segment's front, and leaves their separators until it has come to its end; those are of no more use to anybody.

The page's format is FTS5's (fts5_index.c, "Segment Leaf Format"), the same in versions 4 and 5 of its files. The index's own
integrity check compares every separator with its page.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apsw
import msgspec

from engine.store.tokenizer import Tokenizer

_TEXTS = """
    SELECT content || char(10) || tags || char(10) || workspace || char(10) || metadata
    FROM memories_indexed WHERE id IN (SELECT value FROM json_each(?))
"""
_WRITE_OUT = "SELECT 1 FROM memories_vocabulary WHERE term = ''"
"""Whoever reads the vocabulary has FTS5 write out first what it still holds in memory of this transaction."""

_SEPARATORS = """
    SELECT DISTINCT i.segid, i.term, i.pgno
    FROM (SELECT CAST(?1 || value AS BLOB) AS key FROM json_each(?2)) AS gone
    CROSS JOIN (SELECT DISTINCT segid FROM memories_fts_idx) AS segment
    CROSS JOIN memories_fts_idx AS i ON i.segid = segment.segid AND i.term =
        (SELECT max(term) FROM memories_fts_idx WHERE segid = segment.segid AND term <= gone.key)
    WHERE length(i.term) > length(?1) AND substr(gone.key, 1, length(i.term)) = i.term
"""
_PAGE = "SELECT block FROM memories_fts_data WHERE id = ?"
_DROP = "DELETE FROM memories_fts_idx WHERE segid = ? AND term = ?"
_REPLACE = "UPDATE memories_fts_idx SET term = ? WHERE segid = ? AND term = ?"

_TERMS = "0"
"""What FTS5 puts before each term of the index proper; others begin those of prefix indexes, of which there are none."""

_SEGMENT_BITS = 37
"""A page's row has the segment above these bits and the page's number below."""


@contextlib.contextmanager
def erased(connection: apsw.Connection, ids: Sequence[int]) -> Iterator[None]:
    """Erase what the index keeps of words that these memories hold before the block and no longer after it.

    Whoever changes or deletes memories does so inside. It runs in their transaction.
    """
    before = _terms(connection, ids) if ids else set()
    yield
    if before and (gone := before - _terms(connection, ids)):
        _erase(connection, gone)


def _terms(connection: apsw.Connection, ids: Sequence[int]) -> set[str]:
    """Return the terms that the index holds of some memories."""
    stems = Tokenizer(connection).stems
    rows = connection.execute(_TEXTS, (msgspec.json.encode(ids).decode(),))
    return {stem for (text,) in rows for stem in stems(str(text))}


def _erase(connection: apsw.Connection, of: Iterable[str]) -> None:
    """Erase the traces of those terms that no memory holds any more.

    A term that is held still is not looked for, which would take reading all its places: where it stands first on its page, the
    separator stays, and where another does, the separator says nothing that the page doesn't.
    """
    connection.execute(_WRITE_OUT).fetchall()
    named = msgspec.json.encode(list(of)).decode()
    useless: list[tuple[int, bytes]] = []
    traces: list[tuple[bytes, int, bytes]] = []
    found: list[tuple[Any, ...]] = connection.execute(_SEPARATORS, (_TERMS, named)).fetchall()
    for segment, separator, numbered in found:
        page = connection.execute(_PAGE, ((segment << _SEGMENT_BITS) + (numbered >> 1),)).get  # the lowest bit is a flag
        if page is None:
            useless.append((segment, separator))
        elif not (first_term := _first_term(page)).startswith(separator):
            traces.append((first_term, segment, separator))
    if not useless and not traces:
        return
    # Tables of an index are not to be written by any SQL, so that none can damage it; this one is meant.
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 0)
    try:
        connection.executemany(_DROP, useless)
        connection.executemany(_REPLACE, traces)
    finally:
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)


def _first_term(block: bytes) -> bytes:
    """Return the first term that starts on a leaf page: its offset stands first in the page's footer."""
    footer = int.from_bytes(block[2:4], "big")
    offset, _ = _varint(block, footer)
    length, start = _varint(block, offset)
    return block[start : start + length]


def _varint(block: bytes, at: int) -> tuple[int, int]:
    """Return one of SQLite's variable-length integers, and where it ends. Those of a page have three bytes at most."""
    value = 0
    for position in range(at, at + 3):
        value = value << 7 | block[position] & 0x7F
        if not block[position] & 0x80:
            return value, position + 1
    raise apsw.CorruptError("a page of the word index has no first term")
