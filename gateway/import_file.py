"""Reads an export file and brings it into a database: checked entry by entry, staged in batches, revealed at once.

The file is mapped, and its entries are found without being decoded, so that memory holds one batch, however large the file.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
from collections.abc import Iterator
from typing import Any

import msgspec

from engine.catalogue.transfer import (
    EXPORT_VERSION,
    IMPORT_ABANDON,
    IMPORT_BATCH_MAX,
    IMPORT_BEGIN,
    IMPORT_COMMIT,
    IMPORT_STAGE,
    Entry,
    ImportBegin,
    ImportCommit,
    Imported,
    ImportStage,
)
from engine.catalogue.values import out_of_range
from engine.protocol import RemoteError
from gateway.api.errors import Problem, from_remote, from_validation, invalid
from gateway.execution import Execution
from gateway.json_array import elements
from tenants.registry.keys import Principal

_BATCH_BYTES_MAX = 4 * 1024 * 1024
_STAGE_MS = 60_000
_COMMIT_MS = 600_000
_MAJOR_VERSION = EXPORT_VERSION.split(".", maxsplit=1)[0]


class _File(msgspec.Struct):
    """The outside of an export file; the entries stay undecoded."""

    version: str
    memories: msgspec.Raw


_file_decoder = msgspec.json.Decoder(_File)
_entry_decoder = msgspec.json.Decoder(Entry)


async def import_file(descriptor: int, principal: Principal, execution: Execution) -> Imported:
    """Import the file behind ``descriptor``. A bad entry is named and nothing is imported."""
    if os.fstat(descriptor).st_size == 0:
        raise invalid("body", "is empty")
    # Never closed by hand: the entries, and the traceback of an error, hold views of it. It goes with the last of them.
    content = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    file = await asyncio.to_thread(_open_file, content)
    return await _import_entries(file, principal, execution)


async def _import_entries(file: _File, principal: Principal, execution: Execution) -> Imported:
    async def operate(operation: Any, arguments: Any, deadline_ms: int = _STAGE_MS) -> Any:
        return await execution.operate(principal, operation, arguments, deadline_ms=deadline_ms)

    staged = await operate(IMPORT_BEGIN, ImportBegin())
    try:
        for first, entries in _batches(memoryview(file.memories)):
            await operate(IMPORT_STAGE, ImportStage(import_id=staged.import_id, first=first, entries=entries))
        commit = ImportCommit(import_id=staged.import_id)
        imported: Imported = await operate(IMPORT_COMMIT, commit, _COMMIT_MS)
    except BaseException as error:
        with contextlib.suppress(RemoteError):  # what can't be dropped now, the engine drops by itself after an hour
            await operate(IMPORT_ABANDON, ImportCommit(import_id=staged.import_id))
        if isinstance(error, RemoteError):
            raise _explained(error) from error
        raise
    if imported.imported:
        execution.note_pending(principal)
    return imported


def _open_file(content: mmap.mmap) -> _File:
    try:
        file = _file_decoder.decode(content)
    except msgspec.DecodeError as error:
        raise from_validation(str(error)) from error
    if file.version.split(".", maxsplit=1)[0] != _MAJOR_VERSION:
        raise invalid("version", f"this is no export of version {EXPORT_VERSION}")
    if bytes(memoryview(file.memories)[:1]) != b"[":
        raise invalid("memories", "must be an array")
    return file


def _batches(memories: memoryview) -> Iterator[tuple[int, list[Entry]]]:
    first, size = 0, 0
    batch: list[Entry] = []
    for position, text in enumerate(elements(memories)):
        size += len(text)
        batch.append(_decode(text, position))
        if len(batch) == IMPORT_BATCH_MAX or size >= _BATCH_BYTES_MAX:
            yield first, batch
            first, size, batch = position + 1, 0, []
    if batch:
        yield first, batch


def _decode(text: bytes, position: int) -> Entry:
    try:
        entry = _entry_decoder.decode(text)
        if (field := out_of_range(entry)) is not None:
            raise msgspec.ValidationError(f"Out of range - at `$.{field}`")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = from_validation(str(error) or "nested too deeply")
        field = f"memories[{position}].{problem.members['field']}"
        raise _half_bad(invalid(field, problem.detail.partition(": ")[2]), position) from error
    return entry


def _explained(error: RemoteError) -> Problem:
    problem = from_remote(error)
    return _half_bad(problem, error.details["entry"]) if "entry" in error.details else problem


def _half_bad(problem: Problem, position: int) -> Problem:
    """Return the problem in the form of an import's answer: nothing imported, and the entry that is wrong."""
    problem.members |= {"entry": position, "imported": 0, "skipped": 0, "failed": 1, "errors": [problem.detail]}
    return problem
