"""What an attack is: a function that a compromised engine runs, and how one knows that it succeeded.

An attack raises ``OSError`` (or SQLite's error, or ``MemoryError``) when it is refused. When it succeeds it returns a proof:
what it stole, or what it was told. Where the effect is outside the engine, ``seen`` looks for it there, as the prover.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

CANARY = re.compile(rb"engram-canary-[a-z]+-[0-9a-f]{32}")
"""What a secret looks like. The attacker knows the form and not the rest."""


def new_canary(kind: str) -> str:
    """Return a secret that nothing but its owner holds."""
    return f"engram-canary-{kind}-{secrets.token_hex(16)}"


class Targets(msgspec.Struct, kw_only=True):
    """What a well-informed attacker knows: where everything is. What it is after it does not know."""

    tenant: str
    folder: str
    """Its own, as the node sees it."""
    data_folder: str
    log: str
    fork_server: int
    neighbour: str
    neighbour_folder: str
    neighbour_file: str
    """Holds the neighbour's secret."""
    neighbour_spare: str
    """Another file of the neighbour's, which may be spoilt."""
    neighbour_pipe: str
    """A named pipe in the neighbour's folder, with a secret in it."""
    neighbour_pid: int
    neighbour_user: int
    """0 where nobody has a user of its own."""
    neighbour_secret_at: int
    """Address in the neighbour's memory."""
    neighbour_descriptor: int
    """Under this number the neighbour holds that file open."""
    neighbour_handle: bytes
    """The file system's own name of that file."""
    nobody: int
    """No process has this number."""
    bystander: int
    """A process of the service with a secret in its environment, as the gateway is."""
    bystander_buffer: int
    """Address of memory in it that may be spoilt."""
    tcp_port: int
    udp_port: int
    abstract: str
    shared_memory: int
    message_queue: int
    semaphore: int
    posix_queue: str
    library: str
    """A shared library that no engine has loaded."""
    nonce: str
    """Says which run it was."""

    def path(self, *parts: str) -> str:
        """Return a path below the node's data folder."""
        return "/".join((self.data_folder, *parts))


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One row of the table."""

    name: str
    family: str
    title: str
    run: Callable[[Targets], Any]
    steals: str = ""
    """Which secret the proof must hold, if one."""
    seen: Callable[[Any], str] | None = None
    """Looks for the effect as the prover; returns what it saw, or nothing."""
    layer: str = ""
    """What refuses it when it is no layer that can be taken away."""


@dataclass
class Catalogue:
    """All attacks by name."""

    attacks: dict[str, Attack] = field(default_factory=dict)

    def family(self, family: str) -> Callable[..., Callable[[Callable[[Targets], Any]], Callable[[Targets], Any]]]:
        """Return the decorator that adds attacks of one family. A function's name and first line are the row's."""

        def attack(
            *, steals: str = "", seen: Callable[[Any], str] | None = None, layer: str = ""
        ) -> Callable[[Callable[[Targets], Any]], Callable[[Targets], Any]]:
            def add(function: Callable[[Targets], Any]) -> Callable[[Targets], Any]:
                name = function.__name__
                assert name not in self.attacks, f"two attacks are called {name}"
                title = (function.__doc__ or "").strip().partition("\n")[0].removesuffix(".")
                assert title, f"{name} does not say what it tries"
                self.attacks[name] = Attack(
                    name=name, family=family, title=title, run=function, steals=steals, seen=seen, layer=layer
                )
                return function

            return add

        return attack


CATALOGUE = Catalogue()
