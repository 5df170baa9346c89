"""What is said on ``run/host.sock``."""

from __future__ import annotations

from typing import Literal

import msgspec

from engine.protocol.processes import Isolation


class Ensure(msgspec.Struct):
    """Method ``ensure``: make this tenant's engine run."""

    tenant: str
    briefly: bool = False
    """Whether it is no customer's request: the engine then sleeps again as soon as it is idle."""


class Ensured(msgspec.Struct):
    """The engine's socket. The engine may end again at any time; whoever finds it gone asks once more."""

    socket: str


class Suspect(msgspec.Struct):
    """Method ``suspect``: this tenant's engine can't be reached, or gave no answer by the deadline. The host has a look."""

    tenant: str
    busy_ms: int = 0
    """For so much longer the engine may be working for others, whose deadlines are not over."""


class Suspected(msgspec.Struct):
    """The host has taken note."""


class Replace(msgspec.Struct):
    """Method ``replace``: end the tenant's engine, have it take in a staged database at its next start, and say how it went.

    Requests wait meanwhile. When the call ends without an answer, it is unknown whether it was taken in.
    """

    tenant: str
    staged: str
    """The name of a folder beneath ``<data>/staging``, which is also the restore's id in its note."""


class Replaced(msgspec.Struct, kw_only=True):
    """Result of ``replace``: the engine serves what was restored."""

    memories: int
    captured_txid: int = 0
    """The last transaction that was captured before, as the engine says; 0 for none. A restore to it takes this one back."""
    captured_ms: int = 0
    """And when that was, milliseconds since 1970."""


class Lend(msgspec.Struct):
    """Method ``lend``: give the tenant's engine a staged database to compare with its own."""

    tenant: str
    staged: str


class Lent(msgspec.Struct):
    """It lies in the tenant's folder as ``preview.db``."""


class Hold(msgspec.Struct):
    """Method ``hold``: end the tenant's engine and start none, until ``release``. Another node has taken the tenant."""

    tenant: str
    reason: str


class Release(msgspec.Struct):
    """Method ``release``: serve the tenant again."""

    tenant: str


class Held(msgspec.Struct):
    """Result of both."""


DiskState = Literal["ready", "low", "exhausted"]
"""The disk has room; so little that nothing more is stored; none, and the ballast has been let go."""


class HostStatus(msgspec.Struct):
    """Result of method ``status``."""

    fork_server: bool
    """Whether the fork server can be reached; without it no engine can be started."""
    engines: int
    starts_total: int
    hibernations_total: int
    crashes_total: int
    wakings_total: int = 0
    """How often an engine was started to erase what was due."""
    quarantined: int = 0
    """Databases known to be damaged and set aside."""
    starts_waiting: int = 0
    """Databases in the queue to be woken."""
    starts_refused_total: int = 0
    """How often that queue was full, or no memory could be freed in time."""
    evictions_total: int = 0
    """Engines put to sleep for the memory they held."""
    hung_total: int = 0
    """Engines that did not answer and were killed."""
    memory_bytes: int = 0
    """What engines hold that no other process shares; those not measured yet are taken for average."""
    memory_bytes_max: int = 0
    held: int = 0
    """Tenants that are not served here because another node has them."""
    disk: DiskState = "ready"
    isolation: Isolation | None = None
    """What confines engines; ``None`` before the fork server has said."""
