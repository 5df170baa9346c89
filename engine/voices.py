"""What engines say, taken from a pipe each and passed on to the log of the node.

An engine that has been taken over says what it likes: it must not speak for another program or tenant, nor fill the disk. So
each line is passed on as that engine's, whatever it says of itself, and an engine that says too much is cut short.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any

import msgspec

LINE_BYTES_MAX = 16 * 1024
"""A traceback of ours has some 5 KiB."""

BURST_BYTES_MAX = 256 * 1024
RATE_BYTES_PER_S = 4 * 1024
"""An engine in good health says three lines in its life."""

_READ_BYTES_MAX = 64 * 1024

_decoder = msgspec.json.Decoder(dict[str, Any])


class Voice:
    """One engine's pipe."""

    def __init__(self, tenant: str, pipe: int) -> None:
        """``pipe`` is the end to be read, non-blocking; it is closed when the engine has closed the other."""
        self.pipe = pipe
        self._tenant = tenant
        self._unfinished = b""
        self._credit_bytes = float(BURST_BYTES_MAX)
        self._credited_at = time.monotonic()
        self._dropped = 0

    def listen(self) -> bool:
        """Pass on what has been said; return whether there may be more."""
        try:
            said = os.read(self.pipe, _READ_BYTES_MAX)
        except BlockingIOError:
            return True
        *lines, self._unfinished = (self._unfinished + said).split(b"\n")
        if len(self._unfinished) > LINE_BYTES_MAX or not said:
            lines.append(self._unfinished)
            self._unfinished = b""
        for line in lines:
            if line:
                self._pass_on(line[:LINE_BYTES_MAX])
        if not said:
            self._tell_dropped()
        return bool(said)

    def _pass_on(self, line: bytes) -> None:
        now = time.monotonic()
        credit = self._credit_bytes + (now - self._credited_at) * RATE_BYTES_PER_S
        self._credit_bytes, self._credited_at = min(BURST_BYTES_MAX, credit), now
        if self._credit_bytes < len(line):
            self._dropped += 1
            return
        self._credit_bytes -= len(line)
        self._tell_dropped()
        self._write(_understood(line))

    def _tell_dropped(self) -> None:
        if self._dropped:
            self._write({"event": "engine_cut_short", "level": "warning", "dropped_lines": self._dropped})
            self._dropped = 0

    def _write(self, event: dict[str, Any]) -> None:
        line = msgspec.json.encode({**event, "program": "engine", "tenant": self._tenant})
        with contextlib.suppress(OSError):  # as in engine.log: a line that can't be written is lost
            os.write(1, line + b"\n")


def _understood(line: bytes) -> dict[str, Any]:
    """Return a line of our log as what it says, and any other as a text that was said."""
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return {"event": "engine_said", "level": "warning", "text": line.decode("utf-8", "replace")}
