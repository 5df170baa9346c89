"""Where things lie in the object store. Pure names.

``tenants/<tenant>/ltx/<level>/<min>-<max>.ltx`` is Litestream's own layout: pointed at ``…/tenants/<tenant>/ltx`` in a bucket,
or at ``…/tenants/<tenant>`` in a directory, it reads a tree that is not encrypted. Beside it ``owner.json`` (which node serves
the tenant), ``keys.json`` (wrapped keys) and ``erased.json`` (a tombstone: nothing may be made here again).

``nodes/<node>.json`` are the leases, ``control/<number>`` the control plane's snapshots.
"""

from __future__ import annotations

import re

from engine.ltx import file_name, parse_file_name

INCREMENTS = 0
"""The level of what engines captured. Every file of it is kept as long as the plan looks back."""
LEVELS = (1, 2, 3)
"""Files of the level below, merged: they speed up a restore and say nothing new."""
SNAPSHOTS = 9
"""Whole databases, as Litestream numbers them."""

NODES = "nodes/"
CONTROL = "control/"
TENANTS = "tenants/"

_TENANT_KEY = re.compile(r"tenants/(db_[a-z2-7]{20})/")


def level_prefix(tenant: str, level: int) -> str:
    """Return what all files of a level begin with."""
    return f"{TENANTS}{tenant}/ltx/{level:04x}/"


def ltx_key(tenant: str, level: int, min_txid: int, max_txid: int) -> str:
    """Return where a file lies."""
    return level_prefix(tenant, level) + file_name(min_txid, max_txid)


def parse_ltx_key(key: str) -> tuple[int, int]:
    """Return the first and last transaction of a file; ``LtxError`` when the key is none of a file's."""
    return parse_file_name(key.rsplit("/", 1)[-1])


def owner_key(tenant: str) -> str:
    """Return where it says who serves the tenant."""
    return f"{TENANTS}{tenant}/owner.json"


def keys_key(tenant: str) -> str:
    """Return where the tenant's wrapped keys lie."""
    return f"{TENANTS}{tenant}/keys.json"


def tombstone_key(tenant: str) -> str:
    """Return what says that the tenant was erased."""
    return f"{TENANTS}{tenant}/erased.json"


def node_key(node: str) -> str:
    """Return where a node's lease lies."""
    return f"{NODES}{node}.json"


def control_key(number: int) -> str:
    """Return where a snapshot of the control plane lies."""
    return f"{CONTROL}{number:016x}"


def tenant_of(key: str) -> str | None:
    """Return whose an object is; ``None`` for what is no tenant's."""
    match = _TENANT_KEY.match(key)
    return match[1] if match else None
