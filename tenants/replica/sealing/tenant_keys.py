"""Requests about a tenant's ``keys.json``: read, made, added to, wrapped anew, destroyed. Several nodes may at once.

The file is created only if there is none and changed only from the state that was read, so of two who race one wins and the
other goes on from what that one wrote. An answer may be lost: who meets a change looks whether it is their own.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

import msgspec

from engine.ltx import LtxError
from tenants.replica.layout import INCREMENTS, LEVELS, SNAPSHOTS, keys_key, level_prefix, parse_ltx_key
from tenants.replica.objects import ObjectChanged, ObjectExists, ObjectMissing, ObjectStore, StoreUnavailable
from tenants.replica.sealing import key_file
from tenants.replica.sealing.failures import KeysDestroyed, KeyUnavailable, Tampered
from tenants.replica.sealing.key_file import FILE_BYTES_MAX, KEYS_MAX, KeyFile, WrappedKey
from tenants.replica.sealing.master import Master

_TRIES = 10
"""More than so many changes by others in the time of one request are not many nodes, but a mistake."""


def read(store: ObjectStore, tenant: str) -> KeyFile | None:
    """Return the file, ``None`` when there is none. One GET."""
    found = _read(store, tenant)
    return None if found is None else found[0]


def make(store: ObjectStore, tenant: str, master: Master) -> KeyFile:
    """Return the file, and make it with a first key when there is none. Listing what was stored plain comes before."""
    found = read(store, tenant)
    if found is not None:
        return found
    sealed_from = _newest(store, tenant) + 1
    key = key_file.new_key(master, tenant, sealed_from, created_at=_now())
    file = KeyFile(tenant=tenant, sealed_from=sealed_from, current=key.id, keys=(key,))
    try:
        store.create(keys_key(tenant), file.encode())
    except ObjectExists:  # another was first, or we ourselves: what is there counts
        found = read(store, tenant)
        if found is None:
            raise StoreUnavailable("an object came and went") from None
        return found
    return file


def rotate(store: ObjectStore, tenant: str, master: Master) -> KeyFile:
    """Add a key with which new objects are sealed from now on. The old ones stay, for old objects."""
    added: WrappedKey | None = None
    for _ in range(_TRIES):
        found = _read(store, tenant)
        if found is None:
            make(store, tenant, master)
            continue
        file, tag = found
        _refuse_destroyed(file)
        if added is not None and any(key.id == added.id for key in file.keys):
            return file
        key_file.unwrap(master, file, file.key(file.current))  # or the new key would be the only one that can be used
        if len(file.keys) >= KEYS_MAX:
            raise KeyUnavailable(f"{tenant} has {KEYS_MAX} keys, and can have no more")
        if added is None:
            added = key_file.new_key(master, tenant, file.sealed_from, created_at=_now())
        changed = msgspec.structs.replace(file, current=added.id, keys=(*file.keys, added))
        if _replace(store, changed, tag):
            return changed
    raise StoreUnavailable(f"the keys of {tenant} change all the time")


def rewrap(store: ObjectStore, tenant: str, old: Master, new: Master) -> None:
    """Wrap every key with the ``new`` master key. Nothing is sealed anew. A tenant without keys has nothing to wrap."""
    for _ in range(_TRIES):
        found = _read(store, tenant)
        if found is None or found[0].destroyed_at is not None:
            return
        changed = key_file.rewrapped(old, new, found[0])
        if changed == found[0] or _replace(store, changed, found[1]):
            return
    raise StoreUnavailable(f"the keys of {tenant} change all the time")


def destroy(store: ObjectStore, tenant: str) -> None:
    """Destroy a tenant's keys, and have none made again: nobody can read any more what was sealed with them.

    A bucket that keeps old versions of objects must be told to forget those.
    """
    for _ in range(_TRIES):
        found = _read_whatever(store, tenant)
        if found is not None and found[0] is not None and found[0].destroyed_at is not None:
            return
        sealed_from = 1 if found is None or found[0] is None else found[0].sealed_from
        file = KeyFile(tenant=tenant, sealed_from=sealed_from, current="", destroyed_at=_now())
        try:
            if found is None:
                store.create(keys_key(tenant), file.encode())
                return
            if _replace(store, file, found[1]):
                return
        except ObjectExists:
            continue
    raise StoreUnavailable(f"the keys of {tenant} change all the time")


def _read(store: ObjectStore, tenant: str) -> tuple[KeyFile, str] | None:
    try:
        stored, content = store.read(keys_key(tenant), bytes_max=FILE_BYTES_MAX)
    except ObjectMissing:
        return None
    except ValueError as error:
        raise Tampered(f"keys.json of {tenant} is larger than any may be") from error
    return key_file.decode(content, tenant), stored.tag


def _read_whatever(store: ObjectStore, tenant: str) -> tuple[KeyFile | None, str] | None:
    """Return the file, or ``None`` in its place when it can't be read, and its tag."""
    try:
        return _read(store, tenant)
    except Tampered:
        stored = store.head(keys_key(tenant))
        return None if stored is None else (None, stored.tag)


def _replace(store: ObjectStore, file: KeyFile, tag: str) -> bool:
    try:
        store.replace(keys_key(file.tenant), file.encode(), tag=tag)
    except ObjectChanged:
        return False
    return True


def _refuse_destroyed(file: KeyFile) -> None:
    if file.destroyed_at is not None:
        raise KeysDestroyed(f"the keys of {file.tenant} were destroyed at {file.destroyed_at}")


def _newest(store: ObjectStore, tenant: str) -> int:
    """Return the last transaction of all that is stored, 0 for none. A thousand files a request; done once for a tenant."""
    newest = 0
    for level in (INCREMENTS, *LEVELS, SNAPSHOTS):
        for listed in store.list(level_prefix(tenant, level)):
            try:
                newest = max(newest, parse_ltx_key(listed.key)[1])
            except LtxError:
                continue
    return newest


def _now() -> str:
    return datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
