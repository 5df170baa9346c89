"""Where a tenant's files are: ``<data>/tenants/<shard>/<tenant>/``, the shard being two characters of the name.

A name is made by the registry; whatever else is asked for is refused before it becomes part of a path.
"""

from __future__ import annotations

import re
from pathlib import Path

from engine.protocol.errors import invalid

TENANT = re.compile(r"db_[a-z2-7]{20}")


def tenant_folder(data_folder: Path, tenant: str) -> Path:
    """Return the folder of ``tenant``; ``invalid`` for what is no tenant's name."""
    if not TENANT.fullmatch(tenant):
        raise invalid("tenant", "not a tenant's name")
    return data_folder / "tenants" / tenant[3:5] / tenant


def create_tenant_folder(data_folder: Path, tenant: str) -> Path:
    """Return the folder of ``tenant``, made with its outbox if it is not there."""
    folder = tenant_folder(data_folder, tenant)
    (folder / "outbox").mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
