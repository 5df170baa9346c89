"""What the host and the fork server say to each other on ``run/fork.sock``."""

from __future__ import annotations

import msgspec


class Fork(msgspec.Struct):
    """Method ``fork``: start an engine, or answer with the one that runs."""

    tenant: str
    folder: str


class EngineProcess(msgspec.Struct):
    """One running engine."""

    tenant: str
    pid: int
    started_at: float
    """Seconds since 1970."""


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


class Exited(msgspec.Struct):
    """A chunk of the endless answer to method ``watch``: an engine has ended and been reaped."""

    tenant: str
    pid: int
    status: int
    """As ``os.waitstatus_to_exitcode``: 0 is a clean end, negative a signal."""
    served: bool
    """Whether it had come so far as to answer requests."""
