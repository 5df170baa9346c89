"""Leaves the heap of the fork server so that its engines share as much of it as they can.

A page is shared until somebody writes to it. What an engine allocates would first be laid into the holes that imports have left
between what all engines read, and each such hole costs the engine a page. So the holes are filled once, and stay filled: some
hundred KiB here, which all share, and 1.2 MB less in each engine.
"""

from __future__ import annotations

import ctypes
import gc
from itertools import groupby, pairwise, repeat

_POOL_BYTES = 16 * 1024
_SMALL_BYTES_MAX = 512
_SMALL_BYTES_STEP = 16
"""CPython lays objects of up to 512 bytes into pools, each of one size (``Include/internal/pycore_obmalloc.h``)."""

_BYTES_HEAD = bytes.__sizeof__(b"")
_POOLS_MAX = 256
"""Of one size; some ten are begun and not full. It ends what an allocator of another kind would make endless."""

_LARGE_SIZES = (*(1 << power for power in range(17, 10, -1)), *range(1024 + 8, 16, -16))
"""Largest first, so that few blocks fill a large hole; from 1 KiB down, each size that glibc keeps a list of."""

_BLOCKS_MAX = 100_000
"""Of one size; there are some hundred holes."""

_fillers: list[object] = []


class _Mallinfo2(ctypes.Structure):
    """``mallinfo(3)``. ``keepcost`` is what lies free at the top, behind everything allocated."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    ]


def _glibc() -> ctypes.CDLL | None:
    """Return glibc, 2.33 or later; ``None`` elsewhere: no other library says how its heap looks."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallinfo2"):
        return None
    libc.mallinfo2.restype = _Mallinfo2
    libc.malloc.argtypes, libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    return libc


_libc = _glibc()


def settle() -> None:
    """Collect what is garbage, fill the holes, and keep the collector away from what is there now."""
    gc.collect()
    for size in range(_SMALL_BYTES_STEP, _SMALL_BYTES_MAX + 1, _SMALL_BYTES_STEP):
        _fill_pools(size)
    _fill_holes()
    gc.freeze()  # what every engine shares is never touched by its collector, so its pages stay shared


def _fill_pools(size: int) -> None:
    """Make objects of one size until many of them lie side by side, which only a pool begun anew gives."""
    for _ in range(_POOLS_MAX):
        # Made in one go, because numbers that come and go in between would take places, too.
        fillers = [_small(size) for _ in repeat(None, _POOL_BYTES // size)]
        _fillers.append(fillers)
        side_by_side = (after - before == size for before, after in pairwise([id(filler) for filler in fillers]))
        longest = max((len(list(run)) for adjacent, run in groupby(side_by_side) if adjacent), default=0)
        if longest > len(fillers) // 3:  # as many pools as these may have come to their end among them: one
            return


def _small(size: int) -> object:
    """Return an object that takes ``size`` bytes, and no more for the collector's sake."""
    if size < _BYTES_HEAD:
        return object() if size == _SMALL_BYTES_STEP else float(size)
    return bytes(size - _BYTES_HEAD)


def give_back() -> None:
    """Give the system what was freed: glibc keeps it, and half a megabyte more than before once a large block was freed."""
    if _libc is not None:
        _libc.malloc_trim(0)


def bytes_in_holes() -> int:
    """Return how much lies free between what glibc has allocated."""
    if _libc is None:
        return 0
    info = _libc.mallinfo2()
    return int(info.fordblks - info.keepcost)


def _fill_holes() -> None:
    """Allocate until every block comes from the top."""
    if _libc is None:
        return
    _libc.malloc_trim(0)
    for size in _LARGE_SIZES:
        for _ in range(_BLOCKS_MAX):
            before = _libc.mallinfo2()
            block = _libc.malloc(size)
            after = _libc.mallinfo2()
            if (before.arena, before.hblks, before.keepcost) != (after.arena, after.hblks, after.keepcost):
                _libc.free(block)
                break
