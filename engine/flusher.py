"""Has what was committed captured: soon after a commit, and at once when asked.

One timer, set with the first commit that is not captured: an idle engine sets none. A large database is captured whole in a
thread, while requests go on; what is committed meanwhile waits for its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Self

import structlog

from engine import heap
from engine.capture.whole import GivenUp
from engine.catalogue.recovery import Flushed
from engine.protocol import ErrorCode, RemoteError
from engine.store.database import Database

_log = structlog.get_logger()

_INTERVAL_S = 0.25
"""From the first commit to its capture: 300 ms are promised."""

_BACKLOG_INTERVALS_S = ((400, 5.0), (200, 1.0))
"""With more than so many files in the outbox, fewer and larger ones: the object store is away, or slow."""

_RETRY_S = 1.0
"""After a disk that failed or was full."""

_LAST_WHOLE_S = 5.0
"""How long the end of an engine waits for a whole that is under way. It is killed ten seconds later."""


def interval_s(waiting: int) -> float:
    """Return how many seconds after a commit to capture it, when so many files wait in the outbox."""
    return next((interval for files, interval in _BACKLOG_INTERVALS_S if waiting > files), _INTERVAL_S)


class Flusher:
    """An async context manager around the serving of one database that is captured."""

    def __init__(self, database: Database, *, failed: Callable[[Exception], object]) -> None:
        """``failed`` is told of an error that shows damage."""
        assert database.capture is not None
        self._database = database
        self._capture = database.capture
        self._failed = failed
        self._timer: asyncio.TimerHandle | None = None
        self._whole: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._capture.behind = self._plan
        if self._capture.is_behind:
            self._plan()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._capture.behind = lambda: None
        if self._timer is not None:
            self._timer.cancel()
        if (whole := self._whole) is not None:
            await asyncio.wait([whole], timeout=_LAST_WHOLE_S)
            self._capture.give_up()
            await asyncio.wait([whole])

    @property
    def is_busy(self) -> bool:
        """Whether a whole is under way, which would have to begin anew if the engine ended."""
        return self._whole is not None

    async def flush(self) -> Flushed:
        """Capture everything committed before this call. ``unavailable`` or ``disk_full`` when the disk does not let us."""
        while True:
            if self._whole is None and self._capture.needs_thread:
                self._begin_whole()
            if self._whole is not None:
                await asyncio.wait([self._whole])
            try:
                if self._capture.needs_thread:
                    raise RemoteError(ErrorCode.UNAVAILABLE, "the database could not be captured whole", retry_after=1)
                self._database.flush()
            except OSError as error:
                _log.error("capture_failed", error=error.strerror)
                self._plan(_RETRY_S)
                raise RemoteError(ErrorCode.UNAVAILABLE, "the disk failed; try again", retry_after=1) from error
            if not self._capture.needs_thread:
                position = self._capture.position
                return Flushed(txid=position.txid, timestamp_ms=position.timestamp_ms)

    def _plan(self, wait_s: float | None = None) -> None:
        if self._timer is None and self._whole is None:
            wait_s = wait_s or interval_s(self._capture.waiting())
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._due)

    def _due(self) -> None:
        self._timer = None
        try:
            self._database.flush()
        except OSError as error:
            _log.error("capture_failed", error=error.strerror)
            self._plan(_RETRY_S)
        except Exception as error:
            self._failed(error)
        else:
            heap.give_back()  # an engine that is idle from now on should hold little
            if self._capture.needs_thread:
                self._begin_whole()

    def _begin_whole(self) -> None:
        self._whole = asyncio.get_running_loop().create_task(self._capture_whole())

    async def _capture_whole(self) -> None:
        wait_s = None
        try:
            with self._database.checkpoints.file_held():
                await asyncio.to_thread(self._capture.flush_whole)
        except (OSError, GivenUp) as error:
            _log.error("capture_failed", error=str(error) or type(error).__name__)
            wait_s = _BACKLOG_INTERVALS_S[0][1]
        except Exception as error:
            self._failed(error)
            return
        finally:
            self._whole = None
        if self._capture.is_behind:
            self._plan(wait_s)
