"""Receives an upload of any size into a file without a name, so that no more than a piece of it is ever in memory."""

from __future__ import annotations

import asyncio
import errno
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import multipart

from engine.catalogue.export_file import FileFormat
from gateway.api.errors import Problem, invalid

UPLOAD_BYTES_MAX = 1024 * 1024 * 1024
"""A gibibyte of JSON is about a million memories, twice what the largest plan with a number holds."""

FILE_KINDS: dict[str, FileFormat | None] = {
    "": None,
    "application/octet-stream": None,
    "application/json": None,  # what clients say of whatever has braces
    "application/jsonl": "jsonl",
    "application/x-jsonlines": "jsonl",
    "application/ndjson": "jsonl",
    "application/x-ndjson": "jsonl",
    "text/markdown": "markdown",
}
"""Kinds of bodies that are a file, and the format that each stands for, if it stands for one."""

_STALL_S = 60.0
"""A sender that pauses for longer has gone, or means to hold the place."""

_PART = "file"
_PART_HEADER_BYTES_MAX = 4096
_FORM_PARTS_MAX = 16


class Spool:
    """Makes places for uploads in one folder, on the volume that has room for them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, *, bytes_max: int = UPLOAD_BYTES_MAX) -> Upload:
        """Return a place for one upload; it is gone when its block ends, or its process."""
        return Upload(self._folder, min(bytes_max, UPLOAD_BYTES_MAX))


class Upload:
    """One upload. A context manager."""

    def __init__(self, folder: Path, bytes_max: int) -> None:
        self._folder = folder
        self._bytes_max = bytes_max
        self._size = 0
        self._file: IO[bytes]

    def __enter__(self) -> Self:
        self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    @property
    def path_descriptor(self) -> int:
        """The open file's descriptor, for whoever reads it."""
        return self._file.fileno()

    async def receive(self, content_type: str, body: AsyncIterator[bytes]) -> None:
        """Write the body, or the part ``file`` of a form, to the file. ``too_large`` before a byte over the limit is kept."""
        body = _without_stalls(body)
        kind, options = multipart.parse_options_header(content_type)
        if kind == "multipart/form-data":
            await self._receive_form(options.get("boundary", ""), body)
        elif kind in FILE_KINDS:
            async for piece in body:
                self._write(piece)
        else:
            detail = "Send JSON, JSON lines or Markdown, or multipart/form-data with the part file."
            raise Problem("unsupported_media_type", detail)
        self._file.flush()

    async def _receive_form(self, boundary: str, body: AsyncIterator[bytes]) -> None:
        found = wanted = False
        parts = 0
        try:
            with multipart.PushMultipartParser(
                boundary, max_header_size=_PART_HEADER_BYTES_MAX, max_segment_count=_FORM_PARTS_MAX
            ) as parser:
                async for piece in body:
                    for event in parser.parse(piece):
                        if isinstance(event, multipart.MultipartSegment):
                            parts += 1
                            wanted = event.name == _PART and not found
                            found = found or wanted
                        elif event and wanted:
                            self._write(event)
        except (multipart.MultipartError, ValueError) as error:
            raise invalid("body", "not valid multipart/form-data") from error
        if not found:
            raise invalid(_PART, "the form has no such part")

    def _write(self, piece: bytes | bytearray) -> None:
        self._size += len(piece)
        if self._size > self._bytes_max:
            raise Problem("too_large", f"An upload has at most {self._bytes_max} bytes here.", limit=self._bytes_max)
        try:
            self._file.write(piece)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise Problem("disk_full") from error
            raise


async def _without_stalls(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    while True:
        try:
            async with asyncio.timeout(_STALL_S):
                piece = await anext(body)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise invalid("body", f"nothing came for {_STALL_S:.0f} s") from None
        yield piece
        await asyncio.sleep(0)  # pieces that are there already come without a pause, and others wait for the same loop
