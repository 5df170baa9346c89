"""What the kernel says of an engine that serves, and of the fork server: users, powers, limits, descriptors, memory."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine import fork_server as fork_server_module
from engine.catalogue.memory import CREATE, MemoryCreate
from engine.layout import tenant_folder
from engine.sandbox import limits
from tests.service import Service
from tests.tenants.conftest import TENANT, Node

pytestmark = pytest.mark.usefixtures("as_root")

ENGINE_MEMORY_MAX_MB = 300


@dataclass(frozen=True)
class Process:
    """A process, as /proc tells of it."""

    pid: int

    @property
    def status(self) -> dict[str, str]:
        """Return the fields of ``/proc/…/status``."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return {name: " ".join(value.split()) for name, _, value in (line.partition(":") for line in lines)}

    def limits(self) -> dict[str, tuple[int, int]]:
        """Return the limits that are set, soft and hard."""
        lines = re.findall(r"^(.*?)  +(\d+)  +(\d+) ", Path(f"/proc/{self.pid}/limits").read_text(), re.MULTILINE)
        return {name: (int(soft), int(hard)) for name, soft, hard in lines}

    def descriptors(self) -> dict[int, str]:
        """Return what each descriptor leads to, without the numbers of sockets and pipes."""
        folder = Path(f"/proc/{self.pid}/fd")
        return {int(entry.name): re.sub(r":\[\d+\]", "", str(entry.readlink())) for entry in folder.iterdir()}

    def holds(self, secret: bytes) -> bool:
        """Whether the secret is anywhere in its memory."""
        spans = re.findall(r"^([0-9a-f]+)-([0-9a-f]+) r.*$", Path(f"/proc/{self.pid}/maps").read_text(), re.MULTILINE)
        with open(f"/proc/{self.pid}/mem", "rb", 0) as memory:
            for first, last in ((int(first, 16), int(last, 16)) for first, last in spans):
                try:
                    memory.seek(first)
                    if secret in memory.read(last - first):
                        return True
                except (OSError, OverflowError):  # the kernel's own pages can't be read
                    continue
        return False


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Process]:
    """An engine that has served a request."""
    node = Node(tmp_path)
    node.environment |= {"ENGRAM_ENGINE_MEMORY_MAX_MB": str(ENGINE_MEMORY_MAX_MB)}
    try:
        node.start("engine.fork_server")
        node.start("tenants.host.main")
        async with node.router() as router:
            await router.call(TENANT, CREATE, MemoryCreate(content="kept"))
            yield Process(node.engines()[TENANT])
    finally:
        node.close()


async def test_it_is_its_user_and_nobody_else_for_good(engine: Process, tmp_path: Path) -> None:
    user = tenant_folder(tmp_path, TENANT).stat().st_uid
    status = engine.status

    assert status["Uid"] == status["Gid"] == " ".join([str(user)] * 4)
    assert status["Groups"] == ""


async def test_it_has_no_powers_and_gets_none(engine: Process) -> None:
    status = engine.status

    assert {name: int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == dict.fromkeys(
        ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), 0
    )
    assert status["NoNewPrivs"] == "1"
    assert (status["Seccomp"], status["Seccomp_filters"]) == ("2", "1")


async def test_its_whole_tree_is_its_folder(engine: Process, tmp_path: Path) -> None:
    folder = str(tenant_folder(tmp_path, TENANT))

    assert os.readlink(f"/proc/{engine.pid}/root") == folder
    assert os.readlink(f"/proc/{engine.pid}/cwd") == folder


async def test_it_leads_a_session_of_its_own_and_dies_before_others_when_memory_ends(engine: Process) -> None:
    status = engine.status

    assert os.getsid(engine.pid) == os.getpgid(engine.pid) == engine.pid
    assert Path(f"/proc/{engine.pid}/oom_score_adj").read_text() == "500\n"
    assert status["Umask"] == "0027"
    assert status["Threads"] == "1"


async def test_its_limits_are_those_that_are_written_down(engine: Process) -> None:
    its = engine.limits()
    space, hard_space = its["Max address space"]
    used = int(engine.status["VmSize"].split()[0]) * 1024

    assert space == hard_space
    assert abs(space - used - ENGINE_MEMORY_MAX_MB * limits.MEGABYTE) < 64 * limits.MEGABYTE
    assert its["Max open files"] == (limits.DESCRIPTORS_MAX,) * 2
    assert its["Max processes"] == (limits.THREADS_MAX,) * 2
    assert {name: its[f"Max {name}"] for name in ("core file size", "locked memory", "msgqueue size", "realtime priority")} == {
        "core file size": (0, 0),
        "locked memory": (0, 0),
        "msgqueue size": (0, 0),
        "realtime priority": (0, 0),
    }


async def test_its_descriptors_are_its_own(engine: Process, tmp_path: Path) -> None:
    descriptors = engine.descriptors()
    folder = str(tenant_folder(tmp_path, TENANT))
    files = {where for number, where in descriptors.items() if where.startswith("/") and number > 2}
    sockets = [where for where in descriptors.values() if where == "socket"]

    assert (descriptors[0], descriptors[1], descriptors[2]) == ("/dev/null", "pipe", "pipe")
    assert files <= {folder, *(f"{folder}/{name}" for name in ("engine.lock", "memory.db", "memory.db-wal", "memory.db-shm"))}
    assert {where for where in descriptors.values() if not where.startswith("/")} == {
        "pipe",
        "socket",
        "anon_inode:[eventpoll]",
    }
    assert [where for number, where in descriptors.items() if number > 2 and where == "pipe"] == []
    assert len(sockets) == 4  # the event loop's own pair, the one that listens, and the router's


async def test_no_memory_is_writable_and_executable(engine: Process) -> None:
    assert re.findall(r"^.* rwx.*$", Path(f"/proc/{engine.pid}/maps").read_text(), re.MULTILINE) == []


async def test_the_fork_server_keeps_only_the_powers_that_it_needs(fork_server: Node) -> None:
    status = Process(fork_server.pid("engine.fork_server")).status
    kept = sum(1 << number for number in fork_server_module._POWERS_KEPT)

    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == kept
    assert int(status["CapBnd"], 16) == int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
    assert status["Threads"] == "1"


@pytest.mark.acceptance
def test_no_secret_of_the_service_is_in_the_memory_of_engines_or_of_who_forks_them(models: Path, tmp_path: Path) -> None:
    """Neither a master key nor what customers send as theirs; the gateway, which has them, shows that they would be found."""
    master_key = base64.b64encode(os.urandom(32)).decode()
    with Service(tmp_path, environment={"ENGRAM_MASTER_KEY": master_key}) as service, service.sign_up() as account:
        account.create("kept")
        secrets = [master_key.encode(), account.key.encode()]
        held = {
            name: [Process(pid).holds(secret) for secret in secrets]
            for name, pid in {
                "gateway": service.program("gateway.main").pid,
                "fork server": service.program("engram fork-server").pid,
                "engine": service.engines()[account.database].pid,
            }.items()
        }

    assert held == {"gateway": [True, True], "fork server": [False, False], "engine": [False, False]}
