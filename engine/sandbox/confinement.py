"""The box around one engine: every layer the kernel offers, applied after the fork and before the first thread.

Order matters and is this: limits, the folder and the ruleset over it opened, the root changed to that folder, the user changed
(which ends root's powers and forgets who the parent is), new privileges given up, Landlock, the parent remembered, and seccomp
last, because it refuses all of these calls.

Which layers there are is found out once, by a trial: a child applies them all and then tries what they should refuse. From then
on they are not optional: an engine that can't apply one does not start.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from engine.process import die_with_parent
from engine.protocol.processes import Isolation
from engine.sandbox import landlock, limits, privileges, seccomp, system_calls, users

LAYERS = ("limits", "root", "user", "privileges", "landlock", "seccomp")
"""In the order in which they are applied."""

_TRIAL_ANSWER_BYTES_MAX = 65536
_NOT_HELD = "it was applied and does not hold"


@dataclass(frozen=True, kw_only=True)
class Box:
    """What one engine is confined to."""

    folder: Path
    user: int | None
    """The tenant's user; ``None`` where engines have none of their own."""
    memory_max_mb: int
    parent: int
    """Process id of the fork server, with which the engine ends."""


class Confinement:
    """Puts processes into boxes. Made in the fork server; ``apply`` is called in its children."""

    def __init__(self, layers: frozenset[str]) -> None:
        self.layers = layers
        # Known before the fork, because each file that a child reads costs it pages of its own.
        self._address_space_bytes = limits.address_space_bytes() if "limits" in layers else 0
        self._filter = seccomp.compile_filter(system_calls.ARCHITECTURE) if system_calls.ARCHITECTURE else b""

    def apply(self, box: Box) -> Path:
        """Confine this process for good; return where it now finds its folder. Whatever fails raises ``OSError``."""
        failures = self._apply(box)
        for layer, error in failures:
            raise OSError(error.errno, f"{layer}: {error.strerror or error}")
        return Path("/") if "root" in self.layers else box.folder

    def _apply(self, box: Box) -> Iterator[tuple[str, OSError]]:
        """Apply the layers; yield those that could not be, each with its error."""
        own = os.open(box.folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        ruleset = -1

        def open_ruleset() -> None:
            nonlocal ruleset
            ruleset = landlock.create_ruleset({own: landlock.OWN_FOLDER})

        def change_root() -> None:
            if os.geteuid() != 0:
                users.gain_root_of_nothing()
            users.change_root(own)

        def change_user() -> None:
            if box.user is None:
                raise PermissionError("only root gives users of their own")
            users.become(box.user)

        def give_up_privileges() -> None:
            privileges.keep_only(frozenset())
            privileges.forbid_new_privileges()

        steps: list[tuple[str, Callable[[], None]]] = [
            (
                "limits",
                lambda: limits.apply(
                    address_space_bytes=self._address_space_bytes,
                    memory_max_mb=box.memory_max_mb,
                    own_user=box.user is not None,
                ),
            ),
            ("landlock", open_ruleset),
            ("root", change_root),
            ("user", change_user),
            ("privileges", give_up_privileges),
            ("landlock", lambda: landlock.restrict_self(ruleset)),
            ("", lambda: die_with_parent(box.parent)),
            ("seccomp", lambda: seccomp.install(self._filter)),
        ]
        for layer, step in steps:
            if layer in self.layers or not layer:
                try:
                    step()
                except OSError as error:
                    yield layer, error
        # Closed here, where seccomp has long allowed it: both lead to nothing but the folder.
        for descriptor in (own, ruleset):
            if descriptor >= 0:
                os.close(descriptor)


def find_out(*, own_users: bool) -> tuple[Confinement, Isolation]:
    """Return the confinement by all layers that this machine has, found by a trial in a child, and what there is to say of it.

    ``own_users``: whether there are users to give. A system whose calls we do not know confines nothing.
    """
    if system_calls.ARCHITECTURE is None:
        return Confinement(frozenset()), Isolation("process", dict.fromkeys(LAYERS, "not a system whose calls we know"))
    with tempfile.TemporaryDirectory(prefix="engram-trial-") as folder:
        missing = _try_all(Path(folder), users.FIRST if own_users else None)
    confinement = Confinement(frozenset(LAYERS) - missing.keys())
    if "landlock" not in missing and landlock.abi() < landlock.ABI_MIN:
        missing["landlock"] = f"version {landlock.abi()}: what {landlock.ABI_MIN} adds is left to seccomp"
    level = "full" if not missing else "partial" if {"landlock", "seccomp"} <= confinement.layers else "process"
    return confinement, Isolation(level, {layer: missing.get(layer, "") for layer in LAYERS})


def _try_all(folder: Path, user: int | None) -> dict[str, str]:
    """Apply every layer in a child, and there try what it should refuse. Return what failed."""
    receive, send = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(receive)
            box = Box(folder=folder, user=user, memory_max_mb=1024, parent=os.getppid())
            missing: dict[str, str] = {}
            for layer, error in Confinement(frozenset(LAYERS))._apply(box):
                missing.setdefault(layer, str(error.strerror or error))  # what comes later follows from it
            if user is not None and {os.getuid(), os.geteuid(), os.getgid(), os.getegid()} != {user}:
                missing.setdefault("user", _NOT_HELD)
            for layer, attempt in _ATTEMPTS.items():
                if layer not in missing and _succeeds(attempt):
                    missing[layer] = _NOT_HELD
            os.write(send, msgspec.json.encode(missing))
        finally:
            os._exit(0)
    os.close(send)
    with os.fdopen(receive, "rb") as answer:
        text = answer.read(_TRIAL_ANSWER_BYTES_MAX)
    os.waitpid(pid, 0)
    if not text:
        return dict.fromkeys(LAYERS, "the trial did not come to its end")
    return msgspec.json.decode(text, type=dict[str, str])


_ATTEMPTS: dict[str, Callable[[], object]] = {
    "root": lambda: Path("/proc/self/status").stat(),
    "seccomp": lambda: socket.socket().close(),
}
"""What a layer should refuse, where one refuses it alone."""


def _succeeds(attempt: Callable[[], object]) -> bool:
    with contextlib.suppress(OSError):
        attempt()
        return True
    return False
