"""A node with an attacker and a live neighbour, for one way of confining engines, and all that there is to steal on it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from engine.catalogue.memory import CREATE, LIST, Memory, MemoryPage
from engine.client import Client
from engine.layout import engine_socket, tenant_folder
from engine.link import Link
from engine.protocol import ErrorCode, RemoteError
from engine.protocol.processes import EngineProcess, EngineProcesses, Isolation, Signalled
from tenants.messages.host import Ensured
from tests.isolation.attack import Attack, Targets, new_canary
from tests.isolation.attacks.code import unloaded_library
from tests.isolation.attacks.links import PLANTED_LINK, PLANTED_NAME
from tests.isolation.bystander import Bystander
from tests.isolation.compromised import ATTACK, Order, Outcome
from tests.isolation.kernel_objects import KernelObjects
from tests.isolation.reader import Reader
from tests.isolation.whereabouts import address_of, descriptor_of, handle_of
from tests.service import wait_until

ATTACKER, NEIGHBOUR = "db_" + "a" * 20, "db_" + "b" * 20
ENGINE_MEMORY_MAX_MB = 256
_DEADLINE_MS = 20_000
_LAST_S = 10.0
_SPARE = b"the neighbour's"


class Scene:
    """One node. An async context manager."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self._stack = contextlib.AsyncExitStack()
        self.secrets = {kind: new_canary(kind) for kind in ("neighbour", "control", "log", "model", "pipe")}
        self.spare: tuple[bytes, int, int] = (b"", 0, 0)
        self.targets: Targets
        self.isolation: Isolation

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            # Short, because some of the paths in it become names of sockets.
            self.folder = Path(tempfile.mkdtemp(prefix="engram-prove-"))
            self.folder.chmod(0o711)
            stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            self.bystander = stack.enter_context(Bystander())
            self.objects = stack.enter_context(KernelObjects())
            self.secrets |= {"key": self.bystander.key, "socket": self.bystander.secret, "shared": self.objects.secret}
            self._furnish()
            self._fork_server = self._start("tests.isolation.compromised", self.mode)
            stack.callback(_stop, self._fork_server)
            stack.callback(_stop, host := self._start("tenants.host.main"))
            self._wait_for("fork.sock", self._fork_server)
            self._wait_for("host.sock", host)
            self._fork_link = await stack.enter_async_context(Link(self.folder / "run" / "fork.sock"))
            self.isolation = await self._fork_link.call("isolation", result_type=Isolation)
            self._host = await stack.enter_async_context(Link(self.folder / "run" / "host.sock"))
            await self._settle(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, traceback)

    # The node

    def _furnish(self) -> None:
        """Make what a node has beside engines."""
        for name in ("run/engines", "models", "log"):
            (self.folder / name).mkdir(parents=True, mode=0o750)
        (self.folder / "run").chmod(0o750)
        control = sqlite3.connect(self.folder / "control.db")
        with contextlib.closing(control), control:
            control.execute("CREATE TABLE keys (secret TEXT)")
            control.execute("INSERT INTO keys VALUES (?)", (self.secrets["control"],))
        (self.folder / "control.db").chmod(0o600)
        (self.folder / "models" / "model.bin").write_text(self.secrets["model"])
        self.log = self.folder / "log" / "engram.log"
        self.log.write_text(self.secrets["log"] + "\n")
        self.log.chmod(0o640)
        self._logged_bytes = 0

    def _start(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a program with an environment as the supervisor gives it."""
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONUTF8": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "ENGRAM_DATA_DIR": str(self.folder),
            "ENGRAM_ENGINE_MEMORY_MAX_MB": str(ENGINE_MEMORY_MAX_MB),
            "ENGRAM_ENGINE_IDLE_SECONDS": "3600",
        }
        if self.mode == "control":
            environment["ENGRAM_MASTER_KEY"] = self.bystander.key
        with self.log.open("ab") as log:
            return subprocess.Popen([sys.executable, "-m", program, *arguments], env=environment, stdout=log, stderr=log)

    def _wait_for(self, socket: str, process: subprocess.Popen[bytes]) -> None:
        path = self.folder / "run" / socket
        wait_until(lambda: path.exists() or process.poll() is not None)
        if process.poll() is not None:
            raise RuntimeError(f"nobody listens at {socket}: {self.log.read_text()[-3000:]}")

    async def _settle(self, stack: contextlib.AsyncExitStack) -> None:
        """Wake the neighbour, have it remember its secret, and make what the attacks need."""
        await self._host.call("ensure", {"tenant": NEIGHBOUR}, result_type=Ensured)
        await self._fork_link.call("fork", {"tenant": ATTACKER}, result_type=EngineProcess)
        async with await Client.connect(engine_socket(self.folder, NEIGHBOUR)) as client:
            await client.call(CREATE.name, {"content": self.secrets["neighbour"]}, result_type=Memory)
        self.neighbour_pid = (await self._engines())[NEIGHBOUR]
        await self.end_attacker()
        folder, neighbours = tenant_folder(self.folder, ATTACKER), tenant_folder(self.folder, NEIGHBOUR)
        file = neighbours / "memory.db-wal"
        (folder / PLANTED_LINK).symlink_to(file)
        os.link(file, folder / PLANTED_NAME)
        os.mkfifo(pipe := neighbours / "pipe", 0o600)
        self._pipe = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
        stack.callback(os.close, self._pipe)
        owner = neighbours.stat().st_uid
        os.chown(pipe, owner, -1)
        self.targets = Targets(
            tenant=ATTACKER,
            folder=str(folder),
            data_folder=str(self.folder),
            log=str(self.log),
            fork_server=self._fork_server.pid,
            neighbour=NEIGHBOUR,
            neighbour_folder=str(neighbours),
            neighbour_file=str(file),
            neighbour_spare=str(neighbours / "spare"),
            neighbour_pipe=str(pipe),
            neighbour_pid=self.neighbour_pid,
            neighbour_user=owner,
            neighbour_secret_at=address_of(self.neighbour_pid, self.secrets["neighbour"].encode()),
            neighbour_descriptor=descriptor_of(self.neighbour_pid, file.name),
            neighbour_handle=handle_of(file),
            nobody=int(Path("/proc/sys/kernel/pid_max").read_text()),
            bystander=self.bystander.pid,
            bystander_buffer=self.bystander.places["buffer"],
            tcp_port=self.bystander.places["tcp_port"],
            udp_port=self.bystander.datagrams.getsockname()[1],
            abstract=self.bystander.places["abstract"],
            shared_memory=self.objects.shared_memory,
            message_queue=self.objects.message_queue,
            semaphore=self.objects.semaphore,
            posix_queue=self.objects.posix_queue,
            library=str(unloaded_library()),
            nonce=secrets.token_hex(8),
        )

    async def _engines(self) -> dict[str, int]:
        running = await self._fork_link.call("list", result_type=EngineProcesses)
        return {process.tenant: process.pid for process in running.engines}

    async def end_attacker(self) -> None:
        """End the attacker's engine, so that the next attack finds one that nothing was done to."""
        await self._fork_link.call("terminate", {"tenant": ATTACKER, "force": True}, result_type=Signalled)
        while ATTACKER in await self._engines():
            await asyncio.sleep(0.002)

    async def _gone(self) -> None:
        """Wait for the attacker's process to end by itself, and end it when it has had time enough for anything."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_S):
                while ATTACKER in await self._engines():
                    await asyncio.sleep(0.01)
        await self.end_attacker()

    # An attack

    def prepare(self) -> None:
        """Put everything back to where an attack expects it."""
        spare = tenant_folder(self.folder, NEIGHBOUR) / "spare"
        spare.unlink(missing_ok=True)
        spare.write_bytes(_SPARE)
        spare.chmod(0o640)
        os.chown(spare, owner := spare.parent.stat().st_uid, -1)
        self.spare = (_SPARE, 0o640, owner)
        with contextlib.suppress(BlockingIOError):
            os.read(self._pipe, 4096)
        os.write(self._pipe, self.secrets["pipe"].encode())
        self._logged_bytes = self.log.stat().st_size

    async def run(self, attack: Attack) -> Outcome:
        """Have an engine try an attack. One that succeeds has an engine of its own, because of what it leaves behind."""
        self.prepare()
        await self._fork_link.call("fork", {"tenant": ATTACKER}, result_type=EngineProcess)
        path = engine_socket(self.folder, ATTACKER)
        with Reader(path, naive=self.mode == "control") as self.reader:
            try:
                async with await Client.connect(path) as client:
                    order = Order(attack.name, self.targets)
                    outcome = await client.call(ATTACK.name, order, result_type=Outcome, deadline_ms=_DEADLINE_MS)
            except RemoteError as error:
                if error.code in (ErrorCode.INTERNAL, ErrorCode.INVALID):
                    raise
                # It ended, or became something else, which has its time to take effect.
                await self._gone()
                outcome = Outcome(attack.seen is not None, refusal="the engine was ended")
            outcome = await self._judged(attack, outcome)
        if outcome.succeeded:
            await self.end_attacker()
        return outcome

    async def _judged(self, attack: Attack, outcome: Outcome) -> Outcome:
        """Return the outcome with its proof, or without success when there is none."""
        if outcome.succeeded and attack.seen is not None:
            await self.end_attacker()  # by then the fork server has heard what the engine had to say
            seen = attack.seen(self)
            return Outcome(bool(seen), seen.encode(), "nothing is seen of it")
        if outcome.succeeded and attack.steals and self.secrets[attack.steals].encode() not in outcome.proof:
            return Outcome(False, refusal="what it got is not the secret")
        return outcome

    # What the prover sees

    def log_grew_bytes(self) -> int:
        """By how much the log has grown during this attack, once the fork server has nothing more to read."""
        return self.log.stat().st_size - self._logged_bytes

    def is_output_changed(self) -> bool:
        """Whether the fork server's own output has become non-blocking."""
        text = Path(f"/proc/{self._fork_server.pid}/fdinfo/1").read_text()
        return bool(int(text.split("flags:")[1].split()[0], 8) & os.O_NONBLOCK)

    async def is_neighbour_well(self) -> bool:
        """Whether the neighbour's engine is the one it was and still knows its secret."""
        if (await self._engines()).get(NEIGHBOUR) != self.neighbour_pid:
            return False
        async with await Client.connect(engine_socket(self.folder, NEIGHBOUR)) as client:
            page = await client.call(LIST.name, {"limit": 10}, result_type=MemoryPage)
        return self.secrets["neighbour"] in [memory.content for memory in page.memories]

    async def is_attackers_database_well(self) -> bool:
        """Whether the attacker's own database is intact after all that was tried."""
        await self._fork_link.call("fork", {"tenant": ATTACKER}, result_type=EngineProcess)
        async with await Client.connect(engine_socket(self.folder, ATTACKER)) as client:
            report: dict[str, Any] = await client.call("database_check", result_type=dict)
        return not report.get("problems")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
