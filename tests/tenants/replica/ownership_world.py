"""Machines, their disks and clocks, a store and the network between, all in one process and in an order that a seed decides.

The real lease, owner, fence and admission run here, each node in a greenlet that stops at every request, before it is sent and
before its answer comes. What happens at a stop is drawn: time passes, answers are lost, requests arrive long after their sender
died, machines crash, come back, get an empty disk or another's. A node serves and ships as the replicator does, one file under
way at a time, and acknowledges what the store took.

What must hold is checked at the end: each file goes on from the one before it, what was acknowledged is in the state that the
store's files make, and no node was admitted while another held its lease and the tenant.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import greenlet
from msgspec.structs import replace

from engine.captured import Position
from engine.ltx import CHECKSUM_FLAG, Encoder, Header
from tenants.replica import layout
from tenants.replica.objects import ObjectChanged, ObjectExists, StoreUnavailable
from tenants.replica.ownership.admission import Admission, Local, Moved, admit
from tenants.replica.ownership.lease import RENEW_S, LeaseLost, NodeLease
from tenants.replica.tree import FileInfo, Tree
from tests.tenants.replica.memory_store import MemoryStore, Wire

TENANT = "db_" + "a" * 20
_PAGE_BYTES = 512
_OUTBOX_MAX = 3
_EMPTY: frozenset[int] = frozenset()
_ALL = 2**63
"""More transactions than there are."""

_CALM_STEPS_MAX = 300
"""An admission takes some forty stops, a file two."""


@dataclass(frozen=True)
class File:
    """What a file brings: beside its bytes, of which the store knows."""

    body: bytes
    batch: str
    is_whole: bool
    before: frozenset[int]
    """The writes in the database on which it was made."""
    after: frozenset[int]


@dataclass
class Disk:
    """A machine's: it outlives the node."""

    has_database: bool = False
    position: Position | None = None
    writes: frozenset[int] = _EMPTY
    captured: frozenset[int] = _EMPTY
    """Those of them that are in a file."""
    draft: tuple[int, File] | None = None
    """A file that has no name yet."""
    outbox: dict[int, File] = field(default_factory=dict)
    last_node: str = ""


@dataclass(kw_only=True)
class Unsafe:
    """Measures that are left out, to see that the model notices."""

    ignores_conditions: bool = False
    """The store replaces what is there instead of refusing."""
    collects_fences: bool = False
    """Fences are removed once something follows them."""
    believes_any_conflict: bool = False
    """Whoever is told that a file is there takes it for its own."""
    restores_before_fencing: bool = False
    """What is restored was read before the fence stood."""


class World:
    """One run."""

    def __init__(self, seed: int, unsafe: Unsafe | None = None) -> None:
        self.random = random.Random(seed)
        self.unsafe = unsafe or Unsafe()
        self.now = 1_000.0
        self.store = MemoryStore(clock=lambda: self.now, is_create_only=not self.unsafe.ignores_conditions)
        self.files: dict[str, File] = {}
        self.acknowledged: dict[int, int] = {}
        """Writes that somebody was told are in the store, and in which transaction."""
        self.late: list[Callable[[], Any]] = []
        """Requests whose senders no longer wait."""
        self.machines = [Machine(self, number) for number in range(3)]
        self.is_calm = False
        self.robbed = 0
        self.stuck = 0
        self.outcomes: dict[str, int] = {}
        self._names = 0
        self._turn = self.machines[0]

    def run(self, steps: int = 1_000) -> None:
        """Let things happen, then let the last of the late requests arrive."""
        for _ in range(steps):
            self._step()
        for machine in self.machines:
            machine.crash()
        while self.late:
            self._arrive()
        self._calm()

    def _calm(self) -> None:
        """All is well from now on: whoever is there must come to serve, and to ship what it has."""
        self.is_calm = True
        self.now += 60.0
        machine = self.random.choice(self.machines)
        machine.start()
        for _ in range(_CALM_STEPS_MAX):
            machine.go_on()
            if machine.admission is not None and machine.disk.has_database and not machine.disk.outbox:
                break
        else:
            self.stuck += 1
        machine.crash()

    def name(self) -> str:
        self._names += 1
        return f"node-{self._names}"

    def _step(self) -> None:
        if self.random.random() < 0.05:  # who goes on does so for a while, or nothing would ever be finished
            self._turn = self.random.choice(self.machines)
        machine = self._turn
        chance = self.random.random()
        if chance < 0.94:
            machine.go_on() if machine.is_up else machine.start()
        elif chance < 0.96:
            self.now += self.random.choice((1.0, 5.0, 15.0, 45.0))
        elif chance < 0.975 and self.late:
            self._arrive()
        elif chance < 0.99:
            self.random.choice(self.machines).crash()
        elif chance < 0.992 and not machine.is_up:
            machine.disk = Disk() if self.random.random() < 0.5 else self._image()
        elif self.unsafe.collects_fences:
            self._collect()

    def _image(self) -> Disk:
        disk = copy.deepcopy(self.random.choice(self.machines).disk)
        disk.last_node = ""
        return disk

    def _arrive(self) -> None:
        request = self.late.pop(self.random.randrange(len(self.late)))
        with contextlib.suppress(ObjectExists, ObjectChanged):
            request()

    def _collect(self) -> None:
        keys = sorted(key for key in self.store.objects if "/ltx/" in key)
        for key in keys[:-1]:
            if FileInfo.from_metadata(self.store.objects[key].metadata).batch not in self.files:
                del self.store.objects[key]

    def history(self) -> list[tuple[int, FileInfo]]:
        """Return the files in the store, with their transactions."""
        prefix = layout.level_prefix(TENANT, layout.INCREMENTS)
        found = sorted((key, item) for key, item in self.store.objects.items() if key.startswith(prefix))
        return [(layout.parse_ltx_key(key)[0], FileInfo.from_metadata(item.metadata)) for key, item in found]

    def state(self, txid: int) -> frozenset[int]:
        """Return the writes in what a restore up to ``txid`` makes."""
        writes: frozenset[int] = _EMPTY
        for number, info in self.history():
            file = self.files.get(info.batch)
            if number <= txid and file is not None:
                writes = file.after if file.is_whole else writes | (file.after - file.before)
        return writes

    def faults(self) -> list[str]:
        """Return what went wrong."""
        found = []
        history = self.history()
        before: frozenset[int] = _EMPTY
        for number, (txid, info) in enumerate(history, 1):
            file = self.files.get(info.batch)
            if txid != number and not self.unsafe.collects_fences:
                found.append(f"transaction {number} is missing")
            if file is not None:
                if not file.is_whole and file.before != before:
                    found.append(f"transaction {txid} was made on another state")
                before = file.after
        if lost := set(self.acknowledged) - self.state(_ALL):
            found.append(f"acknowledged and lost: {sorted(lost)}")
        if self.stuck:
            found.append("nobody can go on")
        if self.robbed:
            found.append("taken from one whose lease held")
        return found


class Machine:
    """A disk, a clock, and perhaps a node."""

    def __init__(self, world: World, number: int) -> None:
        self.disk = Disk()
        self._world = world
        self._random = world.random
        self._skew_s = (0.0, 10_800.0, -10_800.0)[number]
        self._speed = (1.0, 1.001, 0.999)[number]
        self._running: greenlet.greenlet | None = None
        self._sent: Callable[[], Any] | None = None
        self.admission: Admission | None = None
        self.lease: NodeLease | None = None

    @property
    def is_up(self) -> bool:
        return self._running is not None

    def start(self) -> None:
        self._running = greenlet.greenlet(self._serve)

    def go_on(self) -> None:
        """Run to the next stop."""
        assert self._running is not None
        self._running.switch()

    def crash(self) -> None:
        """End between two steps; what was sent may still arrive."""
        if self._running is not None:
            if self._sent is not None and self._random.random() < 0.5:
                self._world.late.append(self._sent)
            self._running.throw(greenlet.GreenletExit)
            self._running = self._sent = self.admission = self.lease = None

    def _stop(self) -> None:
        greenlet.getcurrent().parent.switch()

    def _carry(self, kind: str, request: Callable[[], Any]) -> Any:
        self._sent = request if kind == "put" else None
        self._stop()
        self._sent = None
        chance = 1.0 if self._world.is_calm else self._random.random()
        if chance < 0.01:
            raise StoreUnavailable("not sent")
        if chance < 0.04 and kind == "put":
            self._world.late.append(request)
            raise StoreUnavailable("no answer in time")
        try:
            answer = request()
        except (ObjectExists, ObjectChanged):
            self._stop()
            raise
        self._stop()
        if chance < 0.07 and kind == "put":
            raise StoreUnavailable("the answer was lost")
        return answer

    def _serve(self) -> None:
        world = self._world
        wire = Wire(world.store, self._carry)
        tree = Tree(wire, TENANT, None, spool=Path("/nonexistent"))
        name = world.name()
        self.lease = NodeLease(wire, name, wall=lambda: world.now + self._skew_s, monotonic=lambda: world.now * self._speed)
        is_first = True
        while True:
            self._stop()
            try:
                if is_first:
                    self.lease.acquire()
                    if self.disk.last_node:
                        self.lease.release_predecessor(self.disk.last_node)
                    self.disk.last_node = name
                    is_first = False
                if self.lease.left_s < 30.0 - RENEW_S:
                    self.lease.renew()
                if self.admission is None:
                    self._admit(tree)
                elif not self._world.is_calm and self._random.random() < 0.5:
                    self._write()
                else:
                    self._ship(tree, self.admission)
            except LeaseLost:
                self.admission = None
            except (StoreUnavailable, ObjectChanged, Moved):
                pass

    def _admit(self, tree: Tree) -> None:
        disk = self.disk
        files = dict(disk.outbox)
        if disk.draft is not None and disk.position is not None and disk.position.txid == disk.draft[0]:
            files[disk.draft[0]] = disk.draft[1]
        waiting = (min(files), max(files)) if files else None
        local = Local(
            position=disk.position,
            has_database=disk.has_database,
            outbox=waiting,
            batch=lambda txid: files[txid].batch if txid in files else None,
        )
        assert self.lease is not None
        early = self._world.state(_ALL)
        admission = admit(tree, self.lease, local, hint=waiting[0] if waiting else 0)
        others = (each for each in self._world.machines if each is not self and each.admission is not None)
        self._world.robbed += any(each.lease is not None and each.lease.left_s > 0 for each in others)
        outcomes = self._world.outcomes
        outcomes[admission.outcome] = outcomes.get(admission.outcome, 0) + 1
        self._stop()
        head = admission.head
        if admission.outcome == "new":
            self.disk.has_database, self.disk.position = True, Position(serial=1, txid=0)
        elif admission.outcome == "restore":
            assert head.info is not None
            disk.outbox.clear()
            disk.has_database, disk.draft = True, None
            is_early = self._world.unsafe.restores_before_fencing
            disk.writes = disk.captured = early if is_early else self._world.state(head.txid)
            disk.position = Position(serial=1, txid=head.txid, checksum=head.info.checksum)
        elif admission.outcome == "rebase":
            disk.position = Position(serial=1, txid=head.txid, whole_next=True, rebasing=True)
            self._stop()
        if disk.position is not None and disk.position.rebasing:  # the engine starts
            disk.outbox.clear()
            disk.draft = None
            self._stop()
            disk.position = replace(disk.position, rebasing=False)
        elif disk.draft is not None:  # the engine starts, and gives the draft its name if the position speaks of it
            if disk.position is not None and disk.position.txid == disk.draft[0]:
                disk.outbox[disk.draft[0]], disk.captured = disk.draft[1], disk.draft[1].after
            disk.draft = None
        self.admission = admission

    def _write(self) -> None:
        disk = self.disk
        assert disk.position is not None
        if len(disk.outbox) >= _OUTBOX_MAX:
            return
        txid = disk.position.txid + 1
        is_whole = txid == 1 or disk.position.whole_next
        before = disk.captured
        disk.writes |= {self._random.getrandbits(48)}
        content = hashlib.blake2b(repr(sorted(disk.writes)).encode()).digest() * (_PAGE_BYTES // 64)
        checksum = CHECKSUM_FLAG | int.from_bytes(content[:8], "big")
        header = Header(page_size=_PAGE_BYTES, commit=1, min_txid=txid, max_txid=txid, timestamp_ms=txid * 10, node_id=checksum)
        encoder = Encoder(header)
        body = encoder.begin() + encoder.page(1, content) + encoder.end()
        file = File(body, hashlib.sha256(body).hexdigest(), is_whole, before, disk.writes)
        self._world.files[file.batch] = file
        disk.draft = txid, file
        self._stop()
        disk.position = Position(serial=1, txid=txid, checksum=checksum)
        self._stop()
        disk.outbox[txid], disk.captured, disk.draft = file, disk.writes, None

    def _ship(self, tree: Tree, admission: Admission) -> None:
        disk = self.disk
        if not disk.outbox:
            return
        txid = min(disk.outbox)
        file = disk.outbox[txid]
        checksum = int.from_bytes(file.body[72:80], "big")
        info = FileInfo(
            timestamp_ms=txid * 10,
            batch=file.batch,
            previous="",
            epoch=admission.epoch,
            checksum=checksum,
            pages=1,
            whole=file.is_whole,
        )
        try:
            tree.put_or_find(layout.INCREMENTS, txid, txid, file.body, info)
        except ObjectExists:
            if not self._world.unsafe.believes_any_conflict:
                self.admission = None  # held: another has gone on; asked anew
                return
        for write in file.after - file.before:
            self._world.acknowledged[write] = txid
        self._stop()
        disk.outbox.pop(txid, None)
