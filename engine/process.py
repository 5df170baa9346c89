"""What every process of ours does about its life: end with its parent, and end in order when told to."""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
import signal
import sys
from collections.abc import Mapping

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)  # made once: it makes a type each time


def die_with_parent(parent: int | None = None) -> None:
    """Have the kernel send this process SIGTERM when its parent ends. Linux only; elsewhere nothing happens.

    Call it first, and again after a change of user, which clears it. The kernel goes by the parent's *thread*: whoever
    spawns must do so from a thread that lives as long as it does. A caller that knows its ``parent``'s number gives it: only
    then is a parent noticed that ended before this call.
    """
    if sys.platform != "linux":
        return
    parent = os.getppid() if parent is None else parent
    if _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it ended before the kernel knew that it matters
        os.kill(os.getpid(), signal.SIGTERM)


def supervisor(environment: Mapping[str, str]) -> int | None:
    """Return the process that keeps this program running, as it has told its programs; ``None`` when it was started by hand."""
    number = environment.get("ENGRAM_SUPERVISOR")
    return int(number) if number else None


def raise_descriptor_limit() -> None:
    """Allow this process as many open descriptors as it may have: one for each connection, or for each engine."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def stop_event(loop: asyncio.AbstractEventLoop) -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set; from then on neither ends the process by itself."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
