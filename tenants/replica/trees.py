"""Every tenant's ``Tree``, and what is done with their keys. Blocking; any thread may call.

With a master key everything new is sealed, and keys are made with a tenant's first object. Without one, objects are stored as
they are, and a tenant that has keys is refused: its old objects could not be read, and new ones may not lie there plain.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from threading import Lock

from tenants.replica.objects import ObjectStore
from tenants.replica.sealing import ControlSealing, KeyUnavailable, Master, TenantSealing, tenant_keys
from tenants.replica.tree import Sealing, Tree

_KEPT_MAX = 20_000
"""Trees in memory, some 2 kB each; twice what a node is made for. One that was let go costs a request when it comes again."""


class Trees:
    """All tenants' in one store."""

    def __init__(self, store: ObjectStore, master_key: bytes | None, spool: Path) -> None:
        """``spool``: a folder for what is too large to be sealed in memory. ``ValueError`` for too short a master key."""
        self.store = store
        self._master = None if master_key is None else Master(master_key)
        self._spool = spool
        self._kept: OrderedDict[str, tuple[Tree, TenantSealing | None]] = OrderedDict()
        self._lock = Lock()

    @property
    def encrypted(self) -> bool:
        """Whether what is stored is sealed."""
        return self._master is not None

    def of(self, tenant: str, *, make_keys: bool = False) -> Tree:
        """Return a tenant's tree; ``KeyUnavailable`` when it has keys and there is no master key to use them.

        ``make_keys``: have the keys made now rather than with the first object.
        """
        with self._lock:
            kept = self._kept.get(tenant)
            if kept is not None:
                self._kept.move_to_end(tenant)
        if kept is None:
            kept = self._new(tenant)
            with self._lock:
                kept = self._kept.setdefault(tenant, kept)
                if len(self._kept) > _KEPT_MAX:
                    self._kept.popitem(last=False)
        tree, sealing = kept
        if make_keys and sealing is not None:
            sealing.prepare()
        return tree

    def control_sealing(self) -> Sealing | None:
        """Return what the control plane's snapshots are sealed with, ``None`` where they are stored as they are."""
        return None if self._master is None else ControlSealing(self._master)

    def rotate_tenant_key(self, tenant: str) -> None:
        """Seal what this tenant stores from now on with a new key. Old objects stay as they are, and readable."""
        if self._master is None:
            raise KeyUnavailable("there are no keys without a master key: set ENGRAM_MASTER_KEY")
        tenant_keys.rotate(self.store, tenant, self._master)
        self._ask_anew(tenant)

    def rewrap(self, tenant: str, old_master: bytes, new_master: bytes) -> None:
        """Wrap a tenant's keys with another master key. What was done already is not done again."""
        tenant_keys.rewrap(self.store, tenant, Master(old_master), Master(new_master))
        self._ask_anew(tenant)

    def destroy_keys(self, tenant: str) -> None:
        """Make everything unreadable for ever that was sealed for this tenant. It is safe to repeat."""
        tenant_keys.destroy(self.store, tenant)
        self._ask_anew(tenant)

    def _new(self, tenant: str) -> tuple[Tree, TenantSealing | None]:
        sealing: TenantSealing | None = None
        if self._master is not None:
            sealing = TenantSealing(self.store, tenant, self._master)
        else:
            file = tenant_keys.read(self.store, tenant)
            if file is not None and file.destroyed_at is None:
                raise KeyUnavailable(f"what is stored of {tenant} is sealed: set ENGRAM_MASTER_KEY")
            if file is not None:  # an erased tenant's: there is something to look at, and nothing to be read or stored
                sealing = TenantSealing(self.store, tenant, None)
        return Tree(self.store, tenant, sealing, spool=self._spool), sealing

    def _ask_anew(self, tenant: str) -> None:
        """Have everybody who holds the tenant's tree ask for its keys before they use them again."""
        with self._lock:
            kept = self._kept.get(tenant)
            if kept is not None and kept[1] is None:
                del self._kept[tenant]
        if kept is not None and kept[1] is not None:
            kept[1].forget()
