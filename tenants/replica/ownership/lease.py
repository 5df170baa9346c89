"""A node's lease, ``nodes/<node>.json``: while it lasts, nobody else takes what this node owns.

The node counts it by its own monotonic clock, from before the request was sent. Others count it by the store's clock: when the
store says the lease was written, and when it says ours was. So nobody's wall clock is believed: a node that is three hours fast
holds nothing for longer, one that is three hours slow loses nothing. The times within the document are for people to read, but
for their difference: how long the lease was meant to last.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable

import msgspec

from tenants.replica.layout import node_key
from tenants.replica.objects import ObjectChanged, ObjectExists, ObjectMissing, ObjectStore, Stored, StoreRefused

TTL_S = 30.0
"""How long a lease lasts. A node that dies keeps its tenants from others for so long, and the allowance."""

RENEW_S = 10.0
"""How often it is renewed: two renewals may fail."""

CLOCK_ALLOWANCE_S = 10.0
"""So much longer others wait: S3 tells times in whole seconds, and clocks run at slightly different speeds."""

_TTL_MAX_S = 3600.0
"""A lease that claims to last longer is taken for one of this length."""

_BYTES_MAX = 4096


class LeaseLost(Exception):
    """It ran out before it was renewed, or another has written it: what this node owned may be another's. Take it anew."""


class LeaseDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What ``nodes/<node>.json`` holds. Times are milliseconds since 1970 by the node's own clock."""

    node: str
    holder: str
    """Names the process that wrote it: whoever finds its own knows that only an answer was lost."""
    renewed_at: int
    expires_at: int
    released: bool = False
    """Whether the node has ended in order, and keeps nothing from others."""

    @property
    def ttl_s(self) -> float:
        """How long it was meant to last from when it was written."""
        return min(max(0.0, (self.expires_at - self.renewed_at) / 1000), _TTL_MAX_S)


class NodeLease:
    """This node's. Blocking; not to be called by two threads at once, but for ``left_s`` and ``has_ended``."""

    def __init__(
        self,
        store: ObjectStore,
        node: str,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.node = node
        self._store = store
        self._wall = wall
        self._monotonic = monotonic
        self._holder = uuid.uuid4().hex
        self._tag: str | None = None
        self._ends_at = float("-inf")
        self._answered_at: float | None = None
        """When the store's last answer came; ``None`` while one is under way, or was lost."""

    @property
    def left_s(self) -> float:
        """For how long it still holds; 0 when it does not. Never more than the others think."""
        return max(0.0, self._ends_at - self._monotonic())

    def acquire(self) -> None:
        """Take it, or take it over from an earlier process of this node."""
        sent_at, self._answered_at = self._monotonic(), None
        try:
            stored = self._store.create(node_key(self.node), self._document())
        except ObjectExists:
            found = read_lease(self._store, self.node)
            stored = self._replace(found[1]) if found is not None else self._replace(None)
        self._hold(sent_at, stored)

    def renew(self) -> None:
        """Hold it for ``TTL_S`` from now; ``LeaseLost`` when there is a gap. After any failure it can be called again."""
        if self._tag is None:
            self.acquire()
            return
        sent_at, held_until = self._monotonic(), self._ends_at
        try:
            stored = self._replace(self._tag)
        except ObjectChanged:
            stored = self._replace(self._own_tag())  # the answer to an earlier one was lost
        if self._monotonic() >= held_until:
            self._drop()
            raise LeaseLost("it ran out before it was renewed")
        self._hold(sent_at, stored)

    def release(self) -> None:
        """Let others take over at once what this node owned. There is no conditional DELETE everywhere, so it is a PUT."""
        if self._tag is None:
            return
        self._ends_at = float("-inf")
        try:
            self._store.replace(node_key(self.node), self._document(released=True), tag=self._tag)
        except ObjectChanged:
            self._store.replace(node_key(self.node), self._document(released=True), tag=self._own_tag())
        self._tag = None

    def release_predecessor(self, node: str) -> None:
        """End the lease of the node that this data folder belonged to before, which is known to have ended: its lock was free.

        Otherwise a machine that was restarted after a power cut would wait for itself.
        """
        found = read_lease(self._store, node) if node != self.node else None
        if found is None or found[0].released:
            return
        ended = msgspec.structs.replace(found[0], released=True, holder=self._holder)
        with contextlib.suppress(ObjectChanged):  # it is alive after all, and keeps it
            self._store.replace(node_key(node), msgspec.json.encode(ended), tag=found[1])

    def has_ended(self, node: str) -> bool:
        """Whether another node's lease was released, has run out, or never was. Two to four requests."""
        if node == self.node:
            return False
        found = read_lease(self._store, node)
        if found is None or found[0].released:
            return True
        now_ms = self.store_ms()
        theirs = self._modified_ms(node)  # after that: what is read now may be renewed while we reckon
        if now_ms is None or theirs is None:
            return theirs is None and now_ms is not None
        return now_ms - theirs > (found[0].ttl_s + CLOCK_ALLOWANCE_S) * 1000

    def store_ms(self) -> float | None:
        """Return what the store's clock says at least, from when it took this lease; ``None`` when that is gone."""
        ours = self._modified_ms(self.node)
        answered_at = self._answered_at
        if ours is None or answered_at is None:  # one that is under way may have been taken just now
            return ours
        return ours + (self._monotonic() - answered_at) * 1000

    def _modified_ms(self, node: str) -> int | None:
        key = node_key(node)
        return next((listed.modified_ms for listed in self._store.list(key) if listed.key == key), None)

    def _own_tag(self) -> str:
        found = read_lease(self._store, self.node)
        if found is None or found[0].holder != self._holder:
            self._drop()
            raise LeaseLost("another process has written it")
        return found[1]

    def _drop(self) -> None:
        self._ends_at, self._tag = float("-inf"), None

    def _replace(self, tag: str | None) -> Stored:
        self._answered_at = None
        return self._store.replace(node_key(self.node), self._document(), tag=tag)

    def _hold(self, sent_at: float, stored: Stored) -> None:
        self._answered_at = self._monotonic()
        self._ends_at, self._tag = sent_at + TTL_S, stored.tag

    def _document(self, *, released: bool = False) -> bytes:
        now_ms = int(self._wall() * 1000)
        document = LeaseDocument(
            node=self.node,
            holder=self._holder,
            renewed_at=now_ms,
            expires_at=now_ms + int(TTL_S * 1000),
            released=released,
        )
        return msgspec.json.encode(document)


def read_lease(store: ObjectStore, node: str) -> tuple[LeaseDocument, str] | None:
    """Return a node's lease and its tag, ``None`` if there is none; ``StoreRefused`` for one that makes no sense."""
    try:
        stored, body = store.read(node_key(node), bytes_max=_BYTES_MAX)
        return msgspec.json.decode(body, type=LeaseDocument), stored.tag
    except ObjectMissing:
        return None
    except ValueError as error:  # too large, or no such document
        raise StoreRefused(f"{node_key(node)} is not a lease") from error
