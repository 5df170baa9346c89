"""A replicator that answers the host as a test says, on a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from engine.address import listen
from engine.protocol import Hello, RemoteError, Request
from engine.service import Methods, Service
from tenants.messages.replica import Prepare, Prepared

Answer = Prepared | RemoteError | Callable[[], Awaitable[Prepared]]


@dataclass
class Script:
    """What it answers to ``prepare``: one after the other, the last for ever."""

    answers: list[Answer] = field(default_factory=lambda: [Prepared()])
    asked: list[str] = field(default_factory=list)
    """About whom it was asked."""

    async def prepare(self, request: Request) -> Prepared:
        self.asked.append(msgspec.msgpack.decode(request.params, type=Prepare).tenant)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, RemoteError):
            raise answer
        return answer if isinstance(answer, Prepared) else await answer()


@asynccontextmanager
async def replicator(folder: Path, *answers: Answer) -> AsyncIterator[Script]:
    """Listen at a node's ``run/replica.sock`` as long as the block is in."""
    script = Script(list(answers) or [Prepared()])
    path = folder / "run" / "replica.sock"
    path.unlink(missing_ok=True)
    async with Service(
        Methods({"prepare": script.prepare}), listen(path), hello=lambda: Hello(service="replicator"), drain_s=0.1
    ):
        yield script
