"""The form of a handler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.protocol import Request
from engine.store.database import Database

Handler = Callable[[Database, Any, Request], Any]
"""Takes the open database, the operation's decoded arguments and their request; returns the operation's result."""
