"""Export and import; a small export is brought in by one call, through the same steps as a file of any size."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from engine.catalogue.export_file import EXPORT_VERSION, Entry, LinkEntry, VersionEntry
from engine.catalogue.transfer import (
    EXPORT,
    FILE,
    IMPORT,
    IMPORT_BEGIN,
    IMPORT_COMMIT,
    IMPORT_END,
    IMPORT_ID_MAP,
    IMPORT_LINKS,
    IMPORT_SETTLE,
    IMPORT_STAGE,
    IMPORT_VERSIONS,
    INLINE_MEMORIES_MAX,
    ImportBegin,
    Imported,
    ImportIdMap,
    ImportLinks,
    ImportNamed,
    ImportStage,
    ImportVersions,
    MemoryImport,
)
from engine.catalogue.values import out_of_range
from engine.protocol import ErrorCode, RemoteError, Request
from engine.protocol.errors import invalid
from engine.store.database import Database
from engine.tools import export, import_steps
from engine.tools.handler import Handler

_T = TypeVar("_T")
_UNHURRIED_MS = 60_000
"""One turn has to do: the bound of such an import is its size."""

_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_MISSING = re.compile(r"^Object missing required field `(?P<name>[^`]*)`$")
_MAJOR_VERSION = EXPORT_VERSION.split(".", maxsplit=1)[0]


def import_document(database: Database, arguments: MemoryImport, request: Request) -> Imported:
    """Import a small export in one go."""
    document = _document(arguments.data)
    entries = _converted(document.get("memories"), Entry, "memories")
    beside = document.get("engram_cloud", {})
    if not isinstance(beside, dict):
        raise invalid("engram_cloud", "must be an object")
    past = _converted(beside.get("versions", []), VersionEntry, "engram_cloud.versions")
    links = _converted(beside.get("links", []), LinkEntry, "engram_cloud.links")
    named = ImportNamed(import_id=import_steps.begin(database, ImportBegin(), request).import_id)
    staged = ImportStage(import_id=named.import_id, first=0, entries=entries, budget_ms=_UNHURRIED_MS)
    import_steps.stage(database, staged, request)
    import_steps.stage_versions(database, ImportVersions(import_id=named.import_id, first=0, versions=past), request)
    import_steps.stage_links(database, ImportLinks(import_id=named.import_id, first=0, links=links), request)
    committed = import_steps.commit(database, named, request)
    while not import_steps.settle(database, named, request).done:
        pass  # at most as often as there are entries
    changed = import_steps.id_map(database, ImportIdMap(import_id=named.import_id, limit=INLINE_MEMORIES_MAX), request)
    import_steps.end(database, named, request)
    names = {str(before): after for before, after in changed.ids}
    return Imported(imported=committed.imported, skipped=committed.skipped, id_map=names)


def _document(data: dict[str, Any] | str) -> dict[str, Any]:
    """Return the outside of an export; ``invalid`` for what is none."""
    if isinstance(data, str):
        try:
            data = msgspec.json.decode(data, type=dict[str, Any])
        except (msgspec.DecodeError, RecursionError) as error:
            raise invalid("data", "is no JSON object") from error
    version = data.get("version")
    if not isinstance(version, str) or version.split(".", maxsplit=1)[0] != _MAJOR_VERSION:
        raise invalid("version", f"must be {EXPORT_VERSION}")
    return data


def _converted(values: Any, kind: type[_T], field: str) -> list[_T]:
    """Return the values as entries; the first bad one is named by its place."""
    if not isinstance(values, list):
        raise invalid(field, "must be an array")
    if len(values) > INLINE_MEMORIES_MAX:
        raise RemoteError(
            ErrorCode.TOO_LARGE,
            f"{field} has over {INLINE_MEMORIES_MAX}; use /v1/import",
            field=field,
            limit=INLINE_MEMORIES_MAX,
        )
    return [_entry(value, kind, f"{field}[{position}]") for position, value in enumerate(values)]


def _entry(value: Any, kind: type[_T], place: str) -> _T:
    try:
        entry = msgspec.convert(value, kind)
        if (field := out_of_range(entry)) is not None:
            raise invalid(f"{place}.{field}", "is out of range")
    except msgspec.ValidationError as error:
        message = str(error)
        found = _PATH.search(message)
        path = "" if found is None else found["path"]
        missing = _MISSING.match(message if found is None else message[: found.start()])
        names = [place, *(name for name in (path, missing["name"] if missing else "") if name)]
        raise invalid(".".join(names), message if found is None else message[: found.start()]) from error
    return entry


HANDLERS: dict[str, Handler] = {
    FILE.name: export.stream_file,
    EXPORT.name: export.inline,
    IMPORT.name: import_document,
    IMPORT_BEGIN.name: import_steps.begin,
    IMPORT_STAGE.name: import_steps.stage,
    IMPORT_VERSIONS.name: import_steps.stage_versions,
    IMPORT_LINKS.name: import_steps.stage_links,
    IMPORT_COMMIT.name: import_steps.commit,
    IMPORT_SETTLE.name: import_steps.settle,
    IMPORT_ID_MAP.name: import_steps.id_map,
    IMPORT_END.name: import_steps.end,
}
