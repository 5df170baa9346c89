"""What the host and the fork server say to each other on ``run/fork.sock``."""

from __future__ import annotations

import msgspec


class Fork(msgspec.Struct):
    """Method ``fork``: start an engine, or answer with the one that runs."""

    tenant: str
    rebase: int | None = None
    """Where given, what the outbox holds is of no use: it is emptied, and history goes on after this transaction with a file
    that holds the whole database."""


class Adopt(msgspec.Struct):
    """Method ``adopt``: move a staged database into a tenant's folder, made if need be, for its engine to take in.

    Not while that engine runs, but for a preview.
    """

    tenant: str
    staged: str
    """The name of a folder beneath ``<data>/staging``, which is gone afterwards."""
    preview: bool = False
    """Whether it is only to be compared (``preview.db``), and no restore (``restore.db``)."""


class Adopted(msgspec.Struct):
    """Result of method ``adopt``."""


class EngineProcess(msgspec.Struct):
    """One running engine."""

    tenant: str
    pid: int
    started_at: float
    """Seconds since 1970."""
    serving: bool = False
    """Whether it has come so far as to answer requests."""


class EngineProcesses(msgspec.Struct):
    """Result of method ``list``."""

    engines: list[EngineProcess]


class Signal(msgspec.Struct):
    """Method ``terminate``: ask an engine to end (SIGTERM), or end it (SIGKILL) with ``force``."""

    tenant: str
    force: bool = False


class Signalled(msgspec.Struct):
    """Whether there was an engine to signal."""

    signalled: bool


class Measure(msgspec.Struct):
    """Method ``measure``: how much memory these engines hold. Ask for few at once: each takes about half a millisecond."""

    tenants: list[str]


class EngineMemory(msgspec.Struct):
    """What one engine holds that no other process shares."""

    tenant: str
    private_bytes: int


class Measured(msgspec.Struct):
    """Result of method ``measure``; engines that have ended are left out."""

    engines: list[EngineMemory]


ISOLATION_LEVELS = ("process", "partial", "full")
"""Nothing that the kernel enforces beyond processes; Landlock and seccomp at least; every layer."""


class Isolation(msgspec.Struct):
    """Result of method ``isolation``: what confines the engines of this node."""

    level: str
    """One of ``ISOLATION_LEVELS``."""
    layers: dict[str, str]
    """Each layer, with why it is missing; empty where it is there."""


class Served(msgspec.Struct, tag_field="event", tag="served"):
    """An engine answers requests from now on. A chunk of the endless answer to method ``watch``."""

    tenant: str
    pid: int


class Exited(msgspec.Struct, tag_field="event", tag="exited"):
    """An engine has ended and been reaped. The other chunk of that answer."""

    tenant: str
    pid: int
    status: int
    """As ``os.waitstatus_to_exitcode``: 0 is a clean end, negative a signal."""
    served: bool
    """Whether it had come so far as to answer requests."""
