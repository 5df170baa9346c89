"""Client and service over a real socket: many calls at once, deadlines, streams, garbage, the end."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.address import connect, listen
from engine.client import Client
from engine.link import Link
from engine.protocol import ErrorCode, FrameDecoder, Hello, RemoteError, Reply, Request, encode_frame
from engine.protocol.limits import IN_FLIGHT_MAX
from engine.service import Methods, Service

Start = Callable[..., AbstractAsyncContextManager[Service]]


async def echo(request: Request) -> Any:
    return msgspec.msgpack.decode(request.params)


async def sleep(request: Request) -> str:
    await asyncio.sleep(msgspec.msgpack.decode(request.params))
    return "awake"


async def count(request: Request) -> AsyncIterator[bytes]:
    async def numbers() -> AsyncIterator[bytes]:
        for _ in range(msgspec.msgpack.decode(request.params)):
            yield bytes(100_000)

    return numbers()


async def block(request: Request) -> str:
    time.sleep(msgspec.msgpack.decode(request.params))  # holds up the whole server, as a long transaction does
    return "done"


async def fail(request: Request) -> None:
    raise ValueError("a secret of the inside")


async def refuse(request: Request) -> None:
    raise RemoteError(ErrorCode.INVALID, "not now", field="x")


METHODS = Methods({"echo": echo, "sleep": sleep, "block": block, "count": count, "fail": fail, "refuse": refuse})


@asynccontextmanager
async def serving(path: Path, **options: Any) -> AsyncIterator[Service]:
    async with Service(METHODS, listen(path), hello=lambda: Hello(service="test"), **options) as service:
        yield service


async def test_many_calls_share_one_connection(tmp_path: Path) -> None:
    async with serving(tmp_path / "s"), await Client.connect(tmp_path / "s") as client:
        answers = await asyncio.gather(*(client.call("echo", number, result_type=int) for number in range(200)))

    assert answers == list(range(200))
    assert client.hello.service == "test"


async def test_a_large_value_goes_there_and_back(tmp_path: Path) -> None:
    value = bytes(range(256)) * 20_000
    async with serving(tmp_path / "s"), await Client.connect(tmp_path / "s") as client:
        assert await client.call("echo", value, result_type=bytes) == value


async def test_errors_arrive_with_code_and_details(tmp_path: Path) -> None:
    async with serving(tmp_path / "s"), await Client.connect(tmp_path / "s") as client:
        with pytest.raises(RemoteError) as refused:
            await client.call("refuse", result_type=int)
        with pytest.raises(RemoteError) as failed:
            await client.call("fail", result_type=int)
        with pytest.raises(RemoteError) as unknown:
            await client.call("no_such_method", result_type=int)

    assert (refused.value.code, refused.value.details) == (ErrorCode.INVALID, {"field": "x"})
    assert failed.value.code == ErrorCode.INTERNAL
    assert "secret" not in str(failed.value)
    assert unknown.value.code == ErrorCode.UNKNOWN_METHOD


async def test_an_answer_of_another_form_is_no_result(tmp_path: Path) -> None:
    async with serving(tmp_path / "s"), await Client.connect(tmp_path / "s") as client:
        with pytest.raises(RemoteError) as error:
            await client.call("echo", "text", result_type=int)

        assert error.value.code == ErrorCode.BROKEN
        assert not client.usable


async def test_a_deadline_ends_the_call_on_the_server(tmp_path: Path) -> None:
    async with serving(tmp_path / "s") as service, await Client.connect(tmp_path / "s") as client:
        with pytest.raises(RemoteError) as error:
            await client.call("sleep", 60, result_type=str, deadline_ms=50)
        in_flight = service.in_flight

    assert error.value.code == ErrorCode.DEADLINE_EXCEEDED
    assert in_flight == 0


async def test_a_call_given_up_leaves_a_long_one_on_the_same_connection(tmp_path: Path) -> None:
    """The server runs beside us in a thread: a blocked one must not block the client."""
    ready, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        async with serving(tmp_path / "s", drain_s=1):
            ready.set()
            await asyncio.to_thread(stop.wait)

    server = threading.Thread(target=lambda: asyncio.run(serve()))
    server.start()
    await asyncio.to_thread(ready.wait)
    async with await Client.connect(tmp_path / "s") as client:
        long = asyncio.ensure_future(client.call("block", 2.5, result_type=str, deadline_ms=60_000))
        await asyncio.sleep(0.1)
        with pytest.raises(RemoteError) as error:
            await client.call("echo", 1, result_type=int, deadline_ms=50)

        assert error.value.code == ErrorCode.LOST
        assert not client.usable
        assert await long == "done"
    stop.set()
    await asyncio.to_thread(server.join)


async def test_leaving_a_service_does_not_wait_for_what_nobody_hears(tmp_path: Path) -> None:
    async with serving(tmp_path / "s", drain_s=0.05) as service:
        client = await Client.connect(tmp_path / "s")
        call = asyncio.ensure_future(client.call("sleep", 500, result_type=str, deadline_ms=600_000))
        while not service.in_flight:
            await asyncio.sleep(0.01)
    with pytest.raises(RemoteError):
        await call


async def test_a_stream_waits_for_its_reader(tmp_path: Path) -> None:
    async with serving(tmp_path / "s"), await Client.connect(tmp_path / "s") as client:
        sizes = []
        async for chunk in client.stream("count", 40, chunk_type=bytes):
            sizes.append(len(chunk))
            await asyncio.sleep(0)

    assert sizes == [100_000] * 40


async def test_more_calls_than_fit_wait_in_the_sender(tmp_path: Path) -> None:
    async with serving(tmp_path / "s"), await Client.connect(tmp_path / "s") as client:
        calls = [client.call("sleep", 0.2, result_type=str) for _ in range(IN_FLIGHT_MAX + 50)]

        assert await asyncio.gather(*calls) == ["awake"] * (IN_FLIGHT_MAX + 50)


async def test_a_sender_without_manners_is_refused_not_queued(tmp_path: Path) -> None:
    async with serving(tmp_path / "s", drain_s=0.1):
        rogue = connect(tmp_path / "s")
        rogue.setblocking(True)
        for number in range(IN_FLIGHT_MAX + 5):
            request = Request(number + 1, "sleep", msgspec.Raw(msgspec.msgpack.encode(30)))
            rogue.sendall(encode_frame(msgspec.msgpack.encode(request)))
        refused: list[Reply] = []
        decoder = FrameDecoder()
        while len(refused) < 5:
            frames = decoder.feed(await asyncio.to_thread(rogue.recv, 65536))
            refused += [reply for frame in frames if (reply := msgspec.msgpack.decode(frame, type=Reply)).error is not None]
        rogue.close()

    assert [reply.error.code for reply in refused if reply.error] == ["overloaded"] * 5


async def test_draining_finishes_what_is_in_flight(tmp_path: Path) -> None:
    async with serving(tmp_path / "s") as service:
        client = await Client.connect(tmp_path / "s")
        call = asyncio.ensure_future(client.call("sleep", 0.2, result_type=str))
        await asyncio.sleep(0.05)
        await service.drain()

        assert await call == "awake"
        assert not client.usable


async def test_a_lost_connection_fails_what_was_in_flight(tmp_path: Path) -> None:
    async with serving(tmp_path / "s", drain_s=0.05):
        client = await Client.connect(tmp_path / "s")
        call = asyncio.ensure_future(client.call("sleep", 30, result_type=str))
        await asyncio.sleep(0.05)
    with pytest.raises(RemoteError) as error:
        await call

    assert error.value.code == ErrorCode.LOST


GARBAGE = [
    b"\xff\xff\xff\xff",
    struct.pack(">I", 3) + b"\xc1\xc1\xc1",
    struct.pack(">I", 1) + b"\x01",
    b"GET / HTTP/1.1\r\n\r\n",
]


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_garbage_ends_that_connection_alone(tmp_path: Path, garbage: bytes) -> None:
    async with serving(tmp_path / "s"), await Client.connect(tmp_path / "s") as client:
        rogue = connect(tmp_path / "s")
        rogue.setblocking(True)
        rogue.sendall(garbage)
        received = await asyncio.to_thread(_read_to_the_end, rogue)

        assert len(received) < 200  # its greeting, then the end
        assert await client.call("echo", 1, result_type=int) == 1


async def test_a_server_that_sends_garbage_is_hung_up_on(tmp_path: Path) -> None:
    listening = listen(tmp_path / "s")

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\xff" * 64)
        writer.close()

    async with await asyncio.start_unix_server(answer, sock=listening):
        with pytest.raises(RemoteError) as error:
            await Client.connect(tmp_path / "s", timeout_s=5)

    assert error.value.code == ErrorCode.BROKEN


async def test_nobody_there_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(RemoteError) as error:
        await Client.connect(tmp_path / "nobody")

    assert error.value.code == ErrorCode.UNAVAILABLE


async def test_a_link_is_made_again_after_a_restart(tmp_path: Path) -> None:
    async with Link(tmp_path / "s") as link:
        async with serving(tmp_path / "s"):
            assert await link.call("echo", 1, result_type=int) == 1
        with pytest.raises(RemoteError):
            await link.call("echo", 2, result_type=int)
        async with serving(tmp_path / "s"):
            assert await link.call("echo", 3, result_type=int) == 3


async def test_a_socket_may_lie_deeper_than_its_address_can_say(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 30) / ("deeper" * 20)
    folder.mkdir(parents=True)
    async with serving(folder / "engine.sock"), await Client.connect(folder / "engine.sock") as client:
        assert await client.call("echo", "hello", result_type=str) == "hello"


def _read_to_the_end(rogue: socket.socket) -> bytes:
    received = b""
    try:
        while data := rogue.recv(4096):
            received += data
    except ConnectionError:
        pass
    finally:
        rogue.close()
    return received
