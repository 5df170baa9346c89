"""A client's end of one connection: requests go out, answers come in, each let through by the conversation's rules.

The server may be hostile. What it sends is held back while nobody takes it, what it does not read is not sent, and when it
breaks the protocol it is hung up on, which is logged once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import cast

import structlog

from engine.protocol import ErrorCode, FrameDecoder, RemoteError
from engine.protocol.conversation import Answer, Breach, Conversation
from engine.protocol.framing import FrameError

_log = structlog.get_logger()

_CLOSE_S = 1.0


class Connection(asyncio.Protocol):
    """Frames written during one turn of the loop leave in one system call."""

    def __init__(self, peer: str, *, answered: Callable[[Answer], None], lost: Callable[[], None]) -> None:
        """``peer`` is what the log calls the server. ``lost`` is told once, when nothing will be ``answered`` any more."""
        self.conversation = Conversation()
        self.broken = False
        """Whether the server broke the protocol."""
        self._peer = peer
        self._answered = answered
        self._lost = lost
        self._closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._decoder = FrameDecoder()
        self._held = False
        self._outgoing: list[bytes] = []
        self._writable = asyncio.Event()
        self._writable.set()
        self._transport: asyncio.Transport | None = None

    @property
    def is_open(self) -> bool:
        """Whether anything can be sent."""
        return self._transport is not None and not self.broken

    @property
    def is_writable(self) -> bool:
        """Whether the server has read most of what it was sent."""
        return self._writable.is_set()

    def send(self, frame: bytes) -> None:
        """Queue a frame; what is queued for a connection that is lost goes nowhere."""
        if not self._outgoing:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outgoing.append(frame)

    async def writable(self, timeout_s: float) -> None:
        """Return when the server has read what it was sent: until then that lies in our memory. ``TimeoutError``."""
        async with asyncio.timeout(timeout_s):
            await self._writable.wait()

    def hold(self) -> None:
        """Take no more answers until ``release``."""
        self._held = True
        if self._transport is not None:
            self._transport.pause_reading()

    def release(self) -> None:
        """Take answers again, those first that came before."""
        if self._held:
            self._held = False
            if self._transport is not None:
                self._transport.resume_reading()
            self._take_frames()

    def hang_up(self, breach: Exception) -> None:
        """End the connection to a server that broke the protocol."""
        if self.broken:
            return
        self.broken = True
        _log.warning("peer_broke_the_protocol", peer=self._peer, reason=str(breach))
        self._lost()
        self.abort()

    async def close(self) -> None:
        """Hang up and wait until it is done; a server that does not read what is left is not waited for."""
        self.close_soon()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await asyncio.shield(self._closed)
        self.abort()

    def close_soon(self) -> None:
        """Hang up once all that was sent is read."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Hang up at once."""
        if self._transport is not None:
            self._transport.abort()

    def failure(self, message: str) -> RemoteError:
        """Return the error of a call that ends with the connection, ``message`` saying how unless the server broke it."""
        if self.broken:
            return RemoteError(ErrorCode.BROKEN, "the answer can't be used; whether the request was carried out is unknown")
        return RemoteError(ErrorCode.LOST, message)

    def _flush(self) -> None:
        if self._transport is not None:
            self._transport.write(b"".join(self._outgoing))
        self._outgoing.clear()

    def _take_frames(self) -> None:
        try:
            while not (self._held or self.broken) and (frame := self._decoder.take()) is not None:
                if (answer := self.conversation.receive(frame)) is not None:
                    self._answered(answer)
        except (FrameError, Breach) as breach:
            self.hang_up(breach)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own transports are no subclass of it

    def data_received(self, data: bytes) -> None:
        self._decoder.put(data)
        self._take_frames()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._writable.set()
        if not self.broken:
            self._lost()
        if not self._closed.done():
            self._closed.set_result(None)
