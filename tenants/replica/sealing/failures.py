"""Why something can't be unsealed, or may not be stored."""

from __future__ import annotations

from tenants.replica.objects import StoreRefused
from tenants.replica.tree import NotOurs


class Tampered(NotOurs):
    """An object is not what was sealed under its name: changed, cut short, another's, or plain where it would be sealed."""


class KeyUnavailable(StoreRefused):
    """The key is not to be had with the master key that there is. The message says what to set."""


class KeysDestroyed(KeyUnavailable):
    """The tenant was erased: its keys are gone, and with them all that was sealed."""
