"""Requests that arrive together at an engine's dispatcher, and what each is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from engine.catalogue import Operation
from engine.dispatch import EngineDispatcher
from engine.protocol import Caller, Embedding, RemoteError, Request
from engine.service import Responder
from engine.store.database import Database
from engine.tools import HANDLERS
from engine.tools.handler import Handler

_encoder = msgspec.msgpack.Encoder()


class Answer:
    """Where one request's answer goes: the value, decoded, or the error."""

    def __init__(self, operation: Operation[Any, Any]) -> None:
        self.operation = operation
        self.value: Any = None
        self.failure: RemoteError | None = None

    def result(self, value: Any) -> None:
        """Take a result."""
        self.value = msgspec.msgpack.decode(_encoder.encode(value), type=self.operation.result)

    def error(self, error: RemoteError) -> None:
        """Take an error."""
        self.failure = error

    @property
    def code(self) -> str | None:
        """The error's code, ``None`` for a result."""
        return None if self.failure is None else str(self.failure.code)


class Turns:
    """An engine without its process and its socket."""

    def __init__(self, database: Database, *, caller: Caller, handlers: Mapping[str, Handler] | None = None) -> None:
        """``handlers`` take the place of those of the same names."""
        self.caller = caller
        self._dispatcher = EngineDispatcher(database, HANDLERS | dict(handlers or {}))
        self._waiting: list[tuple[Request, Answer]] = []

    def ask(
        self, operation: Operation[Any, Any], arguments: Any, *, key: str = "", embeddings: list[Embedding] | None = None
    ) -> Answer:
        """Have a request take part in the next turn."""
        answer = Answer(operation)
        request = Request(
            id=1,
            method=operation.name,
            params=msgspec.Raw(_encoder.encode(arguments)),
            caller=self.caller,
            embeddings=embeddings or [],
            idempotency_key=key,
        )
        self._waiting.append((request, answer))
        return answer

    def turn(self) -> list[Answer]:
        """Run all that waits as one turn."""
        asked, self._waiting = self._waiting, []
        asyncio.run(self._run(asked))
        return [answer for _, answer in asked]

    async def _run(self, asked: list[tuple[Request, Answer]]) -> None:
        for request, answer in asked:
            self._dispatcher.dispatch(request, cast("Responder", answer))
        await asyncio.sleep(0)  # the turn was asked for by the first of them and comes now

    def call(self, operation: Operation[Any, Any], arguments: Any, **given: Any) -> Answer:
        """Run one request by itself."""
        answer = self.ask(operation, arguments, **given)
        self.turn()
        return answer
