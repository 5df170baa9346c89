"""A customer of one engine that is killed all the time, and a reckoning of what became of what they were told.

Most writes carry an idempotency key and are sent again until they are answered: each must be there once. Some carry none and
are sent once: unanswered, they may be there or not, a batch as a whole.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from engine.catalogue.batch import BATCH, MemoryBatch
from engine.catalogue.lifecycle import DATABASE_CHECK, DatabaseCheck
from engine.catalogue.memory import CREATE, DELETE, LIST, UPDATE, MemoryCreate, MemoryDelete, MemoryList, MemoryUpdate
from engine.catalogue.operation import Operation
from engine.protocol import ErrorCode, RemoteError
from tenants.router import Router

BATCH_MEMORIES = 5
MAY_BE_TOLD = {ErrorCode.UNAVAILABLE, ErrorCode.LOST, ErrorCode.DRAINING, ErrorCode.OVERLOADED}
"""While engines are killed. Anything else is a fault of ours."""

ANSWERED_WITHIN_S = 120.0
"""Far longer than the longest pause before an engine is started again, on a machine that does other things too."""


@dataclass
class Ledger:
    """What a tenant's customers were told, by text; each text is written once."""

    stored: dict[str, int] = field(default_factory=dict)
    """Acknowledged and not changed or deleted since, with its id."""
    gone: set[str] = field(default_factory=set)
    """Replaced or purged, acknowledged."""
    unanswered: list[list[str]] = field(default_factory=list)
    """Written together without a key, and not answered: all of them are there, or none."""
    acknowledged: int = 0
    """Writes, not memories."""


class Customer:
    """Writes until told to stop."""

    def __init__(self, router: Router, tenant: str, name: str, chance: random.Random) -> None:
        self.ledger = Ledger()
        self._router = router
        self._tenant = tenant
        self._name = name
        self._chance = chance
        self._number = 0
        self._stopped = False

    def stop(self) -> None:
        """Let ``work`` end after the write that it is at."""
        self._stopped = True

    async def work(self) -> None:
        """Carry out one write after the other."""
        steps = (self._create, self._create, self._create_without_key, self._batch, self._batch_without_key)
        while not self._stopped:
            await self._chance.choice((*steps, self._change, self._purge))()

    async def _create(self) -> None:
        text = self._text()
        created = await self._surely(CREATE, MemoryCreate(content=text))
        self.ledger.stored[text] = created.id

    async def _create_without_key(self) -> None:
        text = self._text()
        created = await self._once([text], CREATE, MemoryCreate(content=text))
        if created is not None:
            self.ledger.stored[text] = created.id

    async def _batch(self) -> None:
        texts = [self._text() for _ in range(BATCH_MEMORIES)]
        done = await self._surely(BATCH, MemoryBatch(create=[MemoryCreate(content=text) for text in texts]))
        self.ledger.stored |= {one.content: one.id for one in done.created}

    async def _batch_without_key(self) -> None:
        texts = [self._text() for _ in range(BATCH_MEMORIES)]
        done = await self._once(texts, BATCH, MemoryBatch(create=[MemoryCreate(content=text) for text in texts]))
        if done is not None:
            self.ledger.stored |= {one.content: one.id for one in done.created}

    async def _change(self) -> None:
        for before in self._some():
            text, memory_id = self._text(), self.ledger.stored.pop(before)
            await self._surely(UPDATE, MemoryUpdate(id=memory_id, content=text))
            self.ledger.gone.add(before)
            self.ledger.stored[text] = memory_id

    async def _purge(self) -> None:
        for text in self._some():
            await self._surely(DELETE, MemoryDelete(id=self.ledger.stored.pop(text), purge=True))
            self.ledger.gone.add(text)

    def _text(self) -> str:
        self._number += 1
        return f"{self._name} number {self._number} about the harbour " + "and the lighthouse " * self._chance.randint(0, 60)

    def _some(self) -> list[str]:
        return [self._chance.choice(list(self.ledger.stored))] if self.ledger.stored else []

    async def _surely(self, operation: Operation[Any, Any], arguments: Any) -> Any:
        """Send a write under one key until it is answered."""
        key = f"{self._name}-{self._number}-{operation.name}"
        self._number += 1
        give_up_at = time.monotonic() + ANSWERED_WITHIN_S
        while True:
            try:
                answer = await self._router.call(self._tenant, operation, arguments, idempotency_key=key)
            except RemoteError as error:
                if error.code not in MAY_BE_TOLD or time.monotonic() > give_up_at:
                    raise
                await asyncio.sleep(0.02)
            else:
                self.ledger.acknowledged += 1
                return answer

    async def _once(self, texts: list[str], operation: Operation[Any, Any], arguments: Any) -> Any | None:
        try:
            answer = await self._router.call(self._tenant, operation, arguments)
        except RemoteError as error:
            if error.code not in MAY_BE_TOLD:
                raise
            self.ledger.unanswered.append(texts)
            return None
        self.ledger.acknowledged += 1
        return answer


async def reckon(router: Router, tenant: str, ledgers: list[Ledger]) -> Counter[str]:
    """Compare what a tenant's engine holds with what its customers were told; return how often each thing came about."""
    found: dict[int, str] = {}
    cursor = None
    while True:
        page = await router.call(tenant, LIST, MemoryList(limit=500, cursor=cursor))
        found |= {memory.id: memory.content for memory in page.memories}
        cursor = page.next_cursor
        if cursor is None:
            break
    texts = Counter(found.values())
    counts: Counter[str] = Counter(doubled=sum(number - 1 for number in texts.values()))
    known: set[str] = set()
    for ledger in ledgers:
        counts["acknowledged"] += ledger.acknowledged
        counts["memories"] += len(ledger.stored)
        counts["lost"] += sum(found.get(memory_id) != text for text, memory_id in ledger.stored.items())
        counts["come back"] += sum(text in texts for text in ledger.gone)
        known |= ledger.stored.keys()
        for together in ledger.unanswered:
            there = sum(text in texts for text in together)
            counts["unanswered"] += 1
            counts["committed unanswered"] += there == len(together)
            counts["half done"] += 0 < there < len(together)
            known.update(together)
    counts["made up"] = len(texts.keys() - known - {text for ledger in ledgers for text in ledger.gone})
    report = await router.call(tenant, DATABASE_CHECK, DatabaseCheck())
    counts["corrupt"] = bool(report.problems)
    return counts
