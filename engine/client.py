"""The asyncio client of the protocol: many calls in flight on one connection, each with its deadline.

A lost connection fails what was in flight with ``lost``: whether it was carried out is unknown, and retrying is the caller's
decision. A server that says it is going away gets no new request; what is in flight is awaited. One that breaks the protocol,
or answers what can't be understood, is hung up on, and what was in flight fails with ``broken``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Self, TypeVar

import msgspec

from engine.address import connect
from engine.catalogue.values import out_of_range
from engine.connection import Connection
from engine.protocol import Caller, Embedding, ErrorCode, Hello, RemoteError, Request, encode_frame
from engine.protocol.conversation import Answer, Breach, decode_error, decode_result
from engine.protocol.errors import invalid
from engine.protocol.framing import FrameError
from engine.protocol.limits import DEADLINE_DEFAULT_MS, DEADLINE_MAX_MS, IN_FLIGHT_MAX

T = TypeVar("T")

_GRACE_S = 1.0
"""Past the deadline the server answers by itself; a server that stays silent this much longer is taken for hung."""

_STREAM_CHUNKS_HELD_MAX = 4
"""A stream stops reading from the socket while this many chunks wait for their reader."""

_SMALL_BYTES_MAX = 1024
_SMALL_CHUNKS_AT_ONCE_MAX = 32
_SMALL_CHUNKS_PAUSE_S = 0.005
"""Of chunks as small as these so many are taken at once, then others have their turn: a server that sends nothing but them
costs a few hundredths of the processor, not all of it."""

_encoder = msgspec.msgpack.Encoder()


class Client:
    """One connection to one server. Make it with ``Client.connect``; an async context manager."""

    def __init__(self, peer: str = "") -> None:
        """``peer`` is what the log calls the server."""
        self._connection = Connection(peer, answered=self._receive, lost=self._fail_in_flight)
        self._conversation = self._connection.conversation
        self._greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._calls: dict[int, asyncio.Future[Answer]] = {}
        self._streams: dict[int, asyncio.Queue[Answer | None]] = {}
        self._last_id = 0
        self._slots = asyncio.Semaphore(IN_FLIGHT_MAX)
        self._going_away = False
        self._given_up = False

    @classmethod
    async def connect(cls, path: Path, *, timeout_s: float = 5.0) -> Self:
        """Return a greeted connection to the server at ``path``; ``unavailable`` when there is none in time."""
        client = cls(path.stem)
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.get_running_loop().create_unix_connection(lambda: client._connection, sock=connect(path))
                await client._greeted
        except BaseException as error:
            client.abort()
            if isinstance(error, OSError):
                raise RemoteError(ErrorCode.UNAVAILABLE, "this part of the service does not answer") from error
            raise
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    @property
    def hello(self) -> Hello:
        """What the server said of itself."""
        return self._conversation.hello or Hello()

    @property
    def usable(self) -> bool:
        """Whether a new request may be sent on this connection."""
        return self._connection.is_open and not self._going_away and not self._given_up

    @property
    def in_flight(self) -> int:
        """Calls and streams that wait for an answer."""
        return len(self._calls) + len(self._streams)

    async def call(
        self,
        method: str,
        params: Any = None,
        *,
        result_type: type[T],
        embeddings: list[Embedding] | None = None,
        deadline_ms: int = DEADLINE_DEFAULT_MS,
        caller: Caller | None = None,
        trace: str = "",
        idempotency_key: str = "",
    ) -> T:
        """Return the answer of ``method`` to ``params`` as a ``result_type``; ``RemoteError`` for everything else."""
        silence_s = deadline_ms / 1000 + _GRACE_S
        async with self._slots:
            if not self._connection.is_writable:
                await self._writable(silence_s)
            request = self._request(method, params, deadline_ms, caller)
            request.embeddings, request.trace, request.idempotency_key = embeddings or [], trace, idempotency_key
            loop = asyncio.get_running_loop()
            future: asyncio.Future[Answer] = loop.create_future()
            self._calls[request.id] = future
            silence = loop.call_later(silence_s, self._silent, future)
            try:
                self._send(request)
                self._conversation.asked(request.id)
                answer = await future
            finally:
                silence.cancel()
                del self._calls[request.id]
                if self._conversation.leave(request.id) or not self.usable:
                    self._close_if_done()
        return self._value(answer, answer.result, result_type)

    async def stream(
        self,
        method: str,
        params: Any = None,
        *,
        chunk_type: type[T],
        deadline_ms: int | None = DEADLINE_DEFAULT_MS,
        caller: Caller | None = None,
    ) -> AsyncGenerator[T]:
        """Yield the chunks of ``method``'s answer. Use a connection of its own: a slow reader holds up the others on it.

        Each chunk has ``deadline_ms``; with ``None`` the server may be silent for ever. A stream that is left before its end
        takes the connection with it.
        """
        request = self._request(method, params, DEADLINE_MAX_MS if deadline_ms is None else deadline_ms, caller)
        queue: asyncio.Queue[Answer | None] = asyncio.Queue()
        self._streams[request.id] = queue
        small = 0
        try:
            self._send(request)
            self._conversation.asked(request.id, stream=True)
            while (answer := await self._next(queue, deadline_ms)) is not None:
                if answer.end:
                    return
                yield self._value(answer, answer.chunk, chunk_type)
                small += answer.size <= _SMALL_BYTES_MAX
                if small == _SMALL_CHUNKS_AT_ONCE_MAX:
                    small = 0
                    await asyncio.sleep(_SMALL_CHUNKS_PAUSE_S)
            raise self._connection.failure("the connection ended before the stream did")
        finally:
            self._leave_stream(request.id)

    async def close(self) -> None:
        """Hang up and wait until it is done; a peer that does not read what is left is not waited for."""
        await self._connection.close()

    def abort(self) -> None:
        """Hang up at once."""
        self._connection.abort()

    def _request(self, method: str, params: Any, deadline_ms: int, caller: Caller | None) -> Request:
        if self._connection.broken:
            raise self._connection.failure("")
        if not self.usable:
            raise RemoteError(ErrorCode.DRAINING, "the connection is closing")
        self._last_id += 1
        return Request(self._last_id, method, _encoded(params), deadline_ms=deadline_ms, caller=caller or Caller())

    def _send(self, request: Request) -> None:
        try:
            self._connection.send(encode_frame(_encoder.encode(request)))
        except FrameError as error:
            raise RemoteError(ErrorCode.TOO_LARGE, "the request does not fit a frame") from error

    async def _writable(self, timeout_s: float) -> None:
        try:
            await self._connection.writable(timeout_s)
        except TimeoutError:
            raise _silence() from None

    async def _next(self, queue: asyncio.Queue[Answer | None], deadline_ms: int | None) -> Answer | None:
        """Return a stream's next answer, and let more of them come."""
        try:
            async with asyncio.timeout(None if deadline_ms is None else deadline_ms / 1000 + _GRACE_S):
                answer = await queue.get()
        except TimeoutError:
            raise _silence() from None
        if queue.qsize() < _STREAM_CHUNKS_HELD_MAX:
            self._connection.release()
        return answer

    def _value(self, answer: Answer, value: msgspec.Raw | msgspec.UnsetType, value_type: type[T]) -> T:
        try:
            if value is msgspec.UNSET:
                assert answer.error is not msgspec.UNSET  # the conversation lets nothing else pass
                raise decode_error(answer.error)
            return decode_result(value, value_type)
        except Breach as breach:
            self._connection.hang_up(breach)
            raise self._connection.failure("") from None

    def _silent(self, future: asyncio.Future[Answer]) -> None:
        """Give up a call whose peer is past the deadline and says nothing, and send that peer nothing more.

        What else is in flight there has deadlines of its own: a peer that is busy with a long call may still answer it.
        """
        self._given_up = True
        if not future.done():
            future.set_exception(_silence())

    def _leave_stream(self, request_id: int) -> None:
        del self._streams[request_id]
        self._connection.release()
        if self._conversation.leave(request_id):
            self._given_up = True
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._conversation.is_neglected:
            self._given_up = True
        if self.in_flight:
            return
        if self._given_up:
            self.abort()  # a peer that does not read would keep a close waiting
        elif self._going_away:
            self._connection.close_soon()

    def _receive(self, answer: Answer) -> None:
        if (future := self._calls.get(answer.id)) is not None:
            if not future.done():
                future.set_result(answer)
        elif (queue := self._streams.get(answer.id)) is not None:
            queue.put_nowait(answer)
            if queue.qsize() >= _STREAM_CHUNKS_HELD_MAX:
                self._connection.hold()
        else:
            if not self._greeted.done():
                self._greeted.set_result(None)
            if answer.going_away:
                self._going_away = True
                self._close_if_done()

    def _fail_in_flight(self) -> None:
        for future in self._calls.values():
            if not future.done():
                future.set_exception(self._connection.failure("the connection ended before the answer"))
        for queue in self._streams.values():
            queue.put_nowait(None)
        if not self._greeted.done():
            hung_up = RemoteError(ErrorCode.UNAVAILABLE, "the server hung up")
            self._greeted.set_exception(self._connection.failure("") if self._connection.broken else hung_up)
            self._greeted.exception()  # seen, even when nobody waits any more


def _silence() -> RemoteError:
    return RemoteError(ErrorCode.LOST, "no answer came in time")


def _encoded(params: Any) -> msgspec.Raw:
    """Return the arguments as they travel; a number of over 64 bits or a time outside the calendar is the caller's fault."""
    try:
        return msgspec.Raw(_encoder.encode({} if params is None else params))
    except OverflowError as error:
        field = (out_of_range(params) or "body")[:200]
        raise invalid(field, "is out of range") from error
