"""Reads an export file and brings it into a database: looked through first, then staged in batches, revealed at once.

The file is mapped and its records are found without being decoded, so that memory holds one batch, however large the file.
How much one batch stages is for the engine to say, by the clock; the next one is of the size that it had time for. It is put
together from small pieces with a pause after each, because everybody's requests pass through this process.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

from engine.catalogue import Operation
from engine.catalogue.export_file import Entry, FileFormat, LinkEntry, VersionEntry
from engine.catalogue.export_markdown import Kind
from engine.catalogue.transfer import (
    IMPORT_BATCH_MAX,
    IMPORT_BEGIN,
    IMPORT_COMMIT,
    IMPORT_END,
    IMPORT_ID_MAP,
    IMPORT_LINKS,
    IMPORT_SETTLE,
    IMPORT_STAGE,
    IMPORT_VERSIONS,
    ImportBegin,
    Imported,
    ImportIdMap,
    ImportLinks,
    ImportNamed,
    ImportStage,
    ImportVersions,
)
from engine.catalogue.values import out_of_range
from engine.protocol import ErrorCode, RemoteError
from gateway.api.errors import Problem, from_remote, from_validation, invalid
from gateway.execution import Execution
from gateway.import_formats import PLACES, records
from tenants.registry.keys import Principal

_BATCH_BYTES_MAX = 512 * 1024
"""Decoded in some milliseconds by the engine, before its clock for the batch begins to run."""

_BATCH_FIRST = 64
"""Entries in the first batch; the engine's answer says whether it has time for more."""

_PIECE_ENTRIES = 32
_PIECE_BYTES = 64 * 1024
"""Found and decoded at a time: about a millisecond of work, or one large entry."""

_PAUSE_S = 0.001
"""After each piece. The server's own threads get at the interpreter only while it is idle."""

_UNUSUAL = re.compile(rb'[0-9]{19}|"0001-|"9999-|\\u')
"""Without any of these a record holds no number over 64 bits and no time that UTC has no date for: most need no closer look."""

_STEP_MS = 60_000
_TRIES = 4
_RETRY_S = 0.25

_SETTLE_S = 600.0
"""How long the answer to an import waits for its last rows to be put in order; a million take some minutes."""

_CLEAR_S = 1.0
"""How long the answer to a failed import waits for its traces to be erased; later writes erase the rest."""

_DECODERS: dict[Kind, msgspec.json.Decoder[Any]] = {
    "memory": msgspec.json.Decoder(Entry),
    "link": msgspec.json.Decoder(LinkEntry),
    "version": msgspec.json.Decoder(VersionEntry),
}
_NOT_ANSWERED = (ErrorCode.UNAVAILABLE, ErrorCode.LOST, ErrorCode.DRAINING, ErrorCode.OVERLOADED, ErrorCode.TOO_MANY)


class Batch(NamedTuple):
    """Records of one kind that follow each other in the file."""

    kind: Kind
    first: int
    """The number of the first among those of its kind."""
    entries: list[Any]
    size: int = 0
    """Bytes that the records have in the file."""


class ImportFile:
    """One file on its way into one database."""

    def __init__(self, descriptor: int, given: FileFormat | None, principal: Principal, execution: Execution) -> None:
        if os.fstat(descriptor).st_size == 0:
            raise invalid("body", "is empty")
        # Never closed by hand: the traceback of an error may hold views of it. It goes with the last of them.
        self._content = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        self._given = given
        self._principal = principal
        self._execution = execution
        self._size = _BATCH_FIRST

    async def bring_in(self) -> AsyncGenerator[bytes]:
        """Import the file, then yield the answer in pieces: ``Imported`` as JSON. A bad record is named; nothing is imported.

        The answer is not made before it is read, because it may name a million ids.
        """
        for _ in self._pieces(checked=False):  # a bad file is refused before anything of it is stored
            await asyncio.sleep(_PAUSE_S)
        staged = await self._operate(IMPORT_BEGIN, ImportBegin())
        named = ImportNamed(import_id=staged.import_id)
        try:
            await self._stage_everything(staged.import_id)
            committed = await self._operate(IMPORT_COMMIT, named)
        except BaseException as error:
            await asyncio.shield(self._give_up(named))
            if isinstance(error, RemoteError):
                raise _explained(error) from error
            raise
        self._execution.note_pending(self._principal)
        await self._settle(named, _SETTLE_S)
        await self._execution.settle(self._principal)
        outcome = Imported(imported=committed.imported, skipped=committed.skipped)
        yield msgspec.json.encode(outcome).removesuffix(b"}}")
        async for piece in self._changed_ids(staged.import_id):
            yield piece
        yield b"}}"
        with suppress(RemoteError):  # what is left of it, the engine clears away after an hour
            await self._operate(IMPORT_END, named)

    async def _stage_everything(self, import_id: int) -> None:
        """Stage batch by batch, cutting the next one while the engine works on the one before."""
        batches = _Batches(self._pieces())
        batch = await batches.next(self._size)
        while batch is not None:
            left, following = await asyncio.gather(self._stage(import_id, batch), batches.next(self._size))
            while left is not None and (following is None or following.kind != "memory" or len(left.entries) >= self._size):
                left = await self._stage(import_id, left)
            if left is not None and following is not None:
                following = Batch("memory", left.first, left.entries + following.entries)
            batch = following

    async def _stage(self, import_id: int, batch: Batch) -> Batch | None:
        """Stage a batch; return what of it the engine had no time for."""
        first, entries = batch.first, batch.entries
        if batch.kind == "link":
            await self._operate(IMPORT_LINKS, ImportLinks(import_id=import_id, first=first, links=entries))
            return None
        if batch.kind == "version":
            await self._operate(IMPORT_VERSIONS, ImportVersions(import_id=import_id, first=first, versions=entries))
            return None
        sent = entries[:IMPORT_BATCH_MAX]
        staged = await self._operate(IMPORT_STAGE, ImportStage(import_id=import_id, first=first, entries=sent))
        taken = staged.next - first
        if taken <= 0:
            raise RemoteError(ErrorCode.UNAVAILABLE, "the engine does not take the import on", retry_after=1)
        # As much as it took; a little more as long as it takes all.
        self._size = min(IMPORT_BATCH_MAX, taken if taken < len(sent) else taken + _BATCH_FIRST)
        return Batch("memory", staged.next, entries[taken:]) if taken < len(entries) else None

    def _pieces(self, *, checked: bool = True) -> Iterator[Batch]:
        """Yield the file in small batches, decoded; ``Problem`` names a bad record unless all are ``checked``."""
        numbers: dict[Kind, int] = {"memory": 0, "link": 0, "version": 0}
        piece: list[Any] = []
        size, current = 0, None
        for kind, text in records(self._content, self._given):
            if piece and current is not None and (kind != current or len(piece) >= _PIECE_ENTRIES or size >= _PIECE_BYTES):
                yield Batch(current, numbers[current] - len(piece), piece, size)
                piece, size = [], 0
            current = kind
            piece.append(_DECODERS[kind].decode(text) if checked else _check(kind, text, numbers[kind]))
            numbers[kind] += 1
            size += len(text)
        if piece and current is not None:
            yield Batch(current, numbers[current] - len(piece), piece, size)

    async def _changed_ids(self, import_id: int) -> AsyncIterator[bytes]:
        """Yield the members of ``id_map`` in pieces."""
        after, separator = 0, b""
        while page := (await self._operate(IMPORT_ID_MAP, ImportIdMap(import_id=import_id, after=after))).ids:
            if page[-1][0] <= after:
                raise RemoteError(ErrorCode.BROKEN, "the answer goes in circles")
            yield separator + b",".join(b'"%d":%d' % pair for pair in page)
            after, separator = page[-1][0], b","

    async def _give_up(self, named: ImportNamed) -> None:
        give_up_at = time.monotonic() + _CLEAR_S
        with suppress(RemoteError):  # what can't be cleared away now, the engine clears away by itself
            await self._operate(IMPORT_END, named)
            await self._settle(named, give_up_at - time.monotonic())

    async def _settle(self, named: ImportNamed, patience_s: float) -> None:
        """Have the engine do what is left to do, until it has or ``patience_s`` are over: the rest it does by itself."""
        give_up_at = time.monotonic() + patience_s
        while time.monotonic() < give_up_at and not (await self._operate(IMPORT_SETTLE, named)).done:
            pass

    async def _operate(self, operation: Operation[Any, Any], arguments: Any) -> Any:
        """Call the engine, again when it has ended meanwhile: every step of an import may be taken twice."""
        for left in reversed(range(_TRIES)):
            try:
                return await self._execution.operate(self._principal, operation, arguments, deadline_ms=_STEP_MS)
            except RemoteError as error:
                if error.code not in _NOT_ANSWERED or not left:
                    raise
                await asyncio.sleep(_RETRY_S)
        raise AssertionError("unreachable")


class _Batches:
    """Puts pieces together to batches."""

    def __init__(self, pieces: Iterator[Batch]) -> None:
        self._pieces = pieces
        self._piece = next(pieces, None)

    async def next(self, entries_max: int) -> Batch | None:
        """Return the next batch: one piece, or several of one kind that are not too much together."""
        batch = self._piece
        while batch is not None:
            await asyncio.sleep(_PAUSE_S)  # the request that was made before is on its way first
            piece = self._piece = next(self._pieces, None)
            if piece is None or piece.kind != batch.kind or len(batch.entries) + len(piece.entries) > entries_max:
                break
            if batch.size + piece.size > _BATCH_BYTES_MAX:
                break
            batch = Batch(batch.kind, batch.first, batch.entries + piece.entries, batch.size + piece.size)
        return batch


def _check(kind: Kind, text: bytes, number: int) -> Any:
    try:
        entry = _DECODERS[kind].decode(text)
        if _UNUSUAL.search(text) and (field := out_of_range(entry)) is not None:
            raise msgspec.ValidationError(f"Out of range - at `$.{field}`")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = from_validation(str(error) or "nested too deeply")
        field = problem.members["field"]
        place = PLACES[kind].format(number) + (f".{field}" if field != "body" or kind == "memory" else "")
        raise _half_bad(invalid(place, problem.detail.partition(": ")[2]), number) from error
    return entry


def _explained(error: RemoteError) -> Problem:
    if error.code == ErrorCode.NOT_FOUND:
        error = RemoteError(ErrorCode.UNAVAILABLE, "the import was interrupted for too long; send it again", retry_after=1)
    problem = from_remote(error)
    return _half_bad(problem, error.details["entry"]) if "entry" in error.details else problem


def _half_bad(problem: Problem, position: int) -> Problem:
    """Return the problem in the form of an import's answer: nothing imported, and the record that is wrong."""
    problem.members |= {"entry": position, "imported": 0, "skipped": 0, "failed": 1, "errors": [problem.detail]}
    return problem
