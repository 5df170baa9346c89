"""What an engine says: the node's log is others' too."""

from __future__ import annotations

import os
from typing import Any

import msgspec

from tests.isolation.attack import CATALOGUE, Targets
from tests.isolation.system import call

attack = CATALOGUE.family("voice")

FLOOD_BYTES = 4 * 1024 * 1024
FLOOD_SEEN_BYTES = FLOOD_BYTES // 2
_F_SETFL = 4
_VOICE = "a pipe for each engine's words"


def _forged(scene: Any) -> str:
    for line in scene.log.read_bytes().splitlines():
        try:
            event = msgspec.json.decode(line)
        except msgspec.DecodeError:
            continue
        if event.get("event") == f"forged {scene.targets.nonce}" and event.get("program") == "gateway":
            return "the log says it was the gateway"
    return ""


@attack(seen=_forged, layer=_VOICE)
def speak_for_gateway(targets: Targets) -> None:
    """Write a line into the log that says it was the gateway, for the neighbour."""
    event = {"event": f"forged {targets.nonce}", "level": "info", "program": "gateway", "tenant": targets.neighbour}
    os.write(1, b"\n" + msgspec.json.encode(event) + b"\n")


@attack(seen=lambda scene: "it is flooded" if scene.log_grew_bytes() > FLOOD_SEEN_BYTES else "", layer=_VOICE)
def flood_log(targets: Targets) -> None:
    """Fill the log."""
    line = b'{"event":"' + b"x" * 4000 + b'"}\n'
    for _ in range(FLOOD_BYTES // len(line)):
        try:
            os.write(1, line)
        except BlockingIOError:
            continue


@attack(seen=lambda scene: "the fork server's own output is changed" if scene.is_output_changed() else "", layer=_VOICE)
def change_shared_description(_: Targets) -> None:
    """Change the flags of the fork server's output through its own copy of it."""
    call("fcntl", 1, _F_SETFL, os.O_NONBLOCK)
