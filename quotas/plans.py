"""The plans and their limits: the one table."""

from __future__ import annotations

from dataclasses import dataclass

MEGABYTE = 10**6
GIGABYTE = 10**9

_HOUR_S = 3600
_DAY_S = 24 * _HOUR_S

FORGOTTEN_AFTER_S = 3 * _DAY_S
"""So long after a plan looks back no more, nothing is left in any backup: a day until a snapshot is made without it, hours of
margin for clocks, and a day until somebody comes by to remove what is older."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What an organization on this plan may do. ``None`` is no limit."""

    name: str
    memories: int | None
    """Per database."""
    storage_bytes: int | None
    """Per database."""
    searches_per_month: int | None
    calls_per_month: int | None
    members: int | None
    databases: int | None
    requests_per_second: float | None
    burst: int | None
    """Requests that may come at once before the rate applies."""
    recovery_s: int
    """How many seconds back a database can be restored, and for how long what was erased is still in its backups."""


FREE = Plan(
    name="free",
    memories=1_000,
    storage_bytes=100 * MEGABYTE,
    searches_per_month=10_000,
    calls_per_month=50_000,
    members=1,
    databases=2,
    requests_per_second=10,
    burst=50,
    recovery_s=24 * _HOUR_S,
)
PRO = Plan(
    name="pro",
    memories=50_000,
    storage_bytes=5 * GIGABYTE,
    searches_per_month=100_000,
    calls_per_month=500_000,
    members=1,
    databases=5,
    requests_per_second=100,
    burst=500,
    recovery_s=7 * _DAY_S,
)
TEAM = Plan(
    name="team",
    memories=500_000,
    storage_bytes=50 * GIGABYTE,
    searches_per_month=None,
    calls_per_month=None,
    members=10,
    databases=20,
    requests_per_second=1_000,
    burst=2_000,
    recovery_s=30 * _DAY_S,
)
ENTERPRISE = Plan(
    name="enterprise",
    memories=None,
    storage_bytes=None,
    searches_per_month=None,
    calls_per_month=None,
    members=None,
    databases=None,
    requests_per_second=None,
    burst=None,
    recovery_s=90 * _DAY_S,
)

PLANS: dict[str, Plan] = {plan.name: plan for plan in (FREE, PRO, TEAM, ENTERPRISE)}
