"""Where things are in a node's data folder, and what may be called a tenant.

``<data>/tenants/<shard>/<tenant>/`` belongs to one engine, the shard being two characters of the name;
``<data>/run/engines/<tenant>.sock`` is where it answers. A name is made by the registry; whatever else is asked for is refused
before it becomes part of a path.
"""

from __future__ import annotations

import re
from pathlib import Path

from engine.protocol.errors import invalid

TENANT = re.compile(r"db_[a-z2-7]{20}")


def tenant_folder(data_folder: Path, tenant: str) -> Path:
    """Return the folder of ``tenant``; ``invalid`` for what is no tenant's name."""
    return data_folder / "tenants" / _checked(tenant)[3:5] / tenant


def engine_socket(data_folder: Path, tenant: str) -> Path:
    """Return the socket at which the tenant's engine answers; ``invalid`` for what is no tenant's name."""
    return data_folder / "run" / "engines" / f"{_checked(tenant)}.sock"


def _checked(tenant: str) -> str:
    if not TENANT.fullmatch(tenant):
        raise invalid("tenant", "not a tenant's name")
    return tenant
