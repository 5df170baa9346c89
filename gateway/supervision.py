"""The process that keeps a node's programs running: supervisord, with a standard error that a full disk can't break.

It writes what the programs say to the node's log, and complains of what it could not write on its standard error, which goes
to the same file. Where that fails too, supervisord ends, and the node with it: for want of a log line.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys

from supervisor.supervisord import main

_STANDARD_ERROR = 2


class _Complaints(io.TextIOBase):
    """Standard error, written as far as there is room."""

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            os.write(_STANDARD_ERROR, text.encode("utf-8", "replace"))
        return len(text)


if __name__ == "__main__":
    sys.stderr = _Complaints()
    # For its programs: one that is still starting when we are killed would not notice that its parent is another.
    os.environ["ENGRAM_SUPERVISOR"] = str(os.getpid())
    main()
