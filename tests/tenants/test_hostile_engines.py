"""A whole node on which engines were taken over: their tenants get a clean error, all others notice nothing."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from engine.link import Link
from tenants.messages.host import Ensure, Ensured
from tests.service import Account, Service
from tests.tenants import impostor

MEMORY_GROWTH_BYTES_MAX = 500_000_000
"""What the gateway may have grown by after all attacks at once: some frames of 16 MiB, and what a request needs."""

OURS = {"type", "title", "status", "code", "detail"} | {"field", "limit", "current", "metric", "version", "entry", "id"}
CLEAN_CODES = {"engine_failed", "unavailable", "internal", "deadline_exceeded"}

HUNG = ("no_greeting", "silence", "the_end", "farewells_for_ever")
"""What looks like an engine that hangs or ends: the host kills that, and the one it starts instead may be there in time."""

BROKEN = (
    "garbage", "a_length_over_the_limit", "noise", "nested_arrays", "millions_of_lists", "an_extension", "text_that_is_no_text",
    "an_answer_to_nobody", "greetings_for_ever", "chunks_after_the_end", "a_hundred_thousand_small_frames",
)  # fmt: skip
LYING = (
    "fields_that_override", "lines_in_everything", "a_wait_that_is_no_number", "a_wait_of_words", "a_model_that_is_a_path",
    "internal_with_a_secret",
)  # fmt: skip
ATTACKS = (*HUNG, *BROKEN, *LYING, "chunks_without_end")
"""One of each kind: ``tests/engine/test_hostile_server.py`` has them all."""


@dataclass
class TakenOver:
    """A customer whose engine is an impostor."""

    attack: str
    account: Account


@pytest.fixture(scope="module")
def node(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("hostile")) as running:
        yield running


@pytest.fixture(scope="module")
def taken_over(node: Service) -> Iterator[list[TakenOver]]:
    """One customer for each attack. The host started their engines; the impostor then took the sockets' names."""
    with ExitStack() as stack:
        accounts = {name: stack.enter_context(node.sign_up()) for name in ATTACKS}
        sockets = {name: asyncio.run(_socket(node, account.database)) for name, account in accounts.items()}
        stack.enter_context(impostor.impostor(sockets))
        yield [TakenOver(name, account) for name, account in accounts.items()]


async def _socket(node: Service, tenant: str) -> Path:
    async with Link(node.folder / "run" / "host.sock") as host:
        return Path((await host.call("ensure", Ensure(tenant), result_type=Ensured)).socket)


def requests(account: Account) -> list[httpx.Response]:
    """Ask in every way there is: read, write, search, list, stream, MCP."""
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "memory_get", "arguments": {"id": 1}}}
    answers = []
    for method, path, body in (
        ("GET", "/v1/memories/1", None),
        ("POST", "/v1/memories", {"content": "x"}),
        ("GET", "/v1/export", None),
        ("POST", "/v1/mcp", call),
        ("POST", "/v1/search", {"query": "x"}),
    ):
        try:
            answers.append(account.request(method, path, json=body))
        except httpx.RemoteProtocolError:
            assert path == "/v1/export"  # which had begun, and is cut off for the client to see that it is not whole
    return answers


def assert_clean(attack: str, answer: httpx.Response) -> None:
    """The answer is a problem of ours, or of the engine's about its own data; nothing in it is anybody else's."""
    text = answer.text
    for header in answer.headers:
        assert header.lower() not in ("set-cookie", "x", "evil", "y")
    assert "Traceback" not in text
    assert "/run/engines" not in text
    if answer.request.url.path == "/v1/mcp":
        result = answer.json()
        assert answer.status_code == 200
        assert result["result"]["isError"] is True
        return
    if answer.status_code == 201:
        assert attack in HUNG
        return
    if answer.status_code == 200:
        assert attack in ("chunks_after_the_end", *HUNG), (attack, text[:200])
        return
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["status"] == answer.status_code
    assert problem["type"] == "about:blank"
    assert problem.keys() <= OURS | {"retry_after"}
    assert len(text) < 3000
    if answer.status_code >= 500:
        assert problem["code"] in CLEAN_CODES | {"database_corrupt"}
    if attack in BROKEN:
        assert problem["code"] in CLEAN_CODES, (attack, problem)
    if "Retry-After" in answer.headers:
        assert 1 <= int(answer.headers["Retry-After"]) <= 3600


def test_their_tenants_get_a_clean_error_and_others_notice_nothing(node: Service, taken_over: list[TakenOver]) -> None:
    gateway, host = node.program("gateway.main"), node.program("tenants.host.main")
    before = gateway.memory_info().rss
    stop = threading.Event()
    served: list[int] = []

    def go_on(well: Account) -> None:
        memory = well.create("all is well")
        while not stop.is_set():
            served.append(well.get(f"/v1/memories/{memory['id']}").status_code)
            served.append(well.post("/v1/search", json={"query": "well"}).status_code)

    attacked = [victim for victim in taken_over if victim.attack != "chunks_without_end"]
    with node.sign_up() as well, ThreadPoolExecutor(8) as threads:
        going_on = threads.submit(go_on, well)
        results = list(threads.map(lambda victim: (victim.attack, requests(victim.account)), attacked))
        stop.set()
        going_on.result()

    for attack, answers in results:
        for answer in answers:
            assert_clean(attack, answer)
    assert set(served) == {200}
    assert gateway.is_running()
    assert host.is_running()
    assert gateway.memory_info().rss - before < MEMORY_GROWTH_BYTES_MAX
    log = node.log()
    assert "Traceback" not in log
    assert '"exception"' not in log
    for victim in attacked:
        lines = [line for line in log.splitlines() if "peer_broke_the_protocol" in line and victim.account.database in line]
        assert len(lines) <= 6, lines  # at most one for each request and one for the pump
        assert all(json.loads(line)["level"] == "warning" for line in lines)


def test_an_export_that_never_ends_leaves_the_others_their_turn(node: Service, taken_over: list[TakenOver]) -> None:
    """Nothing but empty chunks: the customer waits for a first byte that does not come, until it goes away."""
    (victim,) = (victim for victim in taken_over if victim.attack == "chunks_without_end")
    with node.sign_up() as well:
        memory = well.create("all is well")
        exporting = threading.Thread(target=_try_export, args=(victim.account,))
        exporting.start()
        answers = [well.get(f"/v1/memories/{memory['id']}").status_code for _ in range(200)]
        exporting.join()

    assert answers == [200] * 200


def _try_export(account: Account) -> None:
    with pytest.raises(httpx.TimeoutException):
        account.get("/v1/export", timeout=3)


def test_the_host_puts_honest_engines_to_sleep_beside_hostile_ones(models: Path, tmp_path: Path) -> None:
    """Engines that answer the host's question with nonsense, or not at all, keep no others awake."""
    from tests.service import wait_until

    attacks = ["silence", "noise", "another_type", "garbage", "no_greeting", "an_answer_to_nobody"]
    with Service(tmp_path / "data", environment={"ENGRAM_ENGINE_IDLE_SECONDS": "1"}) as node, ExitStack() as stack:
        accounts = {name: stack.enter_context(node.sign_up()) for name in attacks}
        sockets = {name: asyncio.run(_socket(node, account.database)) for name, account in accounts.items()}
        stack.enter_context(impostor.impostor(sockets))
        honest = [stack.enter_context(node.sign_up()) for _ in range(3)]
        for account in honest:
            account.create("x")
        names = {account.database for account in honest}

        wait_until(lambda: not names & node.engines().keys(), 120)
