"""Plain tables on the terminal, and the machine they were measured on."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Sequence


def show(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; the first column is names, the others figures."""
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    print(f"\n{title}")
    for row in cells:
        name, *figures = (
            cell.ljust(width) if not i else cell.rjust(width) for i, (cell, width) in enumerate(_pairs(row, widths))
        )
        print("  " + "  ".join((name, *figures)).rstrip(), flush=True)


def machine() -> str:
    """Return one line that says where this runs and how busy it was before."""
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}, load before {load:.2f}"


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least ``share`` of all are not above (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _pairs(row: Sequence[str], widths: Sequence[int]) -> list[tuple[str, int]]:
    return list(zip(row, widths, strict=True))
