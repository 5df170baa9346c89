"""Duplicates are suggested: the same text everywhere, similar ones piece by piece, and nothing is changed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine.catalogue.duplicates import GROUP_MEMBERS_MAX, Duplicates, FindDuplicates
from engine.catalogue.memory import MemoryCreate, MemoryDelete, Scope
from engine.protocol import Embedding, Passage, Request
from engine.store.database import Database
from engine.tools import duplicates, memory

REQUEST = Request(id=1, method="")
ANA, BEN = Scope("user", "ana"), Scope("user", "ben")


_PLANE = np.linalg.qr(np.random.default_rng(7).standard_normal((384, 2)))[0].T


def at(*degrees: float) -> list[Passage]:
    """Return passages whose vectors point there, in one plane: the cosine of two is that of the angle between them."""
    turns = [np.array([math.cos(math.radians(angle)), math.sin(math.radians(angle))]) for angle in degrees]
    return [Passage(0, 1, (turn @ _PLANE).astype("<f4").tobytes()) for turn in turns]


def create(database: Database, content: str, passages: list[Passage] | None = None, **fields: object) -> int:
    embeddings = [] if passages is None else [Embedding("a-model", passages)]
    with database.write_group():
        arguments = MemoryCreate(content=content, **fields)  # type: ignore[arg-type]
        return memory.create(database, arguments, Request(id=1, method="", embeddings=embeddings)).id


def find(database: Database, **fields: object) -> Duplicates:
    return duplicates.find(database, FindDuplicates(**fields), REQUEST)  # type: ignore[arg-type]


def shown(found: Duplicates) -> list[tuple[str, list[int]]]:
    return [(entry.reason, [twin.id for twin in entry.memories]) for entry in found.duplicates]


def test_the_same_text_is_found_whatever_its_case_and_space(database: Database) -> None:
    create(database, "The cat  sleeps.")
    create(database, "Something else.")
    create(database, "the CAT sleeps.")
    found = find(database)

    assert shown(found) == [("same_text", [1, 3])]
    assert (found.duplicates[0].score, found.duplicates[0].count) == (1.0, 2)
    assert [twin.excerpt for twin in found.duplicates[0].memories] == ["The cat  sleeps.", "the CAT sleeps."]


def test_similar_ones_are_found_by_their_best_passages(database: Database) -> None:
    create(database, "one", at(0, 90))
    create(database, "two", at(180))
    create(database, "three", at(20, 270))
    found = find(database)

    assert shown(found) == [("similar", [1, 3])]
    assert found.duplicates[0].score == pytest.approx(math.cos(math.radians(20)), abs=1e-5)
    assert shown(find(database, threshold=0.95)) == []
    assert (found.examined, found.next_before, found.truncated) == (5, None, False)


def test_the_same_text_is_not_said_twice(database: Database) -> None:
    create(database, "one", at(0))
    create(database, "ONE", at(0))

    assert shown(find(database)) == [("same_text", [1, 2])]


def test_other_workspaces_and_scopes_are_no_duplicates(database: Database) -> None:
    for content, passages in (("one", at(0)), ("two", at(1))):
        create(database, content, passages, workspace=f"w{content}")
    create(database, "tea", at(90), scope=ANA)
    create(database, "tea", at(90), scope=BEN)
    create(database, "tea", at(91), scope=BEN)

    assert shown(find(database)) == [("same_text", [4, 5])]
    assert shown(find(database, workspace="wone")) == []


def test_the_trash_is_not_looked_at(database: Database) -> None:
    create(database, "one", at(0))
    create(database, "two", at(1))
    with database.write_group():
        memory.delete(database, MemoryDelete(id=1), REQUEST)

    assert shown(find(database)) == []


def test_what_has_no_vectors_yet_is_compared_by_its_text_alone(database: Database) -> None:
    create(database, "one")
    create(database, "One")
    found = find(database)

    assert shown(found) == [("same_text", [1, 2])]
    assert (found.examined, found.next_before) == (0, None)


def test_a_long_list_goes_on_where_it_ended(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each passage is examined once, however few a call may examine, and all pairs are found."""
    monkeypatch.setattr(duplicates, "EXAMINED_MIN", 1)
    monkeypatch.setattr(duplicates, "EXAMINED_MAX", 3)
    for number in range(8):
        create(database, f"text {number}", at(number * 40, number * 40 + 5))
    create(database, "like the first", at(1))
    pairs: list[tuple[str, list[int]]] = []
    examined = calls = 0
    before = None
    while True:
        found = find(database, before=before)
        pairs += shown(found)
        examined += found.examined
        calls += 1
        if (before := found.next_before) is None:
            break

    assert (examined, calls) == (17, 6)
    assert pairs == [("similar", [1, 9])]


def test_the_limit_says_that_there_is_more(database: Database) -> None:
    for content in ("a", "b", "c"):
        create(database, content)
        create(database, content)

    assert find(database, limit=3).truncated is False
    assert find(database, limit=2).truncated is True
    assert shown(find(database, limit=2)) == [("same_text", [5, 6]), ("same_text", [3, 4])]


def test_a_large_group_is_counted_and_shown_in_part(database: Database) -> None:
    for _ in range(GROUP_MEMBERS_MAX + 5):
        create(database, "again")
    (group,) = find(database).duplicates

    assert group.count == GROUP_MEMBERS_MAX + 5
    assert len(group.memories) == GROUP_MEMBERS_MAX
