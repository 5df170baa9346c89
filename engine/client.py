"""The asyncio client of the protocol: many calls in flight on one connection, each with its deadline.

A lost connection fails what was in flight with ``lost``: whether it was carried out is unknown, and retrying is the caller's
decision. A peer that says it is going away gets no new request; what is in flight is awaited.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Self, TypeVar, cast

import msgspec

from engine.address import connect
from engine.catalogue.values import out_of_range
from engine.protocol import (
    Caller,
    Embedding,
    ErrorCode,
    FrameDecoder,
    Hello,
    RemoteError,
    Reply,
    Request,
    encode_frame,
)
from engine.protocol.errors import invalid
from engine.protocol.framing import FrameError
from engine.protocol.limits import DEADLINE_DEFAULT_MS, IN_FLIGHT_MAX

T = TypeVar("T")

_CLOSE_S = 1.0
_GRACE_S = 1.0
"""Past the deadline the server answers by itself; a server that stays silent this much longer is taken for hung."""

_STREAM_CHUNKS_HELD_MAX = 4
"""A stream stops reading from the socket while this many chunks wait for their reader."""

_encoder = msgspec.msgpack.Encoder()
_reply_decoder = msgspec.msgpack.Decoder(Reply)
_decoders: dict[Any, msgspec.msgpack.Decoder[Any]] = {}


def _decode(raw: msgspec.Raw, result_type: type[T]) -> T:
    decoder = _decoders.get(result_type)
    if decoder is None:
        decoder = _decoders[result_type] = msgspec.msgpack.Decoder(result_type)
    try:
        return decoder.decode(raw)  # type: ignore[no-any-return]
    except msgspec.DecodeError as error:
        raise RemoteError(ErrorCode.INTERNAL, "the answer has an unexpected form") from error


class Client(asyncio.Protocol):
    """One connection to one server. Make it with ``Client.connect``; an async context manager."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.hello = Hello()
        self._greeted: asyncio.Future[None] = loop.create_future()
        self._closed: asyncio.Future[None] = loop.create_future()
        self._calls: dict[int, asyncio.Future[msgspec.Raw]] = {}
        self._streams: dict[int, asyncio.Queue[Reply | None]] = {}
        self._decoder = FrameDecoder()
        self._outgoing: list[bytes] = []
        self._last_id = 0
        self._slots = asyncio.Semaphore(IN_FLIGHT_MAX)
        self._going_away = False
        self._given_up = False
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def connect(cls, path: Path, *, timeout_s: float = 5.0) -> Self:
        """Return a greeted connection to the server at ``path``; ``unavailable`` when there is none in time."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                _, client = await loop.create_unix_connection(cls, sock=connect(path))
                try:
                    await client._greeted
                except BaseException:
                    client.abort()
                    raise
        except (OSError, RemoteError) as error:
            raise RemoteError(ErrorCode.UNAVAILABLE, f"nobody answers at {path.name}") from error
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    @property
    def usable(self) -> bool:
        """Whether a new request may be sent on this connection."""
        return self._transport is not None and not self._going_away and not self._given_up

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
        async with self._slots:
            request = self._request(method, params, deadline_ms, caller)
            request.embeddings, request.trace, request.idempotency_key = embeddings or [], trace, idempotency_key
            loop = asyncio.get_running_loop()
            future: asyncio.Future[msgspec.Raw] = loop.create_future()
            self._calls[request.id] = future
            silence = loop.call_later(deadline_ms / 1000 + _GRACE_S, self._silent, future)
            try:
                self._send(request)
                raw = await future
            finally:
                silence.cancel()
                self._calls.pop(request.id, None)
                self._close_if_done()
        return _decode(raw, result_type)

    async def stream(
        self,
        method: str,
        params: Any = None,
        *,
        chunk_type: type[T],
        deadline_ms: int = DEADLINE_DEFAULT_MS,
        caller: Caller | None = None,
    ) -> AsyncGenerator[T]:
        """Yield the chunks of ``method``'s answer. Use a connection of its own: a slow reader holds up the others on it."""
        request = self._request(method, params, deadline_ms, caller)
        queue: asyncio.Queue[Reply | None] = asyncio.Queue()
        self._streams[request.id] = queue
        try:
            self._send(request)
            while (reply := await queue.get()) is not None:
                if self._transport is not None and queue.qsize() < _STREAM_CHUNKS_HELD_MAX:
                    self._transport.resume_reading()
                if reply.error is not None:
                    raise _as_error(reply)
                if reply.chunk is msgspec.UNSET:
                    return
                yield _decode(reply.chunk, chunk_type)
            raise RemoteError(ErrorCode.LOST, "the connection ended before the stream did")
        finally:
            self._streams.pop(request.id, None)
            self._close_if_done()

    async def close(self) -> None:
        """Hang up and wait until it is done; a peer that does not read what is left is not waited for."""
        if self._transport is not None:
            self._transport.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await asyncio.shield(self._closed)
        self.abort()

    def abort(self) -> None:
        """Hang up at once."""
        if self._transport is not None:
            self._transport.abort()

    def _request(self, method: str, params: Any, deadline_ms: int, caller: Caller | None) -> Request:
        if not self.usable:
            raise RemoteError(ErrorCode.DRAINING, "the connection is closing")
        self._last_id += 1
        return Request(self._last_id, method, _encoded(params), deadline_ms=deadline_ms, caller=caller or Caller())

    def _send(self, request: Request) -> None:
        try:
            frame = encode_frame(_encoder.encode(request))
        except FrameError as error:
            raise RemoteError(ErrorCode.TOO_LARGE, "the request does not fit a frame") from error
        if not self._outgoing:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outgoing.append(frame)

    def _flush(self) -> None:
        if self._transport is not None:
            self._transport.write(b"".join(self._outgoing))
        self._outgoing.clear()

    def _silent(self, future: asyncio.Future[msgspec.Raw]) -> None:
        """Give up a call whose peer is past the deadline and says nothing, and send that peer nothing more.

        What else is in flight there has deadlines of its own: a peer that is busy with a long call may still answer it.
        """
        self._given_up = True
        if not future.done():
            future.set_exception(RemoteError(ErrorCode.LOST, "no answer came in time"))

    def _close_if_done(self) -> None:
        if self.in_flight or self._transport is None:
            return
        if self._given_up:
            self._transport.abort()  # a peer that does not read would keep a close waiting
        elif self._going_away:
            self._transport.close()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own transports are no subclass of it

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._decoder.feed(data):
                self._receive(_reply_decoder.decode(frame))
        except (FrameError, msgspec.DecodeError):
            self.abort()  # connection_lost fails whatever is in flight

    def _receive(self, reply: Reply) -> None:
        if reply.id == 0:
            self._receive_for_connection(reply)
        elif (future := self._calls.get(reply.id)) is not None:
            if future.done():
                return
            if reply.error is not None:
                future.set_exception(_as_error(reply))
            elif reply.result is not msgspec.UNSET:
                future.set_result(reply.result)
        elif (queue := self._streams.get(reply.id)) is not None:
            queue.put_nowait(reply)
            if queue.qsize() >= _STREAM_CHUNKS_HELD_MAX and self._transport is not None:
                self._transport.pause_reading()

    def _receive_for_connection(self, reply: Reply) -> None:
        if reply.hello is not None:
            self.hello = reply.hello
            if not self._greeted.done():
                self._greeted.set_result(None)
        if reply.going_away:
            self._going_away = True
            self._close_if_done()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        for future in self._calls.values():
            if not future.done():
                future.set_exception(RemoteError(ErrorCode.LOST, "the connection ended before the answer"))
        for queue in self._streams.values():
            queue.put_nowait(None)
        if not self._greeted.done():
            self._greeted.set_exception(RemoteError(ErrorCode.UNAVAILABLE, "the server hung up"))
            self._greeted.exception()  # seen, even when nobody waits any more
        if not self._closed.done():
            self._closed.set_result(None)


def _as_error(reply: Reply) -> RemoteError:
    assert reply.error is not None
    try:
        code = ErrorCode(reply.error.code)
    except ValueError:
        code = ErrorCode.INTERNAL  # a newer peer's code: what it means is unknown here
    error = RemoteError(code, reply.error.message)
    error.details = reply.error.details
    return error


def _encoded(params: Any) -> msgspec.Raw:
    """Return the arguments as they travel; a number of over 64 bits or a time outside the calendar is the caller's fault."""
    try:
        return msgspec.Raw(_encoder.encode({} if params is None else params))
    except OverflowError as error:
        field = (out_of_range(params) or "body")[:200]
        raise invalid(field, "is out of range") from error
