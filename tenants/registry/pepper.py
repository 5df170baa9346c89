"""The secret that keys are hashed with. It derives from ENGRAM_MASTER_KEY, or in development lives in the control plane."""

from __future__ import annotations

import secrets

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from tenants.registry.tables import secrets_table

_NAME = "key_pepper"
_BYTES = 32


async def key_pepper(connection: AsyncConnection, master_key: bytes | None) -> bytes:
    """Return the pepper, made on first use when there is no master key."""
    if master_key is not None:
        return HKDF(algorithm=SHA256(), length=_BYTES, salt=None, info=b"engram/key-pepper/1").derive(master_key)
    query = select(secrets_table.c.value).where(secrets_table.c.name == _NAME)
    stored = (await connection.execute(query)).scalar_one_or_none()
    if stored is not None:
        return bytes(stored)
    pepper = secrets.token_bytes(_BYTES)
    await connection.execute(insert(secrets_table).values(name=_NAME, value=pepper))
    return pepper
