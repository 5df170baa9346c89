"""What each plan costs a month, in US cents. ``None`` is by contract."""

from __future__ import annotations

from quotas.plans import ENTERPRISE, FREE, PLANS, PRO, TEAM

MONTHLY_CENTS: dict[str, int | None] = {FREE.name: 0, PRO.name: 2_900, TEAM.name: 9_900, ENTERPRISE.name: None}

assert MONTHLY_CENTS.keys() == PLANS.keys(), "every plan has a price"


def monthly_price(plan: str) -> str:
    """Return the price as people read it."""
    cents = MONTHLY_CENTS[plan]
    if cents is None:
        return "by contract"
    return f"${cents // 100}" if cents % 100 == 0 else f"${cents / 100:.2f}"
