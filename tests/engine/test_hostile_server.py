"""A client whose server was taken over: it fails as it should, remembers nothing, says so once, and others go on."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from structlog.testing import capture_logs

from engine.client import Client
from engine.protocol import ErrorCode, RemoteError
from tests.tenants import impostor

MEMORY_GROWTH_BYTES_MAX = 100_000_000
SILENT = {
    "a_huge_length_and_nothing": {ErrorCode.UNAVAILABLE},
    "no_greeting": {ErrorCode.UNAVAILABLE},
    "one_byte_a_second": {ErrorCode.UNAVAILABLE},
    "the_end": {ErrorCode.UNAVAILABLE},
    "silence": {ErrorCode.LOST},
    "half_a_frame": {ErrorCode.LOST},
    "the_end_after_the_question": {ErrorCode.LOST},
    "the_end_within_a_frame": {ErrorCode.LOST},
    "farewells_for_ever": {ErrorCode.BROKEN, ErrorCode.DRAINING, ErrorCode.LOST},
}
"""What looks like a server that hangs or ends is told as one; whatever else is a breach of the protocol."""


class Thing(msgspec.Struct):
    some: Any


@pytest.fixture(scope="module")
def sockets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    folder = tmp_path_factory.mktemp("s")
    paths = {name: folder / f"{number}.sock" for number, name in enumerate(impostor.EVERYTHING)}
    with impostor.impostor(paths):
        yield paths


async def ask(path: Path) -> Thing:
    async with await Client.connect(path, timeout_s=0.5) as client:
        return await client.call("memory_get", {"id": 1}, result_type=Thing, deadline_ms=200)


@pytest.mark.parametrize("attack", sorted({*impostor.GREETINGS, *impostor.ANSWERS} - {"the_same_answer_twice"}))
async def test_a_call_fails_cleanly(sockets: dict[str, Path], attack: str) -> None:
    process = psutil.Process()
    before = process.memory_info().rss
    with capture_logs() as logs, pytest.raises(RemoteError) as error:
        await ask(sockets[attack])
    gc.collect()

    assert error.value.code in SILENT.get(attack, {ErrorCode.BROKEN})
    assert process.memory_info().rss - before < MEMORY_GROWTH_BYTES_MAX
    assert len(logs) == 1 if error.value.code == ErrorCode.BROKEN else len(logs) <= 1


@pytest.mark.parametrize("attack", impostor.LIES)
async def test_an_error_that_lies_is_cut_to_its_sober_part(sockets: dict[str, Path], attack: str) -> None:
    with pytest.raises(RemoteError) as error:
        await ask(sockets[attack])

    assert error.value.code != ErrorCode.BROKEN
    assert error.value.message.isprintable()
    assert all(isinstance(value, str | int | float | None) for value in error.value.details.values())
    assert all(value.isprintable() for value in error.value.details.values() if isinstance(value, str))


async def test_a_second_answer_ends_the_connection(sockets: dict[str, Path]) -> None:
    async with await Client.connect(sockets["the_same_answer_twice"]) as client:
        with capture_logs() as logs:
            assert (await client.call("memory_get", result_type=Thing)).some == 1
            while client.usable:
                await asyncio.sleep(0.01)

    assert [line["event"] for line in logs] == ["peer_broke_the_protocol"]


@pytest.mark.parametrize("attack", ["a_result_for_a_stream", "chunks_after_the_end", "noise", "an_answer_to_nobody"])
async def test_a_stream_is_no_call_and_ends_once(sockets: dict[str, Path], attack: str) -> None:
    async with await Client.connect(sockets[attack]) as client:
        pieces = []
        with capture_logs() as logs:
            try:
                async for piece in client.stream("export_file", chunk_type=bytes, deadline_ms=200):
                    pieces.append(piece)
            except RemoteError as error:
                assert error.code == ErrorCode.BROKEN
            while client.usable:
                await asyncio.sleep(0.01)

    assert pieces in ([], [b"a"])
    assert [line["event"] for line in logs] == ["peer_broke_the_protocol"]


@pytest.mark.parametrize("attack", ["silence", "bytes_one_by_one", "half_a_frame"])
async def test_a_stream_has_a_deadline_for_each_chunk(sockets: dict[str, Path], attack: str) -> None:
    async with await Client.connect(sockets[attack]) as client:
        with pytest.raises(RemoteError) as error:
            async for _ in client.stream("export_file", chunk_type=bytes, deadline_ms=100):
                pass

        assert error.value.code in (ErrorCode.LOST, ErrorCode.BROKEN)
        assert not client.usable


async def test_chunks_without_end_leave_the_loop_to_others(sockets: dict[str, Path]) -> None:
    """While one reader takes empty chunks as fast as they come, another task has its turn all the time."""
    turns = chunks = 0

    async def read() -> None:
        nonlocal chunks
        async with await Client.connect(sockets["chunks_without_end"]) as client:
            async for _ in client.stream("export_file", chunk_type=bytes):
                chunks += 1

    reader = asyncio.ensure_future(read())
    while chunks < 1000:
        turns += 1
        await asyncio.sleep(0)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader

    assert turns > 1000 / 32


async def test_what_is_not_read_is_not_sent(sockets: dict[str, Path]) -> None:
    """A server that reads nothing makes its callers wait with what they have, not the socket's buffer grow."""
    process = psutil.Process()
    body = "x" * 4_000_000
    async with await Client.connect(sockets["silence"]) as client:
        before = process.memory_info().rss
        calls = [client.call("memory_create", body, result_type=Thing, deadline_ms=300) for _ in range(100)]
        first = asyncio.gather(*calls[:1], return_exceptions=True)
        await asyncio.sleep(0.1)
        rest = asyncio.gather(*calls[1:], return_exceptions=True)
        await asyncio.sleep(0.1)
        grown = process.memory_info().rss - before
        failures = [*await first, *await rest]

    assert grown < MEMORY_GROWTH_BYTES_MAX
    assert {error.code for error in failures if isinstance(error, RemoteError)} <= {ErrorCode.LOST, ErrorCode.DRAINING}
    assert len(failures) == 100


async def test_calls_given_up_are_not_remembered_for_ever(sockets: dict[str, Path]) -> None:
    """A server that answers nothing, to a client whose callers go away, loses the connection in the end."""
    async with await Client.connect(sockets["silence"]) as client:
        asked = 0
        while client.usable:
            call = asyncio.ensure_future(client.call("memory_get", result_type=Thing))
            await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            asked += 1
            assert asked < 10_000
