"""What the host asks of a running engine."""

from __future__ import annotations

import msgspec

from engine.catalogue.operation import Arguments, Operation


class Hibernate(Arguments):
    """Arguments of ``hibernate``: end if nothing has been asked for ``idle_s`` seconds."""

    idle_s: float


class Idleness(msgspec.Struct):
    """Whether the engine is ending now, and otherwise for how long it has been idle."""

    hibernating: bool
    idle_s: float


HIBERNATE = Operation(name="hibernate", arguments=Hibernate, result=Idleness, kind="read")
