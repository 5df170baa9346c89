"""What a hostile or broken client, file or process of ours can't do to the rest."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.service import Service, wait_until

pytestmark = pytest.mark.acceptance


@pytest.fixture(scope="module")
def node(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One node for this module's attacks; each leaves it well."""
    with Service(tmp_path_factory.mktemp("hostile"), environment={"ENGRAM_SIGNUP_PLAN": "team"}) as running:
        yield running


def test_a_thousand_silent_connections_keep_nobody_out(node: Service) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(1000):
            stack.enter_context(socket.create_connection(("127.0.0.1", node.port), timeout=30))

        assert httpx.get(f"{node.url}/health", timeout=30).status_code == 200


def test_a_hundred_thousand_worthless_entries_cost_no_memory(node: Service) -> None:
    gateway = node.program("gateway.main")
    with node.sign_up() as account:
        account.post("/v1/import", content=b'{"version":"1.0","memories":[]}')
        before = gateway.memory_info().rss
        answer = account.post("/v1/import", content=b'{"version":"1.0","memories":[' + b"0," * 5_000_000 + b"0]}")
        grown = gateway.memory_info().rss - before

    assert answer.status_code == 400
    assert answer.json()["entry"] == 0
    assert grown < 100_000_000  # the ten megabytes themselves, mapped, and what the upload took


def test_an_engine_killed_during_an_export_does_not_look_complete(node: Service) -> None:
    with node.sign_up() as account:
        entries = [
            {"id": n, "content": f"{n} " * 2000, "memory_type": "note", "created_at": "2026-01-01T00:00:00Z"}
            for n in range(1, 1501)
        ]
        body = json.dumps({"version": "1.0", "memories": entries}).encode()
        assert account.post("/v1/import", content=body, headers={"Content-Type": "application/json"}).status_code == 200
        with pytest.raises(httpx.HTTPError), account.stream("GET", "/v1/export") as answer:
            pieces = answer.iter_raw(1000)
            next(pieces)
            node.engines()[account.database].kill()
            for _ in pieces:
                time.sleep(0.001)


def test_a_hung_embedder_delays_one_request_not_each(node: Service) -> None:
    with node.sign_up() as account:
        account.create("The office cat sleeps on the printer.")
        embedder = node.program("engine.embedder.main")
        embedder.suspend()
        try:
            modes = [account.post("/v1/search", json={"query": "cat"}).json()["mode"] for _ in range(20)]
        finally:
            embedder.resume()

        assert modes == ["keyword"] * 20
        wait_until(lambda: account.post("/v1/search", json={"query": "cat"}).json()["mode"] == "hybrid", 60)


def test_a_hung_engine_holds_up_its_own_tenant_only(node: Service) -> None:
    with node.sign_up() as hung, node.sign_up() as well:
        hung.create("x")
        well.create("y")
        engine = node.engines()[hung.database]
        engine.suspend()
        try:
            waiting = threading.Thread(target=lambda: hung.get("/v1/stats"))
            waiting.start()
            assert [well.get("/v1/stats").status_code for _ in range(20)] == [200] * 20
            assert waiting.is_alive()
        finally:
            engine.resume()
        waiting.join(60)


def test_nobody_else_on_the_machine_can_read_what_is_stored(node: Service) -> None:
    with node.sign_up() as account:
        account.create("private")
        found = {str(path.relative_to(node.folder)): path.lstat() for path in node.folder.rglob("*")}

    assert [name for name, status in found.items() if stat.S_IMODE(status.st_mode) & 0o007] == []
    # What a group may see, it is the service's own.
    groups = {status.st_gid for status in found.values() if stat.S_IMODE(status.st_mode) & 0o070}
    assert groups <= {os.getegid()}
    assert [name for name, status in found.items() if "memory.db" in name and stat.S_IMODE(status.st_mode) & 0o077] == []


def test_secrets_are_in_no_environment_but_the_gateways_and_the_replicators(models: Path, tmp_path: Path) -> None:
    key = "bm90IGEgc2VjcmV0LCBhIHRlc3QncyBtYXN0ZXIga2U="
    with Service(tmp_path / "data", environment={"ENGRAM_MASTER_KEY": key}) as node:
        with node.sign_up() as account:
            account.create("so that an engine runs")
        holders = [" ".join(process.cmdline()) for process in node.processes() if key in (_environment(process) or "")]

    may_know = ("gateway.main", "replica.main", "supervisord", "engram up")
    assert [line for line in holders if not any(name in line for name in may_know)] == []
    assert any("gateway.main" in line for line in holders)


def _environment(process: psutil.Process) -> str:
    return Path(f"/proc/{process.pid}/environ").read_text(errors="replace")


@pytest.mark.parametrize("name", ["%00", "a%00b", "x" * 300, "console.js/x", "..%2f..%2fpages.py", "%2e%2e/pages.py"])
def test_a_strange_static_address_is_just_not_there(node: Service, name: str) -> None:
    assert httpx.get(f"{node.url}/static/{name}").status_code == 404
