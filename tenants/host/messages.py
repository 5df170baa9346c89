"""What the host answers on ``run/host.sock``."""

from __future__ import annotations

import msgspec


class Ensure(msgspec.Struct):
    """Method ``ensure``: make this tenant's engine run."""

    tenant: str
    briefly: bool = False
    """Whether it is no customer's request: the engine then sleeps again as soon as it is idle."""


class Ensured(msgspec.Struct):
    """The engine's socket. The engine may end again at any time; whoever finds it gone asks once more."""

    socket: str


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
