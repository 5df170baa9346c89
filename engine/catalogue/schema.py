"""JSON schemas of Structs, as MCP and ``discover_tools`` show them: an object at the top, definitions below it."""

from __future__ import annotations

from typing import Any

import msgspec

_made: dict[type[Any], dict[str, Any]] = {}


def object_schema(struct: type[Any]) -> dict[str, Any]:
    """Return the JSON schema of a Struct. Made once, shared by all callers: it must not be changed."""
    if struct not in _made:
        (schema,), definitions = msgspec.json.schema_components([struct], ref_template="#/$defs/{name}")
        own: dict[str, Any] = definitions.pop(schema["$ref"].removeprefix("#/$defs/"))
        own.pop("title", None)
        own.pop("description", None)
        for definition in definitions.values():
            definition.pop("title", None)
        _made[struct] = own | ({"$defs": definitions} if definitions else {})
    return _made[struct]
