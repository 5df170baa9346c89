"""The end of a session and points on its way are memories of that session."""

from __future__ import annotations

import pytest

from engine.catalogue.memory import Scope
from engine.catalogue.session import CHECKPOINT, LAND, MemoryCheckpoint, SessionLand
from engine.protocol import Embedding, ErrorCode, Passage, RemoteError, Request
from engine.store import passages
from engine.store.database import Database
from engine.tools import session

REQUEST = Request(id=1, method="")


def test_a_session_lands_as_a_summary_with_its_hints(database: Database) -> None:
    with database.write_group():
        landed = session.land(
            database,
            SessionLand(
                session_id="s-1", summary=" Moved the build to CI. ", next_session_hints=["Fix E4021", " "], workspace="w"
            ),
            REQUEST,
        )

    assert landed.content == "Moved the build to CI.\n\nNext session:\n- Fix E4021"
    assert (landed.type, landed.scope, landed.workspace) == ("summary", Scope("session", "s-1"), "w")
    assert landed.importance > 0.5


def test_hints_may_be_one_text_and_stand_alone(database: Database) -> None:
    with database.write_group():
        landed = session.land(database, SessionLand(session_id="s", next_session_hints="Fix E4021"), REQUEST)

    assert landed.content == "Next session:\n- Fix E4021"


def test_a_session_that_says_nothing_does_not_land(database: Database) -> None:
    with pytest.raises(RemoteError) as error, database.write_group():
        session.land(database, SessionLand(session_id="s", summary=" ", next_session_hints=[""]), REQUEST)

    assert error.value.details == {"field": "summary"}


def test_too_much_is_too_large_and_names_the_summary(database: Database) -> None:
    with pytest.raises(RemoteError) as error, database.write_group():
        session.land(database, SessionLand(session_id="s", summary="x", next_session_hints="y" * 70_000), REQUEST)

    assert (error.value.code, error.value.details["field"]) == (ErrorCode.TOO_LARGE, "summary")


def test_a_checkpoint_keeps_its_context(database: Database) -> None:
    arguments = MemoryCheckpoint(session_id="s", summary="Half done.", context={"branch": "main"}, tags=["build"])
    with database.write_group():
        stored = session.checkpoint(database, arguments, REQUEST)

    assert (stored.type, stored.content, stored.metadata) == ("checkpoint", "Half done.", {"branch": "main"})
    assert (stored.scope, stored.tags) == (Scope("session", "s"), ["build"])


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (MemoryCheckpoint(session_id="s", summary="  "), "summary"),
        (MemoryCheckpoint(session_id="s", summary="x", context={"a": "y" * 17_000}), "context"),
    ],
)
def test_a_bad_checkpoint_names_its_own_argument(database: Database, arguments: MemoryCheckpoint, field: str) -> None:
    with pytest.raises(RemoteError) as error, database.write_group():
        session.checkpoint(database, arguments, REQUEST)

    assert error.value.details["field"] == field


def test_the_text_that_is_embedded_is_the_text_that_is_stored(database: Database) -> None:
    """Positions of passages count characters of the stored content."""
    arguments = SessionLand(session_id="s", summary=" a ", next_session_hints=["b"])
    assert LAND.embeds is not None
    assert CHECKPOINT.embeds is not None
    (text,) = LAND.embeds.texts(arguments)
    embedding = Embedding("a-model", [Passage(0, len(text), b"\0\0\x80?" + bytes(12))])
    with database.write_group():
        landed = session.land(database, arguments, Request(id=1, method="", embeddings=[embedding]))

    assert landed.content == text
    assert CHECKPOINT.embeds.texts(MemoryCheckpoint(session_id="s", summary=" c ")) == [" c "]
    assert passages.pending_count(database.connection) == 0
