"""Compares an earlier state of a database with today's: what a restore would add, change and take.

Both are read side by side, in the order of their ids, each by its own connection and with little in memory. It runs in a thread
beside the work, which SQLite lets go on while it reads. The earlier state has been verified by nobody: damage in it is an error
of the call, and never taken for one of today's database. Its file is gone afterwards.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import apsw
import structlog

from engine.catalogue.recovery import EXAMPLES_MAX, Difference, PreviewReport
from engine.intake.verification import remove_log
from engine.protocol import ErrorCode, RemoteError
from engine.protocol.moment import system_clock
from engine.store import purges
from engine.store.connection import open_reader, open_writer
from engine.store.migration import MIGRATIONS, SchemaTooNew, migrate
from engine.store.selection import VISIBLE

_log = structlog.get_logger()

_STATES_BETWEEN_LOOKS = 1000
"""Memories looked at before it is asked whether anybody still waits."""

_CONTENT_CHARACTERS_MAX = 500
"""Of an example: what ``Difference.content`` may hold."""

_STATES = f"SELECT m.id, m.version, m.updated_at FROM memories AS m WHERE {VISIBLE} ORDER BY m.id DESC"  # noqa: S608
_CONTENT = "SELECT substr(content, 1, ?) FROM memories WHERE id = ?"

State = tuple[int, int, int]
"""A memory's id, its version, and when that came to be: after a restore the same number may have been given twice."""


class PreviewDamaged(Exception):
    """The earlier state could not be read."""


def compare(reader: apsw.Connection, preview: Path) -> PreviewReport:
    """Return what a restore of ``preview`` would do to what ``reader`` sees; ``unavailable`` when that file can't be read.

    Newer memories are the first to become examples. ``reader.interrupt()`` ends it with ``InterruptError``.
    """
    try:
        with _opened(preview) as earlier:
            return _Comparison(reader, earlier, system_clock()).report()
    except PreviewDamaged as error:
        _log.error("preview_unreadable", reason=str(error))
        message = "the earlier state could not be read; try another moment"
        raise RemoteError(ErrorCode.UNAVAILABLE, message) from error
    finally:
        remove_log(preview)
        preview.unlink(missing_ok=True)


class _Comparison:
    def __init__(self, today: apsw.Connection, earlier: apsw.Connection, now: int) -> None:
        self._today = today
        self._earlier = earlier
        self._now = now
        self._counts: Counter[str] = Counter()
        self._examples: list[Difference] = []

    def report(self) -> PreviewReport:
        """Compare."""
        states = self._today.execute(_STATES, (self._now,))
        for looked_at, (present, past) in enumerate(_side_by_side(states, self._states_of_earlier())):
            if looked_at % _STATES_BETWEEN_LOOKS == 0 and self._today.is_interrupted:
                raise apsw.InterruptError
            if past is None and present is not None:
                self._note(present[0], "deleted")
            elif present is None and past is not None and not purges.is_purged(self._today, past[0]):
                self._note(past[0], "added")
            elif present is not None and past is not None and present != past:
                self._note(past[0], "changed")
        return PreviewReport(**self._counts, examples=self._examples)

    def _note(self, memory_id: int, change: Literal["added", "changed", "deleted"]) -> None:
        self._counts[change] += 1
        if self._counts[change] <= EXAMPLES_MAX:
            if change == "deleted":
                content = _content(self._today, memory_id)
            else:
                with _as_preview_damaged():
                    content = _content(self._earlier, memory_id)
            self._examples.append(Difference(id=memory_id, change=change, content=content))

    def _states_of_earlier(self) -> Iterator[State]:
        with _as_preview_damaged():
            yield from self._earlier.execute(_STATES, (self._now,))


def _side_by_side(first: Iterator[Any], second: Iterator[Any]) -> Iterator[tuple[State | None, State | None]]:
    """Yield the states of each memory in either, the highest ids first, which both come in."""
    left, right = next(first, None), next(second, None)
    while left is not None or right is not None:
        if right is None or (left is not None and left[0] > right[0]):
            yield left, None
            left = next(first, None)
        elif left is None or right[0] > left[0]:
            yield None, right
            right = next(second, None)
        else:
            yield left, right
            left, right = next(first, None), next(second, None)


def _content(connection: apsw.Connection, memory_id: int) -> str:
    return str(connection.execute(_CONTENT, (_CONTENT_CHARACTERS_MAX, memory_id)).get)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[apsw.Connection]:
    """Yield a connection to the earlier state, which is first brought to today's schema."""
    with _as_preview_damaged():
        if not path.exists():
            raise PreviewDamaged("there is none")
        remove_log(path)
        _bring_up_to_date(path)
        connection = open_reader(path)
    try:
        yield connection
    finally:
        connection.close()


def _bring_up_to_date(path: Path) -> None:
    with contextlib.closing(open_reader(path)) as connection:
        if connection.pragma("page_count") == 0:
            raise PreviewDamaged("it is empty")
        version = connection.pragma("user_version")
    if version != len(MIGRATIONS):
        with contextlib.closing(open_writer(path)) as connection:
            migrate(connection)


@contextlib.contextmanager
def _as_preview_damaged() -> Iterator[None]:
    try:
        yield
    except (apsw.Error, SchemaTooNew, OSError) as error:
        if isinstance(error, apsw.InterruptError):
            raise
        raise PreviewDamaged(type(error).__name__) from error
