"""Whose turn it is: tenants with something to do, one after another, none of them twice at once. Pure but for timers.

A turn is one file. So a tenant with a backlog of thousands delays another's only file by no more than one of its own.
"""

from __future__ import annotations

import asyncio
from collections import deque


class Turns:
    """Of all tenants. Belongs to one event loop."""

    def __init__(self) -> None:
        self._line: deque[str] = deque()
        self._in_line: set[str] = set()
        self._under_way: set[str] = set()
        self._again: set[str] = set()
        self._at_once: set[str] = set()
        self._later: dict[str, asyncio.TimerHandle] = {}
        self._somebody = asyncio.Event()
        self._nobody = asyncio.Event()
        self._nobody.set()

    def ask(self, tenant: str, *, at_once: bool = False) -> None:
        """Give the tenant a turn after those in line; one that was to wait goes on waiting, whoever asks.

        ``at_once``: what it was to wait for has come about, or is about to be found not to have, by an older look.
        """
        if tenant in self._under_way:
            self._again.add(tenant)
            if at_once:
                self._at_once.add(tenant)
        elif at_once or tenant not in self._later:
            self._enqueue(tenant)

    async def next(self) -> str:
        """Return whose turn it is, and wait for somebody to have one. Call ``finished`` afterwards."""
        while not self._line:
            self._somebody.clear()
            await self._somebody.wait()
        tenant = self._line.popleft()
        self._in_line.remove(tenant)
        self._under_way.add(tenant)
        return tenant

    def finished(self, tenant: str, *, again_in_s: float | None = None) -> None:
        """End a turn. ``again_in_s``: when the next one is to be; ``None`` for when somebody asks, or has asked meanwhile."""
        self._under_way.remove(tenant)
        if tenant in self._at_once or (again_in_s is None and tenant in self._again):
            again_in_s = 0.0
        self._again.discard(tenant)
        self._at_once.discard(tenant)
        if again_in_s is None:
            if not (self._line or self._under_way or self._later):
                self._nobody.set()
        elif again_in_s <= 0:
            self._enqueue(tenant)
        else:
            self._later[tenant] = asyncio.get_running_loop().call_later(again_in_s, self._enqueue, tenant)

    def hurry(self, tenant: str | None = None) -> None:
        """Give a turn now to who was to have one later: one tenant, or all."""
        for waiting in list(self._later) if tenant is None else [tenant] if tenant in self._later else []:
            self._enqueue(waiting)

    async def nobody(self) -> None:
        """Return when nobody has, or is to have, a turn."""
        await self._nobody.wait()

    def _enqueue(self, tenant: str) -> None:
        if (timer := self._later.pop(tenant, None)) is not None:
            timer.cancel()
        if tenant not in self._in_line:
            self._in_line.add(tenant)
            self._line.append(tenant)
            self._somebody.set()
            self._nobody.clear()
