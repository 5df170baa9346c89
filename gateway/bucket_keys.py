"""``engram admin rotate-keys`` and ``rewrap``: the keys that backups are sealed with, worked on in the object store alone."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import click

from gateway.bucket import Failed, check_database, opened
from tenants.replica.layout import TENANTS, tenant_of
from tenants.replica.objects import ObjectStore
from tenants.replica.sealing import KeysDestroyed
from tenants.replica.trees import Trees

_NEW_KEY = "ENGRAM_NEW_MASTER_KEY"
_MASTER_KEY_BYTES = 32


def rotate(environment: Mapping[str, str], databases: Sequence[str]) -> None:
    """Give databases, all if none is named, new keys for what is stored from now on. ``Failed``."""
    _each(environment, databases, "stores with a new key from now on", lambda trees, _, name: trees.rotate_tenant_key(name))


def rewrap(environment: Mapping[str, str], databases: Sequence[str]) -> None:
    """Wrap the keys of databases, all if none is named, with the new master key instead of the present one. ``Failed``."""
    new = _new_master_key(environment.get(_NEW_KEY, ""))
    done = "its keys are wrapped with the new master key"
    _each(environment, databases, done, lambda trees, master_key, name: trees.rewrap(name, master_key, new))


def _each(
    environment: Mapping[str, str], databases: Sequence[str], done: str, work: Callable[[Trees, bytes, str], None]
) -> None:
    for name in databases:
        check_database(name)
    with opened(environment) as (store, master_key):
        if master_key is None:
            raise Failed("ENGRAM_MASTER_KEY says what the keys are wrapped with")
        trees = Trees(store, master_key, Path())
        for name in databases or _all(store):
            if next(iter(store.list(f"{TENANTS}{name}/")), None) is None:
                raise Failed(f"the store has nothing of {name}")  # keys for a slip of the finger would lie there for ever
            try:
                work(trees, master_key, name)
            except KeysDestroyed:
                click.echo(f"{name}: erased")
            else:
                click.echo(f"{name}: {done}")


def _all(store: ObjectStore) -> Iterator[str]:
    """Yield every database in the store, with one request for each."""
    after = ""
    while (found := next(iter(store.list(TENANTS, after=after)), None)) is not None:
        after = found.key
        if (name := tenant_of(found.key)) is not None:
            yield name
            after = f"{TENANTS}{name}0"  # the character after /: past all that lies in its folder


def _new_master_key(text: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != _MASTER_KEY_BYTES:
        raise Failed(f"{_NEW_KEY} is {_MASTER_KEY_BYTES} random bytes in base64")
    return key
