"""Takes an export file apart into its records, each as the JSON text of one: from JSON, JSON lines or Markdown."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from engine.catalogue import export_markdown
from engine.catalogue.export_file import EXPORT_VERSION, FileFormat
from engine.catalogue.export_markdown import Kind
from gateway.api.errors import Problem, from_validation, invalid
from gateway.json_walk import JsonWalk, NotJson, TooLarge

Record = tuple[Kind, bytes]

RECORD_BYTES_MAX = 1024 * 1024
"""A memory's 64 KiB of text and 16 KiB of metadata, with every character escaped; what is longer can't be one."""

PLACES: dict[Kind, str] = {
    "memory": "memories[{}]",
    "link": "engram_cloud.links[{}]",
    "version": "engram_cloud.versions[{}]",
}
"""How errors name a record by its number among those of its kind."""

_KINDS: dict[str, Kind] = {"links": "link", "versions": "version"}
_MAJOR_VERSION = EXPORT_VERSION.split(".", maxsplit=1)[0]
_SQLITE = b"SQLite format 3\0"
_MARKDOWN = re.compile(rb"\s*(?:---\r?\n|<!-- engram:)")
_LINE = re.compile(rb"[^\n]*\n?")


class _Line(msgspec.Struct):
    """What a line that is no memory may say."""

    version: str | msgspec.UnsetType = msgspec.UNSET
    memory_count: int | msgspec.UnsetType = msgspec.UNSET
    engram_cloud: dict[Kind, msgspec.Raw] = {}


_line_decoder = msgspec.json.Decoder(_Line)
_members_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def records(file: Any, given: FileFormat | None) -> Iterator[Record]:
    """Yield the records of a file, the memories first; ``Problem`` where it is no export. Without ``given``, by its look."""
    try:
        yield from _READERS[given or recognise(file)](file)
    except msgspec.ValidationError as error:
        raise from_validation(str(error)) from error
    except (NotJson, msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise invalid("body", f"is no export: {str(error)[:200] or 'nested too deeply'}") from error
    except export_markdown.NotMarkdown as error:
        raise invalid("body", str(error).removeprefix("body: ")) from error


def recognise(file: Any) -> FileFormat:
    """Return the format that a file looks like."""
    if file[: len(_SQLITE)] == _SQLITE:
        raise Problem("unsupported_media_type", "A SQLite file can't be imported; export as json, jsonl or markdown.")
    if _MARKDOWN.match(file):
        return "markdown"
    return "jsonl" if _has_lines(file) else "json"


def _has_lines(file: Any) -> bool:
    """Whether the first line is an object of its own and no document: it has no memories in it, and is one or is followed."""
    line = _LINE.match(file, 0, RECORD_BYTES_MAX)
    assert line is not None
    try:
        members = _members_decoder.decode(line[0])
    except (msgspec.DecodeError, RecursionError):
        return False
    is_followed = bool(file[line.end() : line.end() + RECORD_BYTES_MAX].strip())
    return "memories" not in members and ("content" in members or is_followed)


def _from_json(file: Any) -> Iterator[Record]:
    walk = JsonWalk(file)
    if walk.peek() != b"{":
        raise invalid("body", "must be an object")
    seen: set[str] = set()
    beside: int | None = None
    for key in walk.members():
        if key in ("version", "memories", "engram_cloud") and key in seen:
            raise invalid(key, "was given more than once")
        seen.add(key)
        if key == "version":
            _check_version(_text(walk))
        elif key == "memories":
            if walk.peek() != b"[":
                raise invalid("memories", "must be an array")
            yield from _array(walk, "memory")
        elif key == "engram_cloud" and "memories" in seen:
            yield from _beside(walk)
        else:
            if key == "engram_cloud":
                beside = walk.position
            walk.skip()
    walk.finish()
    for key in ("version", "memories"):
        if key not in seen:
            raise invalid(key, "is missing")
    if beside is not None:  # somebody has sorted the keys
        yield from _beside(JsonWalk(file, beside))


def _beside(walk: JsonWalk) -> Iterator[Record]:
    if walk.peek() != b"{":
        raise invalid("engram_cloud", "must be an object")
    for key in walk.members():
        if key not in _KINDS:
            walk.skip()
        elif walk.peek() != b"[":
            raise invalid(f"engram_cloud.{key}", "must be an array")
        else:
            yield from _array(walk, _KINDS[key])


def _array(walk: JsonWalk, kind: Kind) -> Iterator[Record]:
    for number, _ in enumerate(walk.elements()):
        try:
            yield kind, walk.take(RECORD_BYTES_MAX)
        except TooLarge as error:
            raise _too_large(kind, number) from error


def _from_lines(file: Any) -> Iterator[Record]:
    """A line is a memory if it has a content; otherwise it says what the file is, or holds a link or a version."""
    position, count = 0, 0
    expected: int | msgspec.UnsetType = msgspec.UNSET
    while position < len(file):
        found = _LINE.match(file, position, position + RECORD_BYTES_MAX + 1)
        assert found is not None
        line = found[0].strip()
        if len(found[0]) > RECORD_BYTES_MAX:
            raise _too_large("memory", count)
        position = found.end()
        if not line:
            continue
        members = _members_decoder.decode(line)
        if members.keys().isdisjoint({"version", "memory_count", "engram_cloud"}) or "content" in members or "id" in members:
            yield "memory", line
            count += 1
            continue
        said = _line_decoder.decode(line)
        if said.version is not msgspec.UNSET:
            _check_version(said.version)
        expected = said.memory_count if said.memory_count is not msgspec.UNSET else expected
        for kind, text in said.engram_cloud.items():
            yield kind, bytes(text)
    if expected not in (msgspec.UNSET, count):
        raise invalid("memory_count", f"is {expected}, and the file has {count}: it was cut off")


def _from_markdown(file: Any) -> Iterator[Record]:
    said = _line_decoder.decode(export_markdown.head_of(file))
    if said.version is msgspec.UNSET:
        raise invalid("version", "is missing")
    _check_version(said.version)
    yield from export_markdown.sections(file, size_max=RECORD_BYTES_MAX)


_READERS: dict[FileFormat, Callable[[Any], Iterator[Record]]] = {
    "json": _from_json,
    "jsonl": _from_lines,
    "markdown": _from_markdown,
}


def _text(walk: JsonWalk) -> str:
    try:
        return msgspec.json.decode(walk.take(RECORD_BYTES_MAX), type=str)
    except (msgspec.ValidationError, TooLarge) as error:
        raise invalid("version", "must be a text") from error


def _check_version(version: str) -> None:
    if version.split(".", maxsplit=1)[0] != _MAJOR_VERSION:
        raise invalid("version", f"this is no export of version {EXPORT_VERSION}")


def _too_large(kind: Kind, number: int) -> Problem:
    field = PLACES[kind].format(number)
    return Problem("too_large", f"{field} is over {RECORD_BYTES_MAX} bytes", field=field, limit=RECORD_BYTES_MAX)
