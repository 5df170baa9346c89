"""Which settings there are: every ``ENGRAM_`` name that the product's own code or the supervisor's configuration reads."""

from __future__ import annotations

import re

from tests.service import ROOT

_PACKAGES = ("engine", "gateway", "tenants", "quotas", "billing")
_NAME = re.compile(r"\bENGRAM_[A-Z0-9_]+\b")


def known_settings() -> set[str]:
    """Return the names."""
    sources = [path for package in _PACKAGES for path in (ROOT / package).rglob("*.py")]
    return {name for path in sources for name in _NAME.findall(path.read_text(encoding="utf-8"))}
