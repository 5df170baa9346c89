"""The process as its clients meet it: through its socket, started and ended by signals."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from engine.client import Client
from engine.embedder.client import EmbedderClient
from engine.embedder.holding import LANE_REQUESTS_MAX
from engine.embedder.messages import CHARACTERS_PER_REQUEST_MAX
from engine.embedder.prepare import model_folder
from engine.embedder.settings import DEFAULT_MODEL, FLOAT_MODEL
from engine.protocol import Embedding, ErrorCode, RemoteError
from tests.embedder.conftest import PATIENCE_S, REPOSITORY, Process, StartProcess, until

CANARY = "xylophone-canary"
LONG = "机器学习系统需要大量的数据来训练模型。" * 1000
"""A hundred passages."""

SENTENCE = "The deploy keys are rotated on the first Monday of every month by whoever is on call. "


async def test_a_query_has_one_passage_and_a_document_as_many_as_it_needs(client: EmbedderClient) -> None:
    query = await client.query("When are keys rotated? " + CANARY)
    short, long = await client.documents([SENTENCE, SENTENCE * 40])

    assert DEFAULT_MODEL == query.model == short.model == long.model
    assert [(0, 23 + len(CANARY))] == [(passage.start, passage.end) for passage in query.passages]
    assert [(0, len(SENTENCE))] == [(passage.start, passage.end) for passage in short.passages]
    assert len(long.passages) > 2
    assert {384 * 4} == {len(passage.vector) for passage in [*query.passages, *short.passages, *long.passages]}


async def test_offsets_count_characters_of_any_script(client: EmbedderClient) -> None:
    text = "👩‍👩‍👧 cafe\u0301 猫坐在垫子上。" * 60
    (embedding,) = await client.documents([text])

    assert len(embedding.passages) > 1
    assert len(text) == embedding.passages[-1].end
    assert all(text[passage.end - 1] == "。" for passage in embedding.passages)


async def test_concurrent_requests_are_embedded_in_batches(client: EmbedderClient) -> None:
    before = await client.status()
    await asyncio.gather(*(client.query(f"query number {number}", deadline_ms=PATIENCE_S * 1000) for number in range(64)))
    after = await client.status()

    assert after.texts_total - before.texts_total == 64
    assert after.batches_total - before.batches_total < 32
    assert after.seconds_total > before.seconds_total
    assert (after.state, after.reason, after.model, after.dimensions, after.queued) == ("ready", "", DEFAULT_MODEL, 384, 0)


async def test_a_long_document_keeps_no_other_lane_and_no_other_of_its_own_waiting(client: EmbedderClient) -> None:
    long = asyncio.create_task(client.documents([LONG], lane="one", deadline_ms=PATIENCE_S * 1000))
    for lane in ("other", "one"):
        await client.documents([SENTENCE], lane=lane, deadline_ms=PATIENCE_S * 1000)
        await client.query(SENTENCE, lane=lane, deadline_ms=PATIENCE_S * 1000)
        assert not long.done()

    assert len((await long)[0].passages) > 50


async def test_what_nobody_waits_for_gives_way_even_to_its_own_lane(client: EmbedderClient) -> None:
    texts = [LONG, LONG]
    pumped = asyncio.create_task(client.documents(texts, lane="one", background=True, deadline_ms=PATIENCE_S * 1000))
    await client.documents([LONG], lane="one", deadline_ms=PATIENCE_S * 1000)

    assert not pumped.done()
    assert len(await pumped) == 2


async def test_a_full_lane_is_refused_and_the_others_are_served(start_process: StartProcess, models_dir: Path) -> None:
    process = start_process(models_dir)
    patient_ms = PATIENCE_S * 1000
    async with EmbedderClient(process.socket) as client:
        await until(client, "ready")
        await client.documents([SENTENCE], lane="full", deadline_ms=patient_ms)
        crowd = [
            asyncio.create_task(client.documents([LONG], lane="full", deadline_ms=patient_ms)) for _ in range(LANE_REQUESTS_MAX)
        ]
        await asyncio.sleep(0)  # all of them are on their way then, on the connection that the next one takes
        with pytest.raises(RemoteError) as refused:
            await client.documents([SENTENCE], lane="full")
        assert refused.value.code == ErrorCode.OVERLOADED

        assert await client.documents([SENTENCE], lane="other", deadline_ms=patient_ms)
        assert await client.query(SENTENCE, lane="full", deadline_ms=patient_ms)
        assert not any(task.done() for task in crowd)
        for task in crowd:
            task.cancel()


async def test_no_texts_have_no_embeddings_and_an_empty_text_has_one(client: EmbedderClient) -> None:
    assert await client.documents([]) == []
    (embedding,) = await client.documents([""])
    assert [(passage.start, passage.end) for passage in embedding.passages] == [(0, 0)]


async def test_too_much_at_once_is_refused_before_any_work(client: EmbedderClient) -> None:
    with pytest.raises(RemoteError) as refused:
        await client.documents(["x" * (CHARACTERS_PER_REQUEST_MAX + 1)])

    assert refused.value.code == ErrorCode.TOO_LARGE
    assert refused.value.details == {"field": "texts", "limit": CHARACTERS_PER_REQUEST_MAX}


async def test_a_lone_surrogate_is_refused_by_name(client: EmbedderClient) -> None:
    with pytest.raises(RemoteError) as refused:
        await client.query("\ud800")

    assert refused.value.code == ErrorCode.INVALID


async def test_malformed_arguments_are_refused_and_the_connection_stays(client: EmbedderClient, process: Process) -> None:
    async with await Client.connect(process.socket) as connection:
        for method, params in (("embed_query", {"text": 7}), ("embed_documents", {"texts": "x"}), ("embed_query", [])):
            with pytest.raises(RemoteError) as refused:
                await connection.call(method, params, result_type=Embedding)
            assert refused.value.code == ErrorCode.INVALID
        assert connection.hello.service == "embedder"


async def test_a_passed_deadline_is_said(client: EmbedderClient) -> None:
    with pytest.raises(RemoteError) as late:
        await client.documents([SENTENCE * 700], deadline_ms=1)

    assert late.value.code in {ErrorCode.DEADLINE_EXCEEDED, ErrorCode.LOST, ErrorCode.UNAVAILABLE}


async def test_the_log_is_json_and_holds_no_text(client: EmbedderClient, process: Process) -> None:
    await client.query(CANARY)
    lines = process.log.read_text().splitlines()

    assert {"embedder"} == {json.loads(line)["program"] for line in lines}
    assert {"listening", "model_ready"} <= {json.loads(line)["event"] for line in lines}
    assert CANARY not in process.log.read_text()


async def test_without_a_model_it_says_so_and_becomes_ready_when_one_appears(
    start_process: StartProcess, models_dir: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "models"
    process = start_process(empty)
    async with EmbedderClient(process.socket) as client:
        status = await until(client, "unavailable")
        assert "engine.embedder.prepare" in status.reason
        with pytest.raises(RemoteError) as refused:
            await client.query("anything")
        assert refused.value.code == ErrorCode.UNAVAILABLE
        assert status.reason == refused.value.message

        shutil.copytree(model_folder(models_dir), empty / "half-copied")
        (empty / "half-copied").rename(model_folder(empty))

        status = await until(client, "ready")
        assert status.dimensions == 384
        assert len((await client.query("anything")).passages) == 1


async def test_one_other_model_answers_beside_the_one_that_is_set(client: EmbedderClient, float_model: None) -> None:
    own = await client.query(SENTENCE)
    query = await client.query(SENTENCE, model=FLOAT_MODEL, deadline_ms=PATIENCE_S * 1000)
    (document,) = await client.documents([SENTENCE], model=FLOAT_MODEL)
    named = await client.query(SENTENCE, model=DEFAULT_MODEL)

    assert (query.model, document.model, named) == (FLOAT_MODEL, FLOAT_MODEL, own)
    assert query.passages[0].vector == document.passages[0].vector != own.passages[0].vector
    assert (await client.status()).model == DEFAULT_MODEL

    with pytest.raises(RemoteError) as refused:
        await client.query(SENTENCE, model="BAAI/bge-small-en-v1.5")
    assert refused.value.code == ErrorCode.UNAVAILABLE
    assert "another model is in use" in refused.value.message


@pytest.mark.parametrize("name", ["..", "../models", "/etc", "BAAI/../..", "no-such-model", "BAAI/bge-small-en-v1.5"])
async def test_a_model_that_is_not_here_is_unavailable_and_not_fetched(
    start_process: StartProcess, models_dir: Path, name: str
) -> None:
    process = start_process(models_dir)
    async with EmbedderClient(process.socket) as client:
        await until(client, "ready")
        with pytest.raises(RemoteError) as refused:
            await client.query(SENTENCE, model=name, deadline_ms=PATIENCE_S * 1000)

        assert refused.value.code == ErrorCode.UNAVAILABLE
        assert len((await client.query(SENTENCE)).passages) == 1


async def test_nobody_there_is_unavailable_at_once(tmp_path: Path) -> None:
    async with EmbedderClient(tmp_path / "embed.sock") as client:
        for call in (client.query("x"), client.documents(["x"]), client.status()):
            with pytest.raises(RemoteError) as refused:
                await call
            assert refused.value.code == ErrorCode.UNAVAILABLE


async def test_sigterm_finishes_what_is_under_way_and_the_client_finds_the_next_process(
    start_process: StartProcess, models_dir: Path
) -> None:
    first = start_process(models_dir)
    async with EmbedderClient(first.socket) as client:
        await until(client, "ready")
        under_way = asyncio.create_task(client.documents([SENTENCE * 20]))
        await asyncio.sleep(0)
        await client.documents([""])  # sent behind it on the same connection: the documents have been taken in
        first.popen.send_signal(signal.SIGTERM)

        assert len((await under_way)[0].passages) > 1
        assert await asyncio.to_thread(first.popen.wait, PATIENCE_S) == 0
        with pytest.raises(RemoteError) as refused:
            await client.query("anything")
        assert refused.value.code == ErrorCode.UNAVAILABLE

        start_process(models_dir)
        await until(client, "ready")
        assert len((await client.query("anything")).passages) == 1


async def test_sigterm_ends_it_although_a_client_stays(start_process: StartProcess, models_dir: Path) -> None:
    process = start_process(models_dir)
    async with EmbedderClient(process.socket) as client:
        await until(client, "ready")
    with socket.socket(socket.AF_UNIX) as stays:
        stays.connect(str(process.socket))
        assert stays.recv(1)

        assert process.stop() == 0


async def test_sigterm_ends_it_while_the_model_is_missing(start_process: StartProcess, tmp_path: Path) -> None:
    process = start_process(tmp_path / "models")
    async with EmbedderClient(process.socket) as client:
        await until(client, "unavailable")

    assert process.stop() == 0


async def test_it_dies_with_its_parent(models_dir: Path, tmp_path: Path) -> None:
    script = (
        "import subprocess, sys, time\n"
        "print(subprocess.Popen([sys.executable, '-m', 'engine.embedder.main'], stdout=subprocess.DEVNULL).pid, flush=True)\n"
        "time.sleep(3600)"
    )
    environment = os.environ | {"ENGRAM_DATA_DIR": str(tmp_path), "ENGRAM_MODELS_DIR": str(models_dir)}
    parent = subprocess.Popen(
        [sys.executable, "-c", script], cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    with parent.stdout:
        child = psutil.Process(int(parent.stdout.readline()))
    try:
        async with EmbedderClient(tmp_path / "run" / "embed.sock") as client:
            await until(client, "ready")
        parent.kill()
        parent.wait()
        async with asyncio.timeout(PATIENCE_S):
            # An orphan that ended may stay a zombie: who reaps it depends on the machine.
            while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
                await asyncio.sleep(0.05)
    finally:
        parent.kill()
        parent.wait()


def test_the_client_loads_nothing_of_the_model() -> None:
    script = (
        "import sys, engine.embedder.client\n"
        "print(sorted({'fastembed', 'numpy', 'onnxruntime', 'tokenizers', 'onnx'} & set(sys.modules)))"
    )
    outcome = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)

    assert outcome.stdout == "[]\n"
