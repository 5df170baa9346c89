"""What an operation of the engine is: a name, the Struct of its arguments, the Struct of its result.

A ``Tool`` is an operation that agents and programs may call. MCP's ``tools/list``, the REST bodies, OpenAPI and the
documentation are derived from its declaration, so that there is one source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Generic, Literal, TypeVar

import msgspec

A = TypeVar("A", bound=msgspec.Struct)
R = TypeVar("R")

Kind = Literal["read", "write", "stream"]


class Arguments(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Base of all arguments. A field nobody knows is an error, never silently ignored; a default is not sent."""


@dataclass(frozen=True, kw_only=True)
class Operation(Generic[A, R]):
    """One method of the engine's protocol."""

    name: str
    arguments: type[A]
    result: type[R]
    kind: Kind
    """``read`` sees committed data; ``write`` runs inside a transaction; ``stream`` answers in chunks of ``result``."""


@dataclass(frozen=True, kw_only=True)
class Embeds:
    """Which argument is a text that the caller embeds before it calls, and what the vectors are for."""

    argument: str
    purpose: Literal["document", "query"]


@dataclass(frozen=True, kw_only=True)
class Tool(Operation[A, R]):
    """An operation offered to agents."""

    title: str
    description: str
    """Written for a model: what it does, when to use it, nothing else."""
    destructive: bool = False
    idempotent: bool = False
    embeds: Embeds | None = None
    aliases: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Other names that existing agents use for an argument, each with the name it stands for."""

    @property
    def scope(self) -> Literal["read", "write"]:
        """The scope that a key needs."""
        return "read" if self.kind == "read" else "write"

    def annotations(self) -> dict[str, Any]:
        """MCP's annotations, each explicit: clients assume the worst of what is left out."""
        return {
            "title": self.title,
            "readOnlyHint": self.kind == "read",
            "destructiveHint": self.destructive,
            "idempotentHint": self.idempotent or self.kind == "read",
            "openWorldHint": False,
        }

    def renamed(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``arguments`` under our names. A name given twice keeps ours."""
        renamed = {self.aliases.get(name, name): value for name, value in arguments.items() if name in self.aliases}
        return renamed | {name: value for name, value in arguments.items() if name not in self.aliases}
