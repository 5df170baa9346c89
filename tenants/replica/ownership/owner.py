"""Who owns a tenant: ``owner.json`` beside its files, changed by compare-and-swap and by nothing else.

It has no expiry, so an idle tenant costs no request: it holds for as long as its node's lease does. Each change of owner is a
new epoch. A tombstone beside it says that the tenant was erased, and nothing may be made there again.
"""

from __future__ import annotations

import msgspec

from tenants.replica import layout
from tenants.replica.objects import (
    ObjectChanged,
    ObjectExists,
    ObjectMissing,
    ObjectStore,
    StoreRefused,
    StoreUnavailable,
)
from tenants.replica.ownership.lease import NodeLease

_BYTES_MAX = 4096

_TRIES_MAX = 8
"""Each fails only because another node changed the owner meanwhile. So many at once are no race but a fault."""


class Moved(Exception):
    """Another node owns the tenant, and its lease holds."""

    def __init__(self, node: str) -> None:
        super().__init__(node)
        self.node = node


class Erased(Exception):
    """The tenant was erased; nothing may be stored for it."""


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """What ``owner.json`` holds."""

    node: str
    epoch: int
    """One more with each change of owner."""


def read_owner(store: ObjectStore, tenant: str) -> tuple[Owner, str] | None:
    """Return a tenant's owner and the document's tag, ``None`` if it has none; ``StoreRefused`` for what makes no sense."""
    key = layout.owner_key(tenant)
    try:
        stored, body = store.read(key, bytes_max=_BYTES_MAX)
        return msgspec.json.decode(body, type=Owner), stored.tag
    except ObjectMissing:
        return None
    except ValueError as error:
        raise StoreRefused(f"{key} names no owner") from error


def take(store: ObjectStore, tenant: str, lease: NodeLease) -> Owner:
    """Own a tenant: nobody does, this node does, or the one that does has ended. Otherwise ``Moved``; ``Erased``.

    Three requests, and one to three more when it was another's. A node that owns it already begins a new epoch all the same:
    its lease may have run out meanwhile, and who found that out before it was renewed is about to take the tenant; of the two
    one fails.
    """
    for _ in range(_TRIES_MAX):
        found = read_owner(store, tenant)
        if store.head(layout.tombstone_key(tenant)) is not None:
            raise Erased(tenant)
        if found is not None and found[0].node != lease.node and not lease.has_ended(found[0].node):
            raise Moved(found[0].node)
        ours = Owner(node=lease.node, epoch=found[0].epoch + 1 if found is not None else 1)
        try:
            if found is None:
                store.create(layout.owner_key(tenant), msgspec.json.encode(ours))
            else:
                store.replace(layout.owner_key(tenant), msgspec.json.encode(ours), tag=found[1])
        except (ObjectExists, ObjectChanged):
            continue  # another was faster, or the answer to our own was lost
        return ours
    raise StoreUnavailable("the tenant's owner changes all the time")


def confirm(store: ObjectStore, tenant: str, lease: NodeLease, owner: Owner) -> None:
    """Look again whether the tenant is ours, after what may have taken long: ``Moved``, ``Erased``, ``StoreUnavailable``."""
    found = read_owner(store, tenant)
    if store.head(layout.tombstone_key(tenant)) is not None:
        raise Erased(tenant)
    if found is None or found[0] != owner:
        raise Moved(found[0].node if found is not None else "")
    if not lease.left_s:
        raise StoreUnavailable("this node's lease has run out")


def raise_epoch(store: ObjectStore, tenant: str, owner: Owner, epoch: int) -> Owner:
    """Give what this node owns a later epoch, and return it so; ``Moved`` when it owns it no longer."""
    found = read_owner(store, tenant)
    if found is None or found[0] != owner:
        raise Moved(found[0].node if found is not None else "")
    raised = Owner(node=owner.node, epoch=epoch)
    try:
        store.replace(layout.owner_key(tenant), msgspec.json.encode(raised), tag=found[1])
    except ObjectChanged:
        raise StoreUnavailable("the tenant's owner is changing") from None
    return raised
