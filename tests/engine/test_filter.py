"""The filter language against a plain reading of it: the SQL must select what ``holds`` below says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.catalogue.memory import MemoryCreate, MemoryList
from engine.protocol import ErrorCode, RemoteError, Request
from engine.store.connection import preload
from engine.store.database import Database
from engine.store.filter import DEPTH_MAX, VALUES_MAX, compile_filter
from engine.tools import memory

REQUEST = Request(id=1, method="")

VALUES = (None, True, False, 0, 1, -3, 2.5, "", "x", "X", "über", "a,b", ["x", 1, True, None], [], {"in": "x"})
MEMORIES: tuple[dict[str, Any], ...] = (
    *({"content": f"value {value!r}", "metadata": {"v": value, "deep": {"er": value}}} for value in VALUES),
    {"content": "nothing known", "metadata": {}},
    {"content": "The CAFÉ", "tags": ["a/b", "x"], "importance": 0.9, "type": "decision"},
    {"content": "tagged", "tags": ["a"], "workspace": "w", "event_time": "2026-01-01T00:00:00Z"},
    {"content": "near miss", "tags": ["ab", "a0", "a/"], "scope": {"type": "user", "id": "u"}, "event_duration_seconds": 60},
)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    preload()
    with Database(tmp_path_factory.mktemp("filter") / "memory.db") as opened:
        with opened.write_group():
            for fields in MEMORIES:
                memory.create(opened, msgspec.convert(fields, MemoryCreate), REQUEST)
        yield opened


def found(database: Database, document: dict[str, Any]) -> list[int]:
    page = memory.list_page(database, MemoryList(filter=document, limit=500, sort_order="asc", sort_by="id"), REQUEST)
    return [one.id for one in page.memories]


def expected(database: Database, document: dict[str, Any]) -> list[int]:
    page = memory.list_page(database, MemoryList(limit=500, sort_order="asc", sort_by="id"), REQUEST)
    return [one.id for one in page.memories if holds(msgspec.to_builtins(one), document)]


def holds(one: dict[str, Any], document: dict[str, Any]) -> bool:
    def part(name: str, value: Any) -> bool:
        if name == "AND":
            return all(holds(one, item) for item in value)
        if name == "OR":
            return any(holds(one, item) for item in value)
        if name == "NOT":
            return not holds(one, value)
        return all(compare(name, look(one, name), operator, operand) for operator, operand in value.items())

    return all(part(name, value) for name, value in document.items())


def look(one: dict[str, Any], name: str) -> Any:
    value: Any = one
    for step in name.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value


def same(value: Any, operand: Any) -> bool:
    if isinstance(value, bool) or isinstance(operand, bool) or value is None or operand is None:
        return value is operand
    return isinstance(value, str) == isinstance(operand, str) and value == operand


def below(tags: list[str], tag: str) -> bool:
    return any(own == tag or own.startswith(f"{tag}/") for own in tags)


def compare(name: str, value: Any, operator: str, operand: Any) -> bool:  # noqa: PLR0911  a table of operators
    if name == "tags":
        known = {"eq": below, "contains": below, "neq": lambda *pair: not below(*pair)}
        known |= {"not_contains": known["neq"], "exists": lambda tags, wanted: bool(tags) is wanted}
        return bool(known[operator](value, operand))
    if operator.startswith("n"):
        return not compare(name, value, {"neq": "eq", "not_contains": "contains"}[operator], operand)
    match operator:
        case "eq":
            return same(value, operand)
        case "in":
            return any(same(value, item) for item in operand)
        case "exists":
            return (value is not None) is operand
        case "contains":
            if isinstance(value, list):
                return any(same(item, operand) for item in value)
            return isinstance(value, str) and isinstance(operand, str) and operand.casefold() in value.casefold()
    comparable = not isinstance(value, bool) and isinstance(value, str) == isinstance(operand, str)
    if not comparable or not isinstance(value, str | int | float):
        return False
    return bool({"gt": value > operand, "gte": value >= operand, "lt": value < operand, "lte": value <= operand}[operator])


SCALARS = st.sampled_from([None, True, False, 0, 1, 1.0, -3, 2.5, 3, "", "x", "X", "ü", "a"])
ORDERED = st.sampled_from([0, 1, 1.5, -3, "", "x", "a"])


def conditions() -> st.SearchStrategy[dict[str, Any]]:
    operators = st.one_of(
        st.tuples(st.sampled_from(["eq", "neq"]), SCALARS),
        st.tuples(st.sampled_from(["gt", "gte", "lt", "lte"]), ORDERED),
        st.tuples(st.just("in"), st.lists(SCALARS, min_size=1, max_size=3)),
        st.tuples(st.sampled_from(["contains", "not_contains"]), SCALARS.filter(lambda value: value is not None)),
        st.tuples(st.just("exists"), st.booleans()),
    )
    on_metadata = st.tuples(st.sampled_from(["metadata.v", "metadata.deep.er", "metadata.none"]), operators)
    on_tags = st.tuples(
        st.just("tags"),
        st.one_of(
            st.tuples(st.sampled_from(["eq", "neq", "contains", "not_contains"]), st.sampled_from(["a", "a/b", "x", "ab", ""])),
            st.tuples(st.just("exists"), st.booleans()),
        ),
    )
    on_content = st.tuples(
        st.just("content"),
        st.tuples(st.sampled_from(["contains", "eq", "neq"]), st.sampled_from(["café", "x", "nothing known"])),
    )
    on_numbers = st.tuples(
        st.sampled_from(["importance", "event_duration_seconds"]),
        st.tuples(st.sampled_from(["eq", "neq", "gt", "lte"]), st.sampled_from([0.5, 0.9, 60])),
    )
    leaf = st.one_of(on_metadata, on_tags, on_content, on_numbers)
    return leaf.map(lambda pair: {pair[0]: {pair[1][0]: pair[1][1]}})


FILTERS = st.recursive(
    conditions(),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda items: {"AND": items}),
        st.lists(inner, min_size=1, max_size=3).map(lambda items: {"OR": items}),
        inner.map(lambda item: {"NOT": item}),
    ),
    max_leaves=6,
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=FILTERS)
def test_the_sql_selects_what_the_filter_says(database: Database, document: dict[str, Any]) -> None:
    assert found(database, document) == expected(database, document)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)
LIKELY = st.dictionaries(
    st.sampled_from(["AND", "OR", "NOT", "tags", "type", "created_at", "metadata.a", "metadata.", 'metadata."', "scope.id"]),
    st.dictionaries(st.sampled_from(["eq", "in", "gt", "contains", "exists", "AND", "between"]), JSON, max_size=2) | JSON,
    min_size=1,
    max_size=3,
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=LIKELY | st.dictionaries(st.text(max_size=12), JSON, max_size=3))
def test_whatever_is_sent_is_a_filter_or_a_named_error(database: Database, document: dict[str, Any]) -> None:
    try:
        assert isinstance(found(database, document), list)
    except RemoteError as error:
        assert error.code == ErrorCode.INVALID
        assert str(error.details["field"]).startswith("filter")


def test_times_compare_as_moments(database: Database) -> None:
    (tagged,) = [one.id for one in memory.list_page(database, MemoryList(workspace="w"), REQUEST).memories]

    assert found(database, {"event_time": {"gte": "2026-01-01T01:00:00+01:00"}}) == [tagged]
    assert found(database, {"event_time": {"gt": "2026-01-01T00:00:00Z"}}) == []
    assert found(database, {"event_time": {"eq": None}}) == [n for n in found(database, {"id": {"gt": 0}}) if n != tagged]


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({}, "filter"),
        ({"nonsense": {"eq": 1}}, "filter.nonsense"),
        ({"type": "note"}, "filter.type"),
        ({"type": {}}, "filter.type"),
        ({"type": {"between": 1}}, "filter.type.between"),
        ({"importance": {"contains": 1}}, "filter.importance.contains"),
        ({"importance": {"eq": "high"}}, "filter.importance.eq"),
        ({"importance": {"gt": 2**70}}, "filter.importance.gt"),
        ({"tags": {"gt": "a"}}, "filter.tags.gt"),
        ({"created_at": {"gt": "yesterday"}}, "filter.created_at.gt"),
        ({"created_at": {"gt": "2026-01-01T00:00:00"}}, "filter.created_at.gt"),
        ({"metadata": {"eq": 1}}, "filter.metadata"),
        ({"metadata.a..b": {"eq": 1}}, "filter.metadata.a..b"),
        ({'metadata.a"b': {"eq": 1}}, 'filter.metadata.a"b'),
        ({"metadata.a": {"exists": 1}}, "filter.metadata.a.exists"),
        ({"type": {"in": []}}, "filter.type.in"),
        ({"type": {"in": ["note", 1]}}, "filter.type.in[1]"),
        ({"AND": []}, "filter.AND"),
        ({"OR": [{"type": {"eq": "note"}}, 7]}, "filter.OR[1]"),
        ({"NOT": [{"type": {"eq": "note"}}]}, "filter.NOT"),
    ],
)
def test_a_bad_filter_names_the_place(document: dict[str, Any], field: str) -> None:
    with pytest.raises(RemoteError) as error:
        compile_filter(document)

    assert error.value.details["field"] == field


def test_a_filter_has_bounds() -> None:
    deep: dict[str, Any] = {"type": {"eq": "note"}}
    for _ in range(DEPTH_MAX):
        deep = {"NOT": deep}
    many = {"AND": [{"type": {"eq": "note"}}] * (VALUES_MAX + 1)}
    listed = {"id": {"in": list(range(VALUES_MAX + 1))}}

    parts = {"AND": [{"content": {"contains": "x"}}] * (VALUES_MAX // 8 + 1)}

    for document in (deep, many, listed, parts):
        with pytest.raises(RemoteError):
            compile_filter(document)
