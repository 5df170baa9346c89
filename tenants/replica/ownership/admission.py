"""Whether this node may serve and continue a tenant's history, and from what: owner, then head, then what its disk is worth.

The order matters. The owner is changed first, so that of two takers one knows that it lost. The head is looked for after that,
and a disk that does not continue it (``decision``) puts a fence behind it before anything is restored. Then owner, lease and
head are looked at again: between the first look and the fence any time may have passed, and another may have taken over.

A disk that continues the head needs no fence. What an earlier owner has under way has the number of this disk's next file; the
one that arrives second is told so (412), and if that is ours, the tenant is admitted anew.

Requests: five where this node owns the tenant already (owner, tombstone, owner, LIST, HEAD), up to eight where another did, six
more with a fence, and four where nothing says where to look for the head.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from tenants.replica.layout import INCREMENTS
from tenants.replica.objects import StoreUnavailable
from tenants.replica.ownership.decision import Local, Outcome, decide
from tenants.replica.ownership.fence import put_fence
from tenants.replica.ownership.head import Head, find_head
from tenants.replica.ownership.lease import NodeLease
from tenants.replica.ownership.owner import Erased, Moved, Owner, confirm, raise_epoch, take
from tenants.replica.tree import Tree

__all__ = ["Admission", "Erased", "Local", "Moved", "admit"]

_log = structlog.get_logger()

_FENCES_MAX = 8
"""An earlier owner has one file under way. If more than a few arrive before the fence, somebody is alive and writes."""


@dataclass(frozen=True, kw_only=True)
class Admission:
    """On what terms this node has a tenant."""

    epoch: int
    """For the metadata of what it ships."""
    head: Head
    """The file that its next one follows, or that is to be restored, a fence included."""
    outcome: Outcome


def admit(tree: Tree, lease: NodeLease, local: Local, *, hint: int = 0) -> Admission:
    """Take a tenant for this node, and say from what it is served.

    ``Moved`` when another node has it, ``Erased`` when it may not be any more, ``StoreUnavailable`` when it can't be found out
    now; then it is not known whether the tenant was taken. ``hint``: a transaction believed to be among the last in the store.
    """
    if not lease.left_s:
        raise StoreUnavailable("this node's lease has run out")
    owner = take(tree.store, tree.tenant, lease)
    head = find_head(tree, hint)
    if head.info is not None and head.info.epoch > owner.epoch:  # owner.json was lost, and began anew
        owner = raise_epoch(tree.store, tree.tenant, owner, head.info.epoch + 1)
        head = find_head(tree, head.txid)
    outcome = decide(local, head, lambda txid: _checksum_at(tree, txid))
    if outcome == "restore":
        head = _fenced(tree, lease, owner, head)
    if outcome in ("restore", "rebase"):
        position = local.position.txid if local.position is not None else None
        _log.warning(
            "tenant_disk_does_not_continue_its_history",
            tenant=tree.tenant,
            outcome=outcome,
            head=head.txid,
            position=position,
            outbox=local.outbox,
        )
    if not lease.left_s:  # all this may have taken long
        raise StoreUnavailable("this node's lease has run out")
    return Admission(epoch=owner.epoch, head=head, outcome=outcome)


def _fenced(tree: Tree, lease: NodeLease, owner: Owner, head: Head) -> Head:
    """Put a fence behind the head, or behind what has arrived there meanwhile, and return it as the head.

    After each try, owner and lease are looked at again, and what stands at the end.
    """
    assert head.info is not None
    for _ in range(_FENCES_MAX):
        fence = put_fence(tree, head, owner.epoch)
        confirm(tree.store, tree.tenant, lease, owner)
        found = find_head(tree, head.txid + 1)
        if fence is not None and (found.txid, found.info) == (fence.txid, fence.info):
            return found
        head = found
    raise StoreUnavailable("another node goes on writing this history")


def _checksum_at(tree: Tree, txid: int) -> int | None:
    info = tree.info(INCREMENTS, txid, txid)
    return info.checksum if info is not None else None
