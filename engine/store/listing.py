"""Pages of memories in an order of the caller's choice, each page beginning where the one before ended.

A cursor is the place in the order, not a number of rows: what is stored or deleted meanwhile shifts nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from types import MappingProxyType
from typing import Any, NamedTuple

import apsw
import msgspec

from engine.catalogue.memory import Memory
from engine.protocol.errors import invalid
from engine.store.memories import QUALIFIED, from_row
from engine.store.selection import Selection

# What has no such time comes after all that have: last when the newest are first.
_EXPRESSIONS = MappingProxyType(
    {
        "created_at": "m.created_at",
        "updated_at": "m.updated_at",
        "accessed_at": "coalesce(m.accessed_at, -9223372036854775808)",
        "event_time": "coalesce(m.event_time, -9223372036854775808)",
        "importance": "m.importance",
        "access_count": "m.access_count",
        "id": "m.id",
    }
)


PAGE_CHARACTERS_MAX = 3 * 1024 * 1024
"""A page of large memories ends early: four bytes for each character still fit a frame of 16 MiB, with all the rest."""


class Order(NamedTuple):
    """What to sort by, and which end comes first."""

    by: str
    descending: bool


class _Place(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    by: str
    descending: bool
    value: int | float
    id: int


_place_decoder = msgspec.json.Decoder(_Place)


def page(
    connection: apsw.Connection, selection: Selection, order: Order, *, limit: int, offset: int, cursor: str | None, now: int
) -> tuple[list[Memory], str | None]:
    """Return up to ``limit`` memories in this order, ties by id, and the cursor of the next page, if there is one.

    Fewer when they are large: ``PAGE_CHARACTERS_MAX``.
    """
    expression = _EXPRESSIONS[order.by]
    direction, after = ("DESC", "<") if order.descending else ("ASC", ">")
    condition, parameters = selection.condition(now)
    if cursor is not None:
        place = _decode(cursor, order)
        condition += f" AND ({expression}, m.id) {after} (?, ?)"
        parameters += [place.value, place.id]
    found: Iterable[tuple[Any, ...]] = connection.execute(
        f"SELECT {QUALIFIED}, {expression} FROM memories AS m WHERE {condition}"  # noqa: S608
        f" ORDER BY {expression} {direction}, m.id {direction} LIMIT ? OFFSET ?",
        (*parameters, limit + 1, offset),
    )
    rows, more = _fitting(found, limit)
    if not more:
        return [from_row(row) for row in rows], None
    last = rows[-1]
    return [from_row(row) for row in rows], _encode(_Place(order.by, order.descending, last[-1], last[0]))


def _fitting(found: Iterable[tuple[Any, ...]], limit: int) -> tuple[list[tuple[Any, ...]], bool]:
    """Return the first rows, as many as a page holds, at least one if there is any; and whether more follow."""
    rows: list[tuple[Any, ...]] = []
    characters = 0
    for row in found:
        characters += sum(len(value) for value in row if isinstance(value, str))
        if len(rows) == limit or (rows and characters > PAGE_CHARACTERS_MAX):
            return rows, True
        rows.append(row)
    return rows, False


def _encode(place: _Place) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def _decode(cursor: str, order: Order) -> _Place:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        place = _place_decoder.decode(text)
    except (ValueError, msgspec.DecodeError) as error:
        raise invalid("cursor", "not a cursor of this list") from error
    numbers = [number for number in (place.value, place.id) if isinstance(number, int)]
    if (place.by, place.descending) != order or any(not -(2**63) <= number < 2**63 for number in numbers):
        raise invalid("cursor", "not a cursor of this list in this order")
    return place
