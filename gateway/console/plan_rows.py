"""The plans as a table for people."""

from __future__ import annotations

from dataclasses import dataclass

from billing.prices import monthly_price
from quotas.plans import GIGABYTE, PLANS, Plan


@dataclass(frozen=True, kw_only=True)
class PlanRow:
    """One row, ready to be shown."""

    name: str
    price: str
    memories: str
    searches: str
    calls: str
    storage: str
    members: str
    recovery: str


def plan_rows() -> list[PlanRow]:
    """Return a row for every plan, from the smallest."""
    return [_row(plan) for plan in PLANS.values()]


def _row(plan: Plan) -> PlanRow:
    price = monthly_price(plan.name)
    by_contract = "by contract" if plan.requests_per_second is None else "unlimited"
    return PlanRow(
        name=plan.name.capitalize(),
        price=f"{price} / month" if price.startswith("$") and price != "$0" else price,
        memories=_number(plan.memories, by_contract),
        searches=_number(plan.searches_per_month, "unlimited"),
        calls=_number(plan.calls_per_month, "unlimited"),
        storage=_storage(plan.storage_bytes, by_contract),
        members=_number(plan.members, "unlimited"),
        recovery=_recovery(plan.recovery_s),
    )


def _number(value: int | None, otherwise: str) -> str:
    return otherwise if value is None else f"{value:,}"


def _storage(size: int | None, otherwise: str) -> str:
    if size is None:
        return otherwise
    return f"{size // GIGABYTE} GB" if size >= GIGABYTE else f"{size // 10**6} MB"


def _recovery(seconds: int) -> str:
    hours = seconds // 3600
    return f"{hours} hours" if hours <= 24 else f"{hours // 24} days"
