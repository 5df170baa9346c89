"""The export file as text: one JSON object, JSON lines, or Markdown. Bytes out, piece by piece; no database in here.

Links and versions stand after the memories, so that whoever reads knows the ids they name.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from engine.catalogue import export_markdown
from engine.catalogue.export_file import EXPORT_VERSION
from engine.catalogue.export_markdown import Kind


class ExportFormat(Protocol):
    """Writes the records of an export in the order memories, links, versions."""

    def head(self, exported_at: str, memory_count: int) -> bytes:
        """Return what comes first."""

    def record(self, kind: Kind, fields: dict[str, Any]) -> bytes:
        """Return one record with what comes before it."""

    def tail(self) -> bytes:
        """Return what comes last."""


class JsonFormat:
    """Engram's ``version: "1.0"``: one object, our own additions at its end."""

    _OPENINGS = (b"", b'],"engram_cloud":{"links":[', b'],"versions":[', b"]}}\n")
    _PLACES: dict[Kind, int] = {"memory": 0, "link": 1, "version": 2}

    def __init__(self) -> None:
        self._place = 0
        self._separator = b""

    def head(self, exported_at: str, memory_count: int) -> bytes:
        return msgspec.json.encode(_header(exported_at, memory_count))[:-1] + b',"memories":['

    def record(self, kind: Kind, fields: dict[str, Any]) -> bytes:
        before = self._go_to(self._PLACES[kind]) + self._separator
        self._separator = b","
        return before + msgspec.json.encode(fields)

    def tail(self) -> bytes:
        return self._go_to(len(self._OPENINGS) - 1)

    def _go_to(self, place: int) -> bytes:
        opened = b"".join(self._OPENINGS[self._place + 1 : place + 1])
        if opened:
            self._separator = b""
        self._place = place
        return opened


class JsonLinesFormat:
    """A line that says what the file is, one for each memory, then one for each link and version, inside ``engram_cloud``."""

    def head(self, exported_at: str, memory_count: int) -> bytes:
        return msgspec.json.encode(_header(exported_at, memory_count)) + b"\n"

    def record(self, kind: Kind, fields: dict[str, Any]) -> bytes:
        line = fields if kind == "memory" else {"engram_cloud": {kind: fields}}
        return msgspec.json.encode(line) + b"\n"

    def tail(self) -> bytes:
        return b""


class MarkdownFormat:
    """A section for each record."""

    def head(self, exported_at: str, memory_count: int) -> bytes:
        return export_markdown.head(_header(exported_at, memory_count))

    def record(self, kind: Kind, fields: dict[str, Any]) -> bytes:
        return export_markdown.section(kind, fields)

    def tail(self) -> bytes:
        return export_markdown.END


FORMATS: dict[str, type[ExportFormat]] = {"json": JsonFormat, "jsonl": JsonLinesFormat, "markdown": MarkdownFormat}


def _header(exported_at: str, memory_count: int) -> dict[str, Any]:
    return {"version": EXPORT_VERSION, "exported_at": exported_at, "memory_count": memory_count}
