"""The export as Markdown: a section for each memory, its fields as front matter, its text as it is. Written and read here.

A section starts with a comment of its own line, ``<!-- engram:memory -->``. The values of the front matter are JSON, which is
YAML too. A text may hold anything, ``---`` and headings included; only a line that looks like one of our comments gets a
backslash before it, and loses one when it is read. The file ends with ``<!-- engram:end -->``: one without was cut off.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

Kind = Literal["memory", "version", "link"]

END = b"<!-- engram:end -->\n"

_HEAD_BYTES_MAX = 4096

_MARK = re.compile(rb"^<!-- engram:(memory|version|link|end) -->\r?$", re.MULTILINE)
_FRONT_MATTER = re.compile(rb"\r?\n---\r?\n(?P<fields>(?:[a-z_]+: .*\n)*)---\r?(?:\n|\Z)")
_FIELD = re.compile(rb"([a-z_]+): (.*?)\r?\n")
_TO_ESCAPE = re.compile(r"^(?=\\*<!-- engram:)", re.MULTILINE)
_ESCAPED = re.compile(r"^\\(?=\\*<!-- engram:)", re.MULTILINE)


class NotMarkdown(ValueError):
    """The text is no export in Markdown; the message says what is wrong, and begins with where."""


def head(fields: dict[str, Any]) -> bytes:
    """Return what comes before the sections."""
    return _front_matter(fields) + b"\n# Engram export\n\n"


def section(kind: Kind, fields: dict[str, Any]) -> bytes:
    """Return one section. Only what has a ``content`` has a text."""
    beside = {name: value for name, value in fields.items() if name != "content"}
    text = b""
    if "content" in fields:
        text = b"\n" + _TO_ESCAPE.sub(r"\\", fields["content"]).encode() + b"\n"
    return b"<!-- engram:" + kind.encode() + b" -->\n" + _front_matter(beside) + text + b"\n"


def head_of(file: Any) -> bytes:
    """Return the front matter of the whole file as JSON text."""
    found = _FRONT_MATTER.match(b"\n" + file[:_HEAD_BYTES_MAX].lstrip())
    if found is None:
        raise NotMarkdown("body: the file has no front matter")
    return _object(found)


def sections(file: Any, *, size_max: int) -> Iterator[tuple[Kind, bytes]]:
    """Yield each section of a file (anything with bytes in it) as the JSON text of its fields."""
    mark = _MARK.search(file)
    counts = {"memory": 0, "version": 0, "link": 0}
    while mark is not None and mark[1] != b"end":
        following = _MARK.search(file, mark.end())
        if following is None:
            break
        kind: Any = mark[1].decode()
        place = f"{kind} {counts[kind]} (counted from 0)"
        if following.start() - mark.end() > size_max:
            raise NotMarkdown(f"body: {place} is over {size_max} bytes")
        yield kind, _section(file[mark.end() : following.start()], has_text=kind != "link", place=place)
        counts[kind] += 1
        mark = following
    if mark is None or mark[1] != b"end":
        raise NotMarkdown("body: the file does not end as an export does; it was cut off")


def _section(text: bytes, *, has_text: bool, place: str) -> bytes:
    found = _FRONT_MATTER.match(text)
    if found is None:
        raise NotMarkdown(f"body: {place} has no front matter")
    if not has_text:
        return _object(found)
    content = text[found.end() :].removeprefix(b"\r").removeprefix(b"\n").removesuffix(b"\n").removesuffix(b"\n")
    return _object(found, b'"content":' + msgspec.json.encode(_ESCAPED.sub("", content.decode())))


def _object(front_matter: re.Match[bytes], *more: bytes) -> bytes:
    fields = (b'"' + name + b'":' + value for name, value in _FIELD.findall(front_matter["fields"]))
    return b"{" + b",".join((*fields, *more)) + b"}"


def _front_matter(fields: dict[str, Any]) -> bytes:
    lines = (name.encode() + b": " + msgspec.json.encode(value) + b"\n" for name, value in fields.items())
    return b"---\n" + b"".join(lines) + b"---\n"
