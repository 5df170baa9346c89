"""What the host and ``engram doctor`` ask of a running engine, and what an engine leaves in its folder for the host to see."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from engine.catalogue.operation import Arguments, Operation

QUARANTINE_FILE = "quarantine.json"
"""Where it exists, the database is damaged: its engine serves nothing, and the host starts none."""

DUE_FILE = "due.json"
"""An engine's last words: when it wants to be woken. Missing while an engine runs, and after one was killed."""

DUE_BYTES_MAX = 64
"""No honest one is longer."""


FINDINGS_MAX = 1000
Finding = Annotated[str, Meta(max_length=2000)]
"""A check ends long before it has found so much; what an engine says that was taken over is bounded by it."""


class Due(msgspec.Struct):
    """What ``due.json`` holds: the time of the next clean-up in microseconds since 1970, or nothing to wait for."""

    at: int | None


class Hibernate(Arguments):
    """Arguments of ``hibernate``: end if nothing has been asked for ``idle_s`` seconds."""

    idle_s: float


class Idleness(msgspec.Struct):
    """Whether the engine is ending now, and otherwise for how long it has been idle."""

    hibernating: bool
    idle_s: Annotated[float, Meta(ge=0)]
    """The host reckons with it: less than nothing, or no number at all, would keep an engine awake for ever."""


class Housekeep(Arguments):
    """Arguments of ``housekeep``: erase a bounded piece of what has expired or has lain in the trash for its time."""


class Housekept(msgspec.Struct):
    """When more is due, in microseconds since 1970: now or earlier if a piece is left over."""

    next_due: int | None


class DatabaseCheck(Arguments):
    """Arguments of ``database_check``."""


class CheckReport(msgspec.Struct, kw_only=True):
    """What a check of a whole database has found. Nothing that is stored is in it."""

    problems: Annotated[list[Finding], Meta(max_length=FINDINGS_MAX)] = []
    """None: the database is sound."""
    left_out: Annotated[list[Finding], Meta(max_length=FINDINGS_MAX)] = []
    """What could not be checked, and how it can be."""
    memories: int = 0
    """Rows looked at, deleted and expired ones included."""
    bytes: int = 0
    """Size of the file and its log."""


HIBERNATE = Operation(name="hibernate", arguments=Hibernate, result=Idleness, kind="read")
HOUSEKEEP = Operation(name="housekeep", arguments=Housekeep, result=Housekept, kind="write", frees=True)
DATABASE_CHECK = Operation(name="database_check", arguments=DatabaseCheck, result=CheckReport, kind="read")
