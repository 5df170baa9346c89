"""Seals the control plane's snapshots. Their key derives from the master key, so a node needs nothing else to begin with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from tenants.replica.sealing import sealed_metadata, stream
from tenants.replica.sealing.failures import KeyUnavailable, Tampered
from tenants.replica.sealing.master import Master
from tenants.replica.sealing.sealed_metadata import KEY_ID

_PREFIX = "m-"
"""Such a key is called by half of its master key's fingerprint, which tells a wrong master key from a damaged object."""


class ControlSealing:
    """``Sealing`` for what is no tenant's. A plain object is none of ours: who writes to the bucket would make keys with it."""

    def __init__(self, master: Master) -> None:
        self._key = master.control
        self._key_id = _PREFIX + master.fingerprint[:8]

    def seal(self, name: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """See ``Sealing``."""
        return stream.seal(self._key, self._key_id, self._bound(name), pieces)

    def unseal(self, name: str, metadata: Mapping[str, str], pieces: Iterable[bytes]) -> Iterator[bytes]:
        """See ``Sealing``."""
        if KEY_ID not in metadata:
            raise Tampered("a plain snapshot, and ENGRAM_MASTER_KEY is set")
        return stream.unseal(self._key_of, self._bound(name), pieces)

    def metadata(self) -> dict[str, str]:
        """See ``Sealing``."""
        return {KEY_ID: self._key_id}

    def seal_metadata(self, name: str, metadata: Mapping[str, str]) -> dict[str, str]:
        """See ``Sealing``."""
        return sealed_metadata.seal_metadata(self._key, self._key_id, self._bound(name), metadata)

    def unseal_metadata(self, name: str, metadata: Mapping[str, str]) -> Mapping[str, str]:
        """See ``Sealing``."""
        return sealed_metadata.unseal_metadata(self._key_of, self._bound(name), metadata)

    def _key_of(self, key_id: str) -> bytes:
        if key_id == self._key_id:
            return self._key
        if key_id.startswith(_PREFIX):
            raise KeyUnavailable(
                "the control plane's snapshots are sealed with another master key: set ENGRAM_MASTER_KEY to that one"
            )
        raise Tampered("sealed with a key that there is not")

    def _bound(self, name: str) -> bytes:
        return f"control\0{name}".encode()
