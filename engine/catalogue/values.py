"""Values that a Struct's type lets through and that neither msgpack nor SQLite can hold. Pure; both ends may ask."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec


def out_of_range(value: Any, field: str = "") -> str | None:
    """Return the name of the first number of over 64 bits, or time that UTC has no date for; ``None`` if there is none."""
    if isinstance(value, msgspec.Struct):
        items: Any = ((name, getattr(value, name)) for name in value.__struct_fields__)
    elif isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    elif isinstance(value, datetime):
        try:
            value.astimezone(UTC)
        except OverflowError:
            return field
        return None
    else:
        return field if isinstance(value, int) and not -(2**63) <= value < 2**64 else None
    for name, item in items:
        if (found := out_of_range(item, f"{field}.{name}" if field else str(name))) is not None:
            return found
    return None
