"""Seals and unseals one tenant's objects. It asks for the keys when they are first needed, and keeps them in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from threading import Lock

from engine.ltx import LtxError
from tenants.replica.layout import parse_ltx_key
from tenants.replica.objects import ObjectStore
from tenants.replica.sealing import key_file, sealed_metadata, stream, tenant_keys
from tenants.replica.sealing.failures import KeysDestroyed, KeyUnavailable, Tampered
from tenants.replica.sealing.key_file import KeyFile
from tenants.replica.sealing.master import Master
from tenants.replica.sealing.sealed_metadata import KEY_ID


class TenantSealing:
    """``Sealing`` with a tenant's keys. Thread-safe.

    Keys are made when the first object is sealed. Whoever else rotates them is noticed at the first object that has a key not
    known yet; until then new ones are sealed with the key before.
    """

    def __init__(self, store: ObjectStore, tenant: str, master: Master | None) -> None:
        """``master``: ``None`` of a tenant whose keys were destroyed, of which nothing can be read and nothing stored."""
        self._store = store
        self._tenant = tenant
        self._master = master
        self._file: KeyFile | None = None
        self._was_asked = False
        self._keys: dict[str, bytes] = {}
        self._lock = Lock()

    def prepare(self) -> None:
        """Make the keys unless there are some, and see that they can be used."""
        self._current()

    def forget(self) -> None:
        """Ask for the keys anew the next time."""
        with self._lock:
            self._file = None
            self._was_asked = False
            self._keys.clear()

    def seal(self, name: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """See ``Sealing``."""
        key_id, key = self._current()
        return stream.seal(key, key_id, self._bound(name), pieces)

    def unseal(self, name: str, metadata: Mapping[str, str], pieces: Iterable[bytes]) -> Iterator[bytes]:
        """See ``Sealing``."""
        if KEY_ID not in metadata:
            self._check_plain(name)
            return iter(pieces)
        return stream.unseal(self._key, self._bound(name), pieces)

    def metadata(self) -> dict[str, str]:
        """See ``Sealing``."""
        return {KEY_ID: self._current()[0]}

    def seal_metadata(self, name: str, metadata: Mapping[str, str]) -> dict[str, str]:
        """See ``Sealing``."""
        key_id, key = self._current()
        return sealed_metadata.seal_metadata(key, key_id, self._bound(name), metadata)

    def unseal_metadata(self, name: str, metadata: Mapping[str, str]) -> Mapping[str, str]:
        """See ``Sealing``."""
        if KEY_ID not in metadata:
            self._check_plain(name)
            return metadata
        return sealed_metadata.unseal_metadata(self._key, self._bound(name), metadata)

    def _check_plain(self, name: str) -> None:
        """``Tampered`` for a plain object of a time when they were sealed."""
        master = self._need_master()
        with self._lock:
            if self._file is None and not self._was_asked:
                self._file = tenant_keys.read(self._store, self._tenant)
                self._was_asked = True
            file = self._file
            if file is None:  # nothing of this tenant's was sealed yet
                return
            self._unwrapped(master, file, file.current)  # which proves what the file says
        try:
            newest = parse_ltx_key(name)[1]
        except LtxError as error:
            raise Tampered("a plain object that is none of ours") from error
        if newest >= file.sealed_from:
            raise Tampered("a plain object among sealed ones")

    def _current(self) -> tuple[str, bytes]:
        master = self._need_master()
        with self._lock:
            if self._file is None or not self._file.current:
                self._file = tenant_keys.make(self._store, self._tenant, master)
            return self._file.current, self._unwrapped(master, self._file, self._file.current)

    def _key(self, key_id: str) -> bytes:
        master = self._need_master()
        with self._lock:
            if key_id in self._keys:
                return self._keys[key_id]
            file = tenant_keys.read(self._store, self._tenant)
            if file is None:
                raise KeyUnavailable(f"{self._tenant} has sealed objects, and the keys.json beside them is gone")
            if file.destroyed_at is None:
                key_file.unwrap(master, file, file.key(key_id))  # which proves what the file says, before it is believed
            self._file = file
            self._keys.clear()  # they were proven together with what the file before said
            return self._unwrapped(master, file, key_id)

    def _unwrapped(self, master: Master, file: KeyFile, key_id: str) -> bytes:
        if key_id not in self._keys:
            self._keys[key_id] = key_file.unwrap(master, file, file.key(key_id))
        return self._keys[key_id]

    def _need_master(self) -> Master:
        if self._master is None:
            raise KeysDestroyed(f"the keys of {self._tenant} were destroyed")
        return self._master

    def _bound(self, name: str) -> bytes:
        return f"{self._tenant}\0{name}".encode()
