"""Serves the protocol on a Unix socket, for the engine and for every other process of ours that answers requests.

A connection decodes frames and hands each request, with a ``Responder``, to a dispatcher. The dispatcher decides in what
order and when to answer; this module knows no method by name.

Ending: ``drain`` closes the listening socket, tells every client that we are going away, lets what is in flight finish and
returns when the last client has hung up or the time is over.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from contextlib import aclosing
from typing import Any, Protocol, Self, cast

import msgspec
import structlog

from engine.protocol import ErrorCode, FrameDecoder, Hello, RemoteError, Reply, ReplyError, Request, encode_frame
from engine.protocol.framing import FrameError
from engine.protocol.limits import DEADLINE_MAX_MS, FRAME_BYTES_MAX, IN_FLIGHT_MAX

_log = structlog.get_logger()
_encoder = msgspec.msgpack.Encoder()
_request_decoder = msgspec.msgpack.Decoder(Request)


class Dispatcher(Protocol):
    """Takes every request of every connection; must answer each exactly once through its responder."""

    def dispatch(self, request: Request, responder: Responder) -> None:
        """Take one request. Called in the order of arrival; must not block for longer than its own work takes."""


class Responder:
    """The way back for one request. Answering after the client has gone is harmless."""

    __slots__ = ("_connection", "_id")

    def __init__(self, connection: _Connection, request_id: int) -> None:
        self._connection = connection
        self._id = request_id

    def result(self, value: Any) -> None:
        """Answer with ``value``, anything msgspec can encode."""
        self._finish(Reply(id=self._id, result=msgspec.Raw(_encoder.encode(value))))

    def error(self, error: RemoteError) -> None:
        """Answer with an error."""
        self._finish(Reply(id=self._id, error=ReplyError(str(error.code), error.message, error.details)))

    def stream(self, chunks: AsyncGenerator[Any]) -> None:
        """Answer with each of ``chunks`` and then the end, as fast as the client reads."""
        self.start(self._stream(chunks))

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work`` beside the connections; it must handle its own errors."""
        self._connection.service.start(work)

    async def _stream(self, chunks: AsyncGenerator[Any]) -> None:
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    self._connection.send(Reply(id=self._id, chunk=msgspec.Raw(_encoder.encode(chunk))))
                    await self._connection.writable()
        except RemoteError as error:
            self.error(error)
        except ConnectionError:
            self._connection.finished()
        except Exception:
            _log.exception("stream_failed")
            self.error(RemoteError(ErrorCode.INTERNAL, "the stream could not be finished"))
        else:
            self._finish(Reply(id=self._id, end=True))

    def _finish(self, reply: Reply) -> None:
        try:
            self._connection.send(reply)
        except FrameError:
            message = f"the answer would be over {FRAME_BYTES_MAX} bytes; ask for less at once"
            failure = ReplyError(str(ErrorCode.TOO_LARGE), message, {"limit": FRAME_BYTES_MAX})
            self._connection.send(Reply(id=self._id, error=failure))
        self._connection.finished()


class _Connection(asyncio.Protocol):
    """One client. Frames written during one turn of the loop leave in one system call."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.in_flight = 0
        self._decoder = FrameDecoder()
        self._outgoing: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own transports are no subclass of it
        self.service.connected(self)
        self.send(Reply(hello=self.service.hello()))

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._decoder.feed(data):
                self._receive(_request_decoder.decode(frame))
        except (FrameError, ValueError, RecursionError) as error:
            # msgspec's errors are ValueErrors, as is bad UTF-8. Only the kind is logged: the rest may be a tenant's.
            _log.warning("peer_broke_the_protocol", error=type(error).__name__)
            self.abort()

    def _receive(self, request: Request) -> None:
        responder = Responder(self, request.id)
        self.in_flight += 1
        self.service.in_flight += 1
        if self.service.draining:
            responder.error(RemoteError(ErrorCode.DRAINING, "this process is ending"))
        elif self.in_flight > IN_FLIGHT_MAX:
            responder.error(RemoteError(ErrorCode.OVERLOADED, "too many requests at once", limit=IN_FLIGHT_MAX))
        else:
            self.service.dispatcher.dispatch(request, responder)

    def send(self, reply: Reply) -> None:
        """Queue ``reply``. ``FrameError`` if it is too large for a frame."""
        frame = encode_frame(_encoder.encode(reply))
        if not self._outgoing:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outgoing.append(frame)

    def _flush(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(self._outgoing))
        self._outgoing.clear()

    def finished(self) -> None:
        """Note that one request has had its answer."""
        self.in_flight -= 1
        self.service.in_flight -= 1

    async def writable(self) -> None:
        """Return when the client reads fast enough; ``ConnectionError`` when it has gone."""
        await asyncio.sleep(0)
        await self._writable.wait()
        if self._transport is None or self._transport.is_closing():
            raise ConnectionError("the client has gone")

    def pause_writing(self) -> None:
        self._writable.clear()
        if self._transport is not None:
            self._transport.pause_reading()  # who does not read its answers may not ask for more

    def resume_writing(self) -> None:
        self._writable.set()
        if self._transport is not None:
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._writable.set()
        self.service.disconnected(self)

    def abort(self) -> None:
        """Hang up without another word."""
        if self._transport is not None:
            self._transport.abort()


class Service:
    """A listening socket, its connections and the tasks of its streams. An async context manager."""

    def __init__(
        self, dispatcher: Dispatcher, listening: socket.socket, *, hello: Callable[[], Hello] = Hello, drain_s: float = 10.0
    ) -> None:
        self.dispatcher = dispatcher
        self.hello = hello
        self.draining = False
        self.in_flight = 0
        self._listening = listening
        self._drain_s = drain_s
        self._connections: set[_Connection] = set()
        self._all_gone = asyncio.Event()
        self._all_gone.set()
        self._tasks = asyncio.TaskGroup()
        self._running: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: _Connection(self), sock=self._listening)
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        await self.drain()
        for connection in list(self._connections):
            connection.abort()
        for task in self._running:
            task.cancel()  # nobody is left to hear its answer
        await self._tasks.__aexit__(None, None, None)

    async def drain(self) -> None:
        """Accept nothing more, finish what is in flight, and return when every client has hung up or time is over."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        self.draining = True
        for connection in self._connections:
            connection.send(Reply(going_away=True))
        try:
            async with asyncio.timeout(self._drain_s):
                await self._all_gone.wait()
        except TimeoutError:
            _log.warning("drain_cut_short", in_flight=self.in_flight, connections=len(self._connections))

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work`` beside the connections; it must handle its own errors."""
        task = self._tasks.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def connected(self, connection: _Connection) -> None:
        """Count a new client."""
        self._connections.add(connection)
        self._all_gone.clear()

    def disconnected(self, connection: _Connection) -> None:
        """Forget a client that has gone."""
        self._connections.discard(connection)
        if not self._connections:
            self._all_gone.set()


Method = Callable[[Request], Awaitable[Any]]


class Methods:
    """A dispatcher for services whose answers wait on something: one task per request, ended at its deadline."""

    def __init__(self, methods: Mapping[str, Method]) -> None:
        self._methods = methods

    def dispatch(self, request: Request, responder: Responder) -> None:
        """Start the method's coroutine, or answer ``unknown_method``."""
        method = self._methods.get(request.method)
        if method is None:
            responder.error(RemoteError(ErrorCode.UNKNOWN_METHOD, f"there is no method {request.method!r}"))
            return
        responder.start(self._answer(method, request, responder))

    async def _answer(self, method: Method, request: Request, responder: Responder) -> None:
        try:
            async with asyncio.timeout(min(request.deadline_ms, DEADLINE_MAX_MS) / 1000):
                result = await method(request)
        except RemoteError as error:
            responder.error(error)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            responder.error(RemoteError(ErrorCode.INVALID, str(error)))
        except TimeoutError:
            responder.error(RemoteError(ErrorCode.DEADLINE_EXCEEDED, "the deadline has passed"))
        except Exception:
            _log.exception("method_failed", method=request.method)
            responder.error(RemoteError(ErrorCode.INTERNAL, "an internal error"))
        else:
            if isinstance(result, AsyncGenerator):
                responder.stream(result)
            else:
                responder.result(result)
