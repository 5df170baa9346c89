"""Decides in what order an engine's requests run, and groups writes.

One thread, one connection, no locks. Requests that arrived together form a turn: first its reads, which see only what is
committed, then all its writes in one transaction, whose fsync they share. A write is answered after that fsync. When the disk
fails, nothing of the transaction has happened, and the engine starts over from the file: what is in memory was read from it.

Order between concurrent requests is nobody's right; a client that wants it waits for the first answer.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import apsw
import msgspec
import structlog

from engine.catalogue import OPERATIONS, Operation
from engine.catalogue.lifecycle import HIBERNATE
from engine.protocol import ErrorCode, RemoteError, Request
from engine.protocol.errors import database_corrupt
from engine.protocol.limits import ANSWER_BYTES_MAX, DEADLINE_MAX_MS
from engine.service import Responder
from engine.store import idempotency
from engine.store.checkpoint import OutcomeUnknown
from engine.store.database import Database
from engine.store.quarantine import is_damage
from engine.tools.handler import Handler

_log = structlog.get_logger()

# Made before the fork: what every engine needs alike is shared memory as long as nobody writes to it.
_decoders = {name: msgspec.msgpack.Decoder(operation.arguments) for name, operation in OPERATIONS.items()}
_encoder = msgspec.msgpack.Encoder()

TURN_REQUESTS_MAX = 128
"""A turn ends after this many requests, so that new ones are read from the sockets and deadlines are noticed."""


@dataclass(frozen=True, slots=True)
class _Task:
    request: Request
    responder: Responder
    operation: Operation[Any, Any]
    handler: Handler
    deadline: float


class EngineDispatcher:
    """Runs handlers against one database, until it is found damaged, or its disk has failed: then it refuses what comes."""

    def __init__(
        self,
        database: Database,
        handlers: dict[str, Handler],
        *,
        damaged: Callable[[Exception], None] = lambda _: None,
        written: Callable[[], None] = lambda: None,
        start_over: Callable[[], None] = lambda: None,
    ) -> None:
        """``damaged`` is told of the error that shows that the file is; ``written`` is called after a turn that wrote;
        ``start_over`` asks for the end of this process, so that the next opens the file anew.
        """
        self._database = database
        self._handlers = handlers
        self._damaged = damaged
        self._written = written
        self._start_over = start_over
        self._is_ending = False
        self.is_refusing = False
        """Whether the file was found damaged."""
        self._queue: deque[_Task] = deque()
        self._scheduled = False
        self.last_request_at = time.monotonic()

    def dispatch(self, request: Request, responder: Responder) -> None:
        """Queue one request for the next turn."""
        handler = self._handlers.get(request.method)
        if handler is None:
            responder.error(RemoteError(ErrorCode.UNKNOWN_METHOD, f"there is no method {request.method!r}"))
            return
        now = time.monotonic()
        deadline = now + min(request.deadline_ms, DEADLINE_MAX_MS) / 1000
        operation = OPERATIONS[request.method]
        if request.method != HIBERNATE.name:
            self.last_request_at = now
        self._queue.append(_Task(request, responder, operation, handler, deadline))
        self._schedule()

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits for its turn."""
        return not self._queue

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        tasks = [self._queue.popleft() for _ in range(min(len(self._queue), TURN_REQUESTS_MAX))]
        writes = []
        for task in tasks:
            if self._refuses(task):
                continue
            if task.operation.kind == "write":
                writes.append(task)
            else:
                self._read(task)
        writes = [task for task in writes if not self._refuses(task)]  # a read may just have found the damage
        if writes:
            self._write(writes)
            self._after_writes()
        if self._queue:
            self._schedule()

    def _refuses(self, task: _Task) -> bool:
        """Whether nothing is done any more; then the task has had its answer."""
        if self.is_refusing:
            task.responder.error(database_corrupt())
        elif self._is_ending:
            task.responder.error(RemoteError(ErrorCode.DRAINING, "this process is ending"))
        return self.is_refusing or self._is_ending

    def _read(self, task: _Task) -> None:
        try:
            with self._database.read(task.deadline):
                result = self._run(task)
        except Exception as error:
            task.responder.error(self.failure(error, task.request.method))
        else:
            if task.operation.kind == "stream":
                task.responder.stream(self._paced(result, task.request.method))
            else:
                task.responder.result(result)

    def _write(self, tasks: list[_Task]) -> None:
        answers: list[Callable[[], None]] = []
        try:
            with self._database.write_group():
                for task in tasks:
                    answers.append(self._write_one(task))
        except Exception as error:  # the transaction is gone: none of its writes has happened
            if self._database.is_full(error) and len(tasks) > 1:
                for task in tasks:  # by itself, what gives room back may succeed
                    if not self._refuses(task):
                        self._write([task])
                return
            failure = self.failure(error, tasks[0].request.method)
            if isinstance(error, apsw.IOError) and not self._database.is_full(error):
                self._end()
            for task in tasks:
                task.responder.error(failure)
            return
        for answer in answers:
            answer()

    def _write_one(self, task: _Task) -> Callable[[], None]:
        try:
            kept = self._database.quota.kept(task.request.caller, frees=task.operation.frees)
            with self._database.savepoint(task.deadline), kept:
                result = self._run_once(task)
        except Exception as error:
            if is_damage(error) or not self._database.connection.in_transaction:
                raise
            failure = self.failure(error, task.request.method)
            return lambda: task.responder.error(failure)
        return lambda: task.responder.result(result)

    def _run_once(self, task: _Task) -> msgspec.Raw:
        """Run a write, unless it was run before under its idempotency key: then answer what it was answered.

        ``too_large`` when the answer could not be sent.
        """
        request, connection = task.request, self._database.connection
        if request.idempotency_key:
            answered = idempotency.recall(connection, request, self._database.now())
            if answered is not None:
                return answered
        if not task.operation.frees:
            self._database.space.check()
        result = self._run(task)
        answer = _encoder.encode(result)
        if len(answer) > ANSWER_BYTES_MAX:  # found out only when it is sent, it would be refused after it was done
            message = f"the answer would be over {ANSWER_BYTES_MAX} bytes: nothing was changed; ask for less at once"
            raise RemoteError(ErrorCode.TOO_LARGE, message, limit=ANSWER_BYTES_MAX)
        if request.idempotency_key:
            idempotency.remember(connection, request, result, answer, self._database.now())
        return msgspec.Raw(answer)

    def _run(self, task: _Task) -> Any:
        if time.monotonic() > task.deadline:
            raise RemoteError(ErrorCode.DEADLINE_EXCEEDED, "the deadline has passed")
        arguments = _decoders[task.request.method].decode(task.request.params)
        return task.handler(self._database, arguments, task.request)

    def _after_writes(self) -> None:
        if self.is_refusing or self._is_ending:
            return
        try:
            self._database.checkpoint_if_due()
            self._written()
        except Exception as error:
            self.failure(error, "checkpoint")

    async def _paced(self, pieces: Generator[Any], method: str) -> AsyncGenerator[Any]:
        """Let other requests run between the pieces of a stream. One that is given up lets go of its snapshot at once."""
        with closing(pieces):
            try:
                for piece in pieces:
                    yield piece
                    await asyncio.sleep(0)
            except apsw.Error as error:
                raise self.failure(error, method) from error

    def failure(self, error: Exception, method: str) -> RemoteError:
        """Return what the client may know of ``error``, and stop using a file that is damaged."""
        if isinstance(error, OutcomeUnknown):
            _log.error("commit_outcome_unknown", method=method, exc_info=error)
            self._database.leave_as_it_is()
            self._end()
            return RemoteError(ErrorCode.LOST, "the disk failed; whether the request was carried out is unknown")
        if self._database.is_full(error):
            return self._full(error, method)
        if not is_damage(error):
            return _as_remote(error, method)
        if not self.is_refusing:
            self.is_refusing = True
            self._damaged(error)
        return database_corrupt()

    def _full(self, error: Exception, method: str) -> RemoteError:
        exceeded = None if self._database.space.is_exhausted() else self._database.quota.exceeded()
        _log.error("no_room", method=method, error=type(error).__name__, plan=exceeded is not None)
        return exceeded or RemoteError(ErrorCode.DISK_FULL, "the disk is full; nothing was changed")

    def _end(self) -> None:
        """Refuse what comes, so that it goes to the next process, and ask for the end of this one."""
        self._is_ending = True
        self._start_over()


def _as_remote(error: Exception, method: str) -> RemoteError:
    """Return what the client may know of ``error``; the rest goes to the log, without any value from the request."""
    if isinstance(error, RemoteError):
        return error
    if isinstance(error, msgspec.DecodeError):
        return RemoteError(ErrorCode.INVALID, str(error))
    if isinstance(error, apsw.InterruptError):
        return RemoteError(ErrorCode.DEADLINE_EXCEEDED, "the deadline has passed")
    if isinstance(error, apsw.IOError):
        _log.error("disk_failed", method=method, code=getattr(error, "extendedresult", 0))
        return RemoteError(ErrorCode.UNAVAILABLE, "the disk failed; nothing was changed", retry_after=1)
    _log.error("operation_failed", method=method, error=type(error).__name__, exc_info=error)
    return RemoteError(ErrorCode.INTERNAL, "an internal error")
