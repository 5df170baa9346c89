"""``/v1/backups`` and ``/v1/restore``: how far the backups reach, and the way back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from msgspec import Meta

from engine.catalogue.memory import Timestamp
from engine.catalogue.operation import Arguments
from engine.catalogue.recovery import EXAMPLES_MAX, Difference
from engine.protocol.moment import from_datetime, to_text
from gateway.admission import require
from gateway.api.errors import invalid
from gateway.api.parameters import check_names
from gateway.api.problem_schema import PROBLEMS
from gateway.recovery import Reach, Recovery
from tenants.registry.keys import Principal
from tenants.registry.signup import NAME_LENGTH_MAX


class Backlog(msgspec.Struct, kw_only=True):
    """What is captured here and not in the store yet."""

    files: int
    bytes: int


class BackupState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """How far the backups of a database reach."""

    replicating: bool
    """Whether changes are carried to an object store at all."""
    store: str
    """Its kind: ``directory``, ``s3``, or empty."""
    encrypted: bool
    replicated_to: Timestamp | None
    """Everything captured up to then is in the store."""
    lag_ms: int
    """How old the oldest change is that is not; 0 when there is none."""
    backlog: Backlog
    earliest: Timestamp | None
    """The first moment that can be restored."""
    latest: Timestamp | None
    """The last one that is in the store now; a restore first carries there what is newer."""
    retention_seconds: int
    """How far back the plan lets one go."""
    last_snapshot_at: Timestamp | None
    last_verified_at: Timestamp | None
    """When the database was last restored from the store alone, and found whole."""
    verification_error: str = ""
    """Why it was not, the last time; absent when it was."""


class RestoreWanted(Arguments):
    """What is to be restored."""

    at: Annotated[datetime, Meta(tz=True, description="RFC 3339, to the microsecond.")]
    mode: Literal["preview", "fork", "in_place"]
    name: Annotated[str, Meta(min_length=1, max_length=NAME_LENGTH_MAX, description="Of a fork.")] | None = None


class RestorePreviewed(msgspec.Struct, kw_only=True):
    """What a restore would do to today's memories."""

    restored_to: Timestamp
    """When the state was captured: at or shortly before the moment asked for."""
    added: int
    """Memories that would be there again."""
    changed: int
    """Memories that would have another version."""
    deleted: int
    """Memories made since, which would be gone."""
    examples: Annotated[list[Difference], Meta(max_length=3 * EXAMPLES_MAX)]


class RestoredInPlace(msgspec.Struct, kw_only=True):
    """The database is what it was then."""

    restored_to: Timestamp
    undo_at: Timestamp | None
    """A restore to this moment takes it back."""


class Forked(msgspec.Struct, kw_only=True):
    """The new database. ``api_key`` is shown this once and has the scopes read, write and admin."""

    database: str
    api_key: str
    restored_to: Timestamp


_FORKED = {201: ResponseSpec(Forked, description="A fork was made.", generate_examples=False)}


@get("/backups", guards=[require("read")], responses=PROBLEMS, summary="How far backups reach", tags=["recovery"])
async def backups(request: Request[Principal, Any, Any], recovery: NamedDependency[Recovery]) -> BackupState:
    """Say what is in the object store, and from when to when the database can be restored."""
    check_names(request, ())
    return _state(await recovery.reach(request.user))


@post(
    "/restore",
    guards=[require("admin")],
    status_code=200,
    responses=PROBLEMS | _FORKED,
    summary="Restore the database",
    tags=["recovery"],
)
async def restore(
    request: Request[Principal, Any, Any], data: RestoreWanted, recovery: NamedDependency[Recovery]
) -> Response[RestorePreviewed | RestoredInPlace | Forked]:
    """Restore the state of a moment: show what that would change, make a new database of it, or replace today's state by it.

    A large database takes minutes, and the answer comes at the end.
    """
    at = _moment(data.at)
    if data.name is not None and data.mode != "fork":
        raise invalid("name", "only a fork has one")
    if data.mode == "fork":
        fork = await recovery.fork(request.user, at, data.name)
        forked = Forked(database=fork.database, api_key=fork.api_key, restored_to=to_text(fork.restored_to))
        return Response(forked, status_code=201)
    if data.mode == "preview":
        report, done = await recovery.preview(request.user, at)
        return Response(
            RestorePreviewed(
                restored_to=_text(done.restored_to_ms),
                added=report.added,
                changed=report.changed,
                deleted=report.deleted,
                examples=report.examples,
            )
        )
    done = await recovery.in_place(request.user, at)
    return Response(RestoredInPlace(restored_to=_text(done.restored_to_ms), undo_at=_text_or_none(done.before_ms or None)))


def _moment(at: datetime) -> int:
    try:
        return from_datetime(at.astimezone(UTC))
    except OverflowError as error:
        raise invalid("at", "is outside the calendar") from error


def _state(reach: Reach) -> BackupState:
    backups = reach.backups
    return BackupState(
        replicating=backups.replicating,
        store=backups.store,
        encrypted=backups.encrypted,
        replicated_to=_text_or_none(backups.replicated_to),
        lag_ms=backups.lag_ms,
        backlog=Backlog(files=backups.backlog_files, bytes=backups.backlog_bytes),
        earliest=None if reach.earliest is None else to_text(reach.earliest),
        latest=_text_or_none(backups.replicated_to),
        retention_seconds=reach.retention_s,
        last_snapshot_at=_text_or_none(backups.last_snapshot_at),
        last_verified_at=_text_or_none(backups.last_verified_at),
        verification_error=backups.verification_error,
    )


def _text(milliseconds: int) -> str:
    return to_text(1000 * milliseconds)


def _text_or_none(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else _text(milliseconds)


ROUTES = [backups, restore]
