"""The filter language, compiled to SQL on ``memories AS m`` with every value bound.

A filter is ``{"AND": [filter…]}``, ``{"OR": [filter…]}``, ``{"NOT": filter}`` or ``{field: {operator: value…}…}``; several
fields or operators side by side must all hold. It has two truth values: what is absent equals null, is unequal to everything
else, and is neither above nor below anything. So ``NOT`` is always the complement. Text never equals a number.

It must not know what the memories are wanted for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Any

import apsw
import msgspec
from msgspec import Meta

from engine.protocol.errors import invalid
from engine.protocol.moment import from_datetime

DEPTH_MAX = 8
VALUES_MAX = 256
"""Conditions and listed values of a whole filter: each is compared for each memory that the rest of a search proposes."""

_PARTS = ("contains", "not_contains")
_PART_COST = 8
"""Looking for a part of a text reads all of it: a microsecond for each memory."""

TEXT_CHARACTERS_MAX = 4096
PATH_CHARACTERS_MAX = 256

Sql = tuple[str, list[Any]]

_TEXT = MappingProxyType(
    {
        "content": "m.content",
        "type": "m.type",
        "memory_type": "m.type",
        "workspace": "m.workspace",
        "tier": "m.tier",
        "scope.type": "m.scope_type",
        "scope_type": "m.scope_type",
        "scope.id": "m.scope_id",
        "scope_id": "m.scope_id",
        "content_hash": "m.content_hash",
    }
)
_NUMBER = MappingProxyType(
    {
        "id": "m.id",
        "importance": "m.importance",
        "version": "m.version",
        "access_count": "m.access_count",
        "event_duration_seconds": "m.event_duration_seconds",
    }
)
_TIME = MappingProxyType(
    {name: f"m.{name}" for name in ("created_at", "updated_at", "accessed_at", "expires_at", "event_time")}
)
_COMPARISONS = MappingProxyType({"gt": ">", "gte": ">=", "lt": "<", "lte": "<="})
OPERATORS = ("eq", "neq", "gt", "gte", "lt", "lte", "in", "contains", "not_contains", "exists")
_METADATA = "metadata."

_Moment = Annotated[datetime, Meta(tz=True)]


def register(connection: apsw.Connection) -> None:
    """Make known the function that ``contains`` compares texts by, whatever their case."""
    connection.create_scalar_function("fold", _fold, 1, deterministic=True)


def _fold(*texts: Any) -> Any:
    (text,) = texts
    return None if text is None else str(text).casefold()


def compile_filter(document: dict[str, Any], field: str = "filter") -> Sql:
    """Return the condition and its parameters; ``invalid`` names the place that is wrong."""
    return _Compiler().group(document, field, DEPTH_MAX)


class _Compiler:
    def __init__(self) -> None:
        self._conditions = 0

    def group(self, document: Any, field: str, depth: int) -> Sql:
        if not isinstance(document, dict) or not document:
            raise invalid(field, "must be an object with at least one condition")
        if depth == 0:
            raise invalid(field, f"must be at most {DEPTH_MAX} levels deep")
        parts: list[Sql] = []
        for name, value in document.items():
            place = f"{field}.{name}"[:200]
            if name in ("AND", "OR"):
                parts.append(self._joined(name, value, place, depth - 1))
            elif name == "NOT":
                sql, parameters = self.group(value, place, depth - 1)
                parts.append((f"NOT ({sql})", parameters))
            else:
                parts.append(self._field(name, value, place))
        return _join("AND", parts)

    def _joined(self, operator: str, value: Any, field: str, depth: int) -> Sql:
        if not isinstance(value, list) or not value:
            raise invalid(field, "must be a list with at least one filter")
        return _join(operator, [self.group(item, f"{field}[{number}]", depth) for number, item in enumerate(value)])

    def _field(self, name: str, operators: Any, field: str) -> Sql:
        condition = _condition_for(name, field)
        if not isinstance(operators, dict) or not operators:
            raise invalid(field, 'must be an object such as {"eq": value}')
        parts: list[Sql] = []
        for operator, value in operators.items():
            self._conditions += _PART_COST if operator in _PARTS else len(value) if isinstance(value, list) else 1
            if self._conditions > VALUES_MAX:
                message = (
                    f"a filter has at most {VALUES_MAX} conditions and listed values, each contains counting as {_PART_COST}"
                )
                raise invalid(field, message)
            parts.append(condition(operator, value, f"{field}.{operator}"[:200]))
        return _join("AND", parts)


def _join(operator: str, parts: list[Sql]) -> Sql:
    sql = f" {operator} ".join(f"({part})" for part, _ in parts)
    return sql, [parameter for _, parameters in parts for parameter in parameters]


def _condition_for(name: str, field: str) -> Callable[[str, Any, str], Sql]:
    if name == "tags":
        return _tags
    if name.startswith(_METADATA):
        path = _json_path(name.removeprefix(_METADATA), field)
        return lambda operator, value, place: _metadata(path, operator, value, place)
    for columns, check in ((_TEXT, _text), (_NUMBER, _number), (_TIME, _time)):
        if (column := columns.get(name)) is not None:
            return lambda operator, value, place: _column(column, check, operator, value, place)
    raise invalid(field, "there is no such field")


def _column(column: str, check: Callable[[Any, str], Any], operator: str, value: Any, field: str) -> Sql:
    """Return a condition on a column of one type."""
    match operator:
        case "eq" | "neq":
            return f"{column} {'IS' if operator == 'eq' else 'IS NOT'} ?", [None if value is None else check(value, field)]
        case "gt" | "gte" | "lt" | "lte":
            return f"coalesce({column} {_COMPARISONS[operator]} ?, 0)", [check(value, field)]
        case "in":
            values = [check(item, f"{field}[{number}]") for number, item in enumerate(_listed(value, field))]
            return f"coalesce({column} IN ({', '.join('?' * len(values))}), 0)", values
        case "contains" | "not_contains" if check is _text:
            found = f"coalesce(instr(fold({column}), ?) > 0, 0)"
            return found if operator == "contains" else f"NOT {found}", [_text(value, field).casefold()]
        case "exists":
            return f"{column} IS {'NOT ' if _truth(value, field) else ''}NULL", []
    raise _no_operator(operator, field)


def _tags(operator: str, value: Any, field: str) -> Sql:
    """Return a condition on the tags; ``a`` is also there as ``a/b``."""
    match operator:
        case "eq" | "contains":
            return _has_tag(_text(value, field))
        case "neq" | "not_contains":
            sql, parameters = _has_tag(_text(value, field))
            return f"NOT {sql}", parameters
        case "in":
            items = enumerate(_listed(value, field))
            return _join("OR", [_has_tag(_text(item, f"{field}[{number}]")) for number, item in items])
        case "exists":
            return f"m.tags {'<>' if _truth(value, field) else '='} '[]'", []
    raise _no_operator(operator, field)


def _has_tag(tag: str) -> Sql:
    sql = "EXISTS (SELECT 1 FROM memory_tags AS t WHERE t.memory_id = m.id AND (t.tag = ? OR t.tag >= ? AND t.tag < ?))"
    return sql, [tag, f"{tag}/", f"{tag}0"]


def _metadata(path: str, operator: str, value: Any, field: str) -> Sql:  # noqa: PLR0911  a table, written as a match
    """Return a condition on the value at a path of the metadata, which may be of any type."""
    match operator:
        case "eq":
            return _equals(path, value, field)
        case "neq":
            sql, parameters = _equals(path, value, field)
            return f"NOT ({sql})", parameters
        case "gt" | "gte" | "lt" | "lte":
            kinds, bound = _ordered(value, field)
            comparison = _COMPARISONS[operator]
            sql = f"coalesce(json_type(m.metadata, ?) IN ({kinds}) AND json_extract(m.metadata, ?) {comparison} ?, 0)"
            return sql, [path, path, bound]
        case "in":
            return _join("OR", [_equals(path, item, f"{field}[{n}]") for n, item in enumerate(_listed(value, field))])
        case "contains":
            return _contains(path, value, field)
        case "not_contains":
            sql, parameters = _contains(path, value, field)
            return f"NOT ({sql})", parameters
        case "exists":
            return f"coalesce(json_type(m.metadata, ?), 'null') {'<>' if _truth(value, field) else '='} 'null'", [path]
    raise _no_operator(operator, field)


def _equals(path: str, value: Any, field: str) -> Sql:
    if value is None:
        return "coalesce(json_type(m.metadata, ?), 'null') = 'null'", [path]
    if isinstance(value, bool):
        return "coalesce(json_type(m.metadata, ?) = ?, 0)", [path, "true" if value else "false"]
    kinds, bound = _ordered(value, field)
    sql = f"coalesce(json_type(m.metadata, ?) IN ({kinds}) AND json_extract(m.metadata, ?) = ?, 0)"
    return sql, [path, path, bound]


def _ordered(value: Any, field: str) -> tuple[str, str | float]:
    """Return the JSON types that a text or a number may be compared with, and the value to compare."""
    return ("'text'", _text(value, field)) if isinstance(value, str) else ("'integer', 'real'", _number(value, field))


def _contains(path: str, value: Any, field: str) -> Sql:
    """Return whether an array has the value as an element, or a text has it in it."""
    if isinstance(value, bool):
        return _has_element("e.type = ?"), [path, path, "true" if value else "false"]
    if not isinstance(value, str):
        return _has_element("e.type IN ('integer', 'real') AND e.atom = ?"), [path, path, _number(value, field)]
    text = _text(value, field)
    in_array = _has_element("e.type = 'text' AND e.atom = ?")
    in_text = "coalesce(json_type(m.metadata, ?) = 'text' AND instr(fold(json_extract(m.metadata, ?)), ?) > 0, 0)"
    return f"({in_array}) OR {in_text}", [path, path, text, path, path, text.casefold()]


def _has_element(condition: str) -> str:
    each = f"EXISTS (SELECT 1 FROM json_each(m.metadata, ?) AS e WHERE {condition})"  # noqa: S608
    return f"coalesce(json_type(m.metadata, ?) = 'array' AND {each}, 0)"


def _json_path(path: str, field: str) -> str:
    """Return SQLite's path for names joined by dots. SQLite has no way to write a quotation mark in a name."""
    names = path.split(".")
    if not all(names) or len(path) > PATH_CHARACTERS_MAX or any(mark in path for mark in '"\\\0'):
        raise invalid(field, "must be names joined by dots, without quotation marks and backslashes")
    return "$" + "".join(f'."{name}"' for name in names)


def _listed(value: Any, field: str) -> list[Any]:
    if not isinstance(value, list) or not 0 < len(value) <= VALUES_MAX:
        raise invalid(field, f"must be a list of 1 to {VALUES_MAX} values")
    return value


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str) or len(value) > TEXT_CHARACTERS_MAX:
        raise invalid(field, f"must be a text of at most {TEXT_CHARACTERS_MAX} characters")
    return value


def _number(value: Any, field: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise invalid(field, "must be a number")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise invalid(field, "must fit 64 bits")
    if not math.isfinite(value):
        raise invalid(field, "must be finite")
    return value


def _time(value: Any, field: str) -> int:
    try:
        return from_datetime(msgspec.convert(value, _Moment))
    except (msgspec.ValidationError, OverflowError) as error:
        raise invalid(field, "must be a time such as 2026-03-21T12:52:55Z") from error


def _truth(value: Any, field: str) -> bool:
    if not isinstance(value, bool):
        raise invalid(field, "must be true or false")
    return value


def _no_operator(operator: str, field: str) -> Exception:
    return invalid(field, "does not fit this field" if operator in OPERATORS else f"must be one of {', '.join(OPERATORS)}")
