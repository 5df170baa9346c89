"""A fork server whose engines can be told to attack: ``python -m tests.isolation.compromised full|control|LAYER``.

It is the real one, started by the real ``serve``; only one more operation is known to its engines. ``full`` changes nothing
else. ``control`` takes the box away: no layer, no users, descriptors not closed, output shared. With the name of a layer that
layer alone is left.

In each it holds a descriptor of the control plane's database, as a careless preload might.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import apsw
import msgspec

from engine import children, dispatch, fork_server
from engine.catalogue import OPERATIONS
from engine.catalogue.operation import Operation
from engine.protocol import Request
from engine.protocol.processes import Isolation
from engine.sandbox import Confinement, users
from engine.sandbox.confinement import LAYERS
from engine.store.database import Database
from engine.tools import HANDLERS
from tests.isolation import attacks
from tests.isolation.attack import CATALOGUE, Targets

_SHARED, _PASSABLE = 0o750, 0o751

NEEDS = {"landlock": frozenset({"privileges"}), "seccomp": frozenset({"privileges"})}
"""Whoever is not root must have given up new privileges for these."""


class Order(msgspec.Struct):
    """What the engine is told to try."""

    name: str
    targets: Targets


class Outcome(msgspec.Struct):
    """What became of it."""

    succeeded: bool
    proof: bytes = b""
    refusal: str = ""
    number: int = 0
    """``errno`` of the refusal."""


def _attack(_: Database, order: Order, __: Request) -> Outcome:
    try:
        proof = CATALOGUE.attacks[order.name].run(order.targets)
    except OSError as error:
        return Outcome(False, refusal=str(error), number=error.errno or 0)
    except (MemoryError, apsw.Error) as error:
        return Outcome(False, refusal=f"{type(error).__name__}: {error}")
    return Outcome(True, proof if isinstance(proof, bytes) else str(proof or "").encode())


ATTACK = Operation(name="attack", arguments=Order, result=Outcome, kind="read")


def _be_compromised() -> None:
    OPERATIONS[ATTACK.name] = ATTACK
    HANDLERS[ATTACK.name] = _attack
    dispatch._decoders[ATTACK.name] = msgspec.msgpack.Decoder(Order)
    os.register_at_fork(before=attacks.memory.note_regions)


def _weaken(mode: str) -> None:
    layers = frozenset() if mode == "control" else frozenset({mode})
    if os.geteuid() != 0:
        layers = layers.union(*(NEEDS.get(layer, frozenset()) for layer in layers))
    isolation = Isolation("process", dict.fromkeys(LAYERS, "taken away"))
    patched: dict[tuple[Any, str], Any] = {(fork_server, "find_out"): lambda **_: (Confinement(layers), isolation)}
    if mode == "user":
        own = users._own
        # Without a root of its own an engine must get through to its folder.
        patched[users, "_own"] = lambda folder, uid, gid, bits: own(folder, uid, gid, _PASSABLE if bits == _SHARED else bits)
    else:
        patched[fork_server, "service_of"] = lambda _: None
    if mode == "control":
        patched[children, "_close_all_but"] = lambda *_: None
        patched[children, "_speak_through"] = lambda _: None
    for (module, name), replacement in patched.items():
        assert hasattr(module, name), f"{module.__name__} has no {name} any more"
        setattr(module, name, replacement)


def main(mode: str) -> None:
    """Serve in this process."""
    _be_compromised()
    if mode != "full":
        _weaken(mode)
    os.open(f"{os.environ['ENGRAM_DATA_DIR']}/control.db", os.O_RDONLY)
    fork_server.serve(os.environ)


if __name__ == "__main__":
    main(sys.argv[1])
