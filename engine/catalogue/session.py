"""The end of a session, and points on its way, as memories that the next session begins with."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from engine.catalogue.memory import CONTENT_BYTES_MAX, Importance, Memory, Metadata, Tags, Workspace
from engine.catalogue.operation import Arguments, Embeds, Tool

SessionId = Annotated[str, Meta(min_length=1, max_length=256, description="The session's name.")]
Text = Annotated[str, Meta(max_length=CONTENT_BYTES_MAX)]


class SessionLand(Arguments):
    """Arguments of ``session_land``. ``summary`` or ``next_session_hints`` must say something."""

    session_id: SessionId
    summary: Annotated[Text, Meta(description="What was done, decided and learned.")] = ""
    next_session_hints: Annotated[
        str | list[str], Meta(description="What to do or know next time: a text, or a list of them.")
    ] = []
    workspace: Workspace = "default"
    tags: Tags = []
    importance: Importance = 0.7


class MemoryCheckpoint(Arguments):
    """Arguments of ``memory_checkpoint``."""

    session_id: SessionId
    summary: Annotated[str, Meta(min_length=1, max_length=CONTENT_BYTES_MAX, description="Where things stand.")]
    context: Annotated[Metadata, Meta(description="What to go on with: any JSON object.")] = {}
    workspace: Workspace = "default"
    tags: Tags = []
    importance: Importance = 0.6


def hints(arguments: SessionLand) -> list[str]:
    """Return the hints as a list, whichever way they were given."""
    given = arguments.next_session_hints
    return [hint.strip() for hint in ([given] if isinstance(given, str) else given) if hint.strip()]


def landing_text(arguments: SessionLand) -> str:
    """Return the text that is stored for a session's end, and so the one to embed: the summary, then the hints as a list."""
    listed = "\n".join(f"- {hint}" for hint in hints(arguments))
    parts = (arguments.summary.strip(), f"Next session:\n{listed}" if listed else "")
    return "\n\n".join(part for part in parts if part)


def _landing_texts(arguments: SessionLand) -> list[str]:
    return [landing_text(arguments)]


def _checkpoint_texts(arguments: MemoryCheckpoint) -> list[str]:
    return [arguments.summary]


LAND = Tool(
    name="session_land",
    title="End a session",
    description="At the end of a session, store what was done and what to do next. Returns the memory.",
    arguments=SessionLand,
    result=Memory,
    kind="write",
    category="session",
    embeds=Embeds(texts=_landing_texts, purpose="document"),
)
CHECKPOINT = Tool(
    name="memory_checkpoint",
    title="Checkpoint",
    description="Store where a session's work stands, to go on from there if it is interrupted. Returns the memory.",
    arguments=MemoryCheckpoint,
    result=Memory,
    kind="write",
    category="session",
    embeds=Embeds(texts=_checkpoint_texts, purpose="document"),
)
