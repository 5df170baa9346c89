"""What an operation of the engine is: a name, the Struct of its arguments, the Struct of its result.

A ``Tool`` is an operation that agents and programs may call. MCP's ``tools/list``, the REST bodies, OpenAPI and the
documentation are derived from its declaration, so that there is one source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Generic, Literal, TypeVar, get_args

import msgspec

A = TypeVar("A", bound=msgspec.Struct)
R = TypeVar("R")

Kind = Literal["read", "write", "stream"]
Profile = Literal["essential", "standard", "full"]
PROFILES: tuple[Profile, ...] = get_args(Profile)
"""From the few tools that every connection lists to all there are; each holds the one before."""


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
    frees: bool = False
    """Whether a write gives room back, as far as it stores nothing beside: it goes on when the plan, or the disk, is full."""


@dataclass(frozen=True, kw_only=True)
class Embeds:
    """Which texts of the arguments the caller embeds before it calls, and what the vectors are for."""

    texts: Callable[[Any], list[str]]
    """Takes the arguments. The request brings one embedding for each of its texts, in their order, or none at all."""
    purpose: Literal["document", "query"]


@dataclass(frozen=True, kw_only=True)
class Tool(Operation[A, R]):
    """An operation offered to agents."""

    title: str
    description: str
    """Written for a model: what it does, when to use it, nothing else."""
    category: str = "memory"
    profile: Profile = "standard"
    """From which profile on a connection lists it. All tools may be called, whatever is listed."""
    destructive: bool = False
    idempotent: bool = False
    embeds: Embeds | None = None
    leaves_pending: bool = False
    """Whether it may leave texts without vectors although it got none to embed: whoever embeds should ask for them."""
    aliases: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Other names that existing agents use for an argument, each with the name it stands for."""
    parts: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: MappingProxyType({}))
    """The aliases inside arguments that are lists of objects."""

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
        renamed = _renamed(arguments, self.aliases)
        for name, aliases in self.parts.items():
            if isinstance(items := renamed.get(name), list):
                renamed[name] = [_renamed(item, aliases) if isinstance(item, Mapping) else item for item in items]
        return renamed


def _renamed(given: Mapping[str, Any], aliases: Mapping[str, str]) -> dict[str, Any]:
    renamed = {aliases[name]: value for name, value in given.items() if name in aliases}
    return renamed | {name: value for name, value in given.items() if name not in aliases}
