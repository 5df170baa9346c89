"""Work that several may wait for at once, and that goes on when they stop waiting: it is done once for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")


class SharedWork(Generic[T]):
    """One piece of work per key. An async context manager; leaving it ends what is under way."""

    def __init__(self) -> None:
        self._under_way: dict[str, asyncio.Future[T]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for task in self._running:
            task.cancel()
        await self._tasks.__aexit__(None, None, None)

    async def of(self, key: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the outcome of the work under this key, begun now unless it is under way. Its failure is everybody's."""
        outcome = self._under_way.get(key)
        if outcome is None:
            outcome = self._under_way[key] = asyncio.get_running_loop().create_future()
            self.start(self._do(key, work(), outcome))
        return await asyncio.shield(outcome)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run work that nobody waits for; it must handle its own errors."""
        task = self._tasks.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _do(self, key: str, work: Coroutine[Any, Any, T], outcome: asyncio.Future[T]) -> None:
        try:
            result = await work
        except Exception as error:
            outcome.set_exception(error)
            outcome.exception()  # it is retrieved, whether or not somebody still waits
        else:
            outcome.set_result(result)
        finally:
            outcome.cancel()  # without effect on one that was given
            del self._under_way[key]
