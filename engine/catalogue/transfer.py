"""Export and import of whole databases in many bounded steps, and of a few memories by a tool.

The gateway reads and checks files; what becomes of their entries is decided in the engine.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from engine.catalogue.export_file import Entry, FileFormat, LinkEntry, VersionEntry
from engine.catalogue.memory import Workspace
from engine.catalogue.operation import Arguments, Operation, Tool

IMPORT_BATCH_MAX = 500
"""Entries in one request. How many of them are staged in one transaction is decided by the engine, by the clock."""

STAGE_MS = 20
"""How long staging may keep one transaction open: everybody else of this database waits meanwhile."""

INLINE_MEMORIES_MAX = 1000
"""Memories that one tool call carries out or in. A file of any size goes through ``/v1/export`` and ``/v1/import``."""

INLINE_BYTES_MAX = 1024 * 1024
"""What one tool call carries out: far more than a model reads, and still one short answer."""


class ExportFile(Arguments):
    """Arguments of ``export_file``."""

    format: Literal["json", "jsonl", "markdown", "sqlite"] = "json"
    workspace: Workspace | None = None


class ImportBegin(Arguments):
    """Arguments of ``import_begin``."""


class ImportStaged(msgspec.Struct):
    """A staged import, seen by nobody until it is committed. ``next`` is the place of the entry to send next."""

    import_id: int
    next: int = 0


class ImportStage(Arguments):
    """Arguments of ``import_stage``: entries in the order of the file, ``first`` being the place of the first (from 0)."""

    import_id: int
    first: int
    entries: Annotated[list[Entry], Meta(max_length=IMPORT_BATCH_MAX)]
    budget_ms: int = STAGE_MS
    """At least one entry is staged, and no further one begun after so many milliseconds."""


class ImportVersions(Arguments):
    """Arguments of ``import_versions``, after all entries."""

    import_id: int
    first: int
    versions: Annotated[list[VersionEntry], Meta(max_length=IMPORT_BATCH_MAX)]


class ImportLinks(Arguments):
    """Arguments of ``import_links``, after all entries."""

    import_id: int
    first: int
    links: Annotated[list[LinkEntry], Meta(max_length=IMPORT_BATCH_MAX)]


class ImportNamed(Arguments):
    """Arguments of ``import_commit``, ``import_settle`` and ``import_end``."""

    import_id: int


class ImportCommitted(msgspec.Struct):
    """What an import has done, once it can be seen."""

    imported: int
    skipped: int


class ImportSettled(msgspec.Struct):
    """Whether nothing is left to do before whoever imports is answered."""

    done: bool


class ImportIdMap(Arguments):
    """Arguments of ``import_id_map``: those after ``after``."""

    import_id: int
    after: int = 0
    limit: Annotated[int, Meta(ge=1, le=100_000)] = 20_000


class ChangedIds(msgspec.Struct):
    """Ids that could not be kept: the file's, then ours, in the order of the file's."""

    ids: list[tuple[int, int]]


class Imported(msgspec.Struct):
    """What an import did. ``id_map`` holds the ids that could not be kept: the file's, then ours."""

    imported: int
    skipped: int
    failed: int = 0
    errors: list[str] = []
    id_map: dict[str, int] = {}


class MemoryExport(Arguments):
    """Arguments of ``memory_export``."""

    workspace: Annotated[Workspace, Meta(description="Only this one.")] | None = None
    format: Annotated[FileFormat, Meta(description="`json` answers `data`, the others `text`.")] = "json"
    limit: Annotated[int, Meta(ge=1, le=INLINE_MEMORIES_MAX, description="At most so many memories, oldest first.")] = 100


class Exported(msgspec.Struct, omit_defaults=True):
    """An export small enough for one answer. When it is ``truncated``, ``more`` says where all of it is."""

    memory_count: int
    truncated: bool
    data: dict[str, Any] | UnsetType = UNSET
    text: str | UnsetType = UNSET
    more: str | UnsetType = UNSET


class MemoryImport(Arguments):
    """Arguments of ``memory_import``."""

    data: Annotated[
        dict[str, Any] | str,
        Meta(description='An export: {"version": "1.0", "memories": [...]}, as an object or as its JSON text.'),
    ]


FILE: Operation[ExportFile, bytes] = Operation(name="export_file", arguments=ExportFile, result=bytes, kind="stream")
IMPORT_BEGIN = Operation(name="import_begin", arguments=ImportBegin, result=ImportStaged, kind="write")
IMPORT_STAGE = Operation(name="import_stage", arguments=ImportStage, result=ImportStaged, kind="write")
IMPORT_VERSIONS = Operation(name="import_versions", arguments=ImportVersions, result=ImportStaged, kind="write")
IMPORT_LINKS = Operation(name="import_links", arguments=ImportLinks, result=ImportStaged, kind="write")
IMPORT_COMMIT = Operation(name="import_commit", arguments=ImportNamed, result=ImportCommitted, kind="write")
IMPORT_SETTLE = Operation(name="import_settle", arguments=ImportNamed, result=ImportSettled, kind="write", frees=True)
IMPORT_ID_MAP = Operation(name="import_id_map", arguments=ImportIdMap, result=ChangedIds, kind="read")
IMPORT_END = Operation(name="import_end", arguments=ImportNamed, result=ImportSettled, kind="write", frees=True)

OPERATIONS: tuple[Operation[Any, Any], ...] = (
    FILE,
    IMPORT_BEGIN,
    IMPORT_STAGE,
    IMPORT_VERSIONS,
    IMPORT_LINKS,
    IMPORT_COMMIT,
    IMPORT_SETTLE,
    IMPORT_ID_MAP,
    IMPORT_END,
)
"""What the gateway asks for; no tools."""

EXPORT = Tool(
    name="memory_export",
    title="Export memories",
    description="Return memories with their links and versions as one document that memory_import reads.",
    arguments=MemoryExport,
    result=Exported,
    kind="read",
    category="transfer",
    profile="full",
)
IMPORT = Tool(
    name="memory_import",
    title="Import memories",
    description=(
        f"Store the memories of an export, at most {INLINE_MEMORIES_MAX}, keeping ids and times. All or nothing; what is there"
        " already is skipped."
    ),
    arguments=MemoryImport,
    result=Imported,
    kind="write",
    category="transfer",
    profile="full",
    idempotent=True,
    leaves_pending=True,
)
