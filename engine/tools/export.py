"""Exports: a file in pieces, all of one moment, or a few memories in one answer."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from itertools import chain, islice

import msgspec

from engine.catalogue.transfer import INLINE_BYTES_MAX, Exported, ExportFile, MemoryExport
from engine.protocol import Request
from engine.store import exports, sqlite_copy
from engine.store.database import Database
from engine.store.exports import Record
from engine.store.selection import Selection
from engine.tools.export_format import FORMATS

_CHUNK_BYTES = 64 * 1024
"""Made in one or two milliseconds, after which somebody else may have a turn."""

_MORE = "GET /v1/export has everything, as a file."


def stream_file(database: Database, arguments: ExportFile, request: Request) -> Generator[bytes]:
    """Yield the export file in pieces; while a SQLite file is being built, empty ones.

    The snapshot is the one of this moment, however long the reader takes.
    """
    now = database.now()
    selection = Selection(workspace=arguments.workspace)
    if arguments.format == "sqlite":
        with database.snapshot() as connection:
            yield from sqlite_copy.stream(connection, database.path.parent, database.space, selection, now)
        return
    with database.snapshot() as connection:
        form = FORMATS[arguments.format]()
        piece = bytearray(form.head(exports.moment(now), exports.count(connection, selection, now)))
        for kind, fields in exports.everything(connection, selection, now):
            piece += form.record(kind, fields)
            if len(piece) >= _CHUNK_BYTES:
                yield bytes(piece)
                piece.clear()
        yield bytes(piece) + form.tail()


def inline(database: Database, arguments: MemoryExport, request: Request) -> Exported:
    """Return as many memories as one answer may hold, with those links and versions that still fit beside them."""
    connection, now = database.connection, database.now()
    selection = Selection(workspace=arguments.workspace)
    room = _Room(INLINE_BYTES_MAX)
    found = exports.memories(connection, selection, now)
    taken = room.fill(islice(found, arguments.limit))
    is_whole = not room.is_full and next(found, None) is None
    ids = [fields["id"] for _, fields in taken]
    beside = chain(exports.links(connection, selection, now, ids), exports.past_versions(connection, selection, now, ids))
    records = taken + room.fill(beside)
    form = FORMATS[arguments.format]()
    pieces = [form.head(exports.moment(now), len(taken)), *(form.record(*record) for record in records), form.tail()]
    text = b"".join(pieces)
    answer = Exported(memory_count=len(taken), truncated=not is_whole or room.is_full)
    if arguments.format == "json":
        answer.data = msgspec.json.decode(text)
    else:
        answer.text = text.decode()
    if answer.truncated:
        answer.more = _MORE
    return answer


class _Room:
    """What an answer still holds, in bytes of JSON."""

    def __init__(self, size: int) -> None:
        self._left = size
        self.is_full = False

    def fill(self, records: Iterable[Record]) -> list[Record]:
        """Return the records up to the first that does not fit; nothing fits after it."""
        fitting: list[Record] = []
        for record in records:
            self._left -= len(msgspec.json.encode(record[1]))
            self.is_full = self.is_full or self._left < 0
            if self.is_full:
                break
            fitting.append(record)
        return fitting
