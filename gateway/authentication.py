"""Whose key a request carries. A typing error is told from an unknown key; the two have different codes."""

from __future__ import annotations

from litestar.types import Scope

from gateway.api.errors import Problem
from tenants.registry import api_key
from tenants.registry.keys import Principal
from tenants.registry.registry import Registry

_CHALLENGE = {"WWW-Authenticate": "Bearer"}


def authenticate(scope: Scope, registry: Registry) -> Principal:
    """Return the principal of the ``Authorization: Bearer`` key; a 401 problem for anything else."""
    header = next((value for name, value in scope["headers"] if name == b"authorization"), None)
    if header is None:
        raise Problem("key_missing", "Send Authorization: Bearer ek_live_…", headers=_CHALLENGE)
    kind, _, credentials = header.decode("latin-1").strip().partition(" ")
    key = credentials.strip()
    if kind.lower() == "bearer" and (principal := registry.find_key(key)) is not None:
        return principal
    if kind.lower() != "bearer" or not api_key.is_well_formed(key):
        detail = "A key is ek_live_ and 36 letters and digits; check it for typing errors."
        raise Problem("key_malformed", detail, headers=_CHALLENGE)
    raise Problem("key_invalid", headers=_CHALLENGE)
