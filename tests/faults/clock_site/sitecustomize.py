"""Makes the clock settable. Python imports this at its start when this folder is on ``PYTHONPATH``, before any program of ours.

The step lies in eight bytes of a file that is mapped once, so every process forked later sees a new step at once, whatever
sandbox it is in by then. The clocks that only go forward are left alone, as a clock that is set leaves them.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from pathlib import Path

_STEP = struct.Struct("<q")

if "ENGRAM_TEST_CLOCK" in os.environ:
    with Path(os.environ["ENGRAM_TEST_CLOCK"]).open("rb") as _file:
        _step = mmap.mmap(_file.fileno(), _STEP.size, access=mmap.ACCESS_READ)
    _time_ns = time.time_ns

    def _stepped_ns() -> int:
        return _time_ns() + int(_STEP.unpack_from(_step)[0])

    time.time_ns = _stepped_ns
    time.time = lambda: _stepped_ns() / 1_000_000_000
