"""The gateway's settings, from an environment that is passed in. ``SettingsError`` names what is wrong, all at once."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from engine.protocol.processes import ISOLATION_LEVELS
from quotas.plans import PLANS
from tenants.replica.stores.address import StoreUrlError, parse

_MASTER_KEY_BYTES = 32
_NOT_REPLICATED = "off"
_SQLITE = "sqlite+aiosqlite:///"

_IN_QUOTES = frozenset('"\\\n')
"""What the supervisor's configuration, where settings stand in quotation marks, can't hold."""


class SettingsError(Exception):
    """The environment can't be used; the message has one line for each fault."""


@dataclass(frozen=True, kw_only=True)
class GatewaySettings:
    """Everything the gateway is told from outside."""

    production: bool = False
    host: str = "127.0.0.1"
    port: int = 8080
    public_url: str = "http://127.0.0.1:8080"
    """Under which address people and agents reach us; shown in pages and copy-paste lines."""
    data_folder: Path = Path("var")
    database_url: str = ""
    master_key: bytes | None = field(default=None, repr=False)
    signup_plan: str = "free"
    signups_per_minute: int = 60
    """From one address. Behind a proxy that is everybody's together."""
    allowed_origins: frozenset[str] = frozenset()
    """Web origins, besides loopback ones and our own, whose pages may call MCP."""
    replica_url: str = _NOT_REPLICATED
    """Of the object store that changes are carried to."""

    @property
    def replicating(self) -> bool:
        """Whether there is such a store."""
        return self.replica_url != _NOT_REPLICATED

    @property
    def replica_folder(self) -> Path:
        """Where backups go when nothing else is said: beside what they are backups of."""
        return self.data_folder / "replica"

    @property
    def database_path(self) -> Path:
        """The control plane's file."""
        return Path(self.database_url.removeprefix(_SQLITE).partition("?")[0])

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> GatewaySettings:
        """Read ``ENGRAM_*``."""
        faults: list[str] = []
        production = environment.get("ENGRAM_ENV", "development")
        if production not in ("development", "production"):
            faults.append("ENGRAM_ENV is development or production")
        host = environment.get("ENGRAM_HOST", "127.0.0.1")
        port = _port(environment.get("ENGRAM_PORT", "8080"), faults)
        data_folder = Path(environment.get("ENGRAM_DATA_DIR") or "var").resolve()
        master_key = _master_key(environment.get("ENGRAM_MASTER_KEY", ""), faults)
        public_url = environment.get("ENGRAM_PUBLIC_URL") or f"http://{_bracketed(host)}:{port}"
        signup_plan = environment.get("ENGRAM_SIGNUP_PLAN") or "free"
        if signup_plan not in PLANS:
            faults.append(f"ENGRAM_SIGNUP_PLAN is one of {', '.join(PLANS)}")
        database_url = environment.get("ENGRAM_DATABASE_URL") or f"{_SQLITE}{data_folder / 'control.db'}"
        if not database_url.startswith(_SQLITE):
            faults.append(f"ENGRAM_DATABASE_URL starts with {_SQLITE}")
        replica_url = environment.get("ENGRAM_REPLICA_URL") or (data_folder / "replica").as_uri()
        faults += _unusable_store(replica_url, environment)
        if production == "production":
            faults += _insecure(environment)
        if environment.get("ENGRAM_ISOLATION", "") not in ("", *ISOLATION_LEVELS):
            faults.append("ENGRAM_ISOLATION is process, partial or full")
        signups_per_minute = _count("ENGRAM_SIGNUPS_PER_MINUTE", environment, 60, faults)
        _positive("ENGRAM_ENGINE_IDLE_SECONDS", environment, faults)
        _count("ENGRAM_ENGINE_MEMORY_MAX_MB", environment, 1024, faults)
        _positive("ENGRAM_ENGINES_MEMORY_MAX_MB", environment, faults)
        _positive("ENGRAM_DISK_RESERVE_MB", environment, faults)
        if faults:
            raise SettingsError("\n".join(faults))
        return cls(
            production=production == "production",
            host=host,
            port=port,
            public_url=public_url.rstrip("/"),
            data_folder=data_folder,
            database_url=database_url,
            master_key=master_key,
            signup_plan=signup_plan,
            signups_per_minute=signups_per_minute,
            allowed_origins=frozenset(
                origin.strip().rstrip("/")
                for origin in environment.get("ENGRAM_ALLOWED_ORIGINS", "").split(",")
                if origin.strip()
            ),
            replica_url=replica_url,
        )


def _port(text: str, faults: list[str]) -> int:
    if text.isascii() and text.isdigit() and 0 < int(text) < 65536:
        return int(text)
    faults.append("ENGRAM_PORT is a number from 1 to 65535")
    return 0


def _count(name: str, environment: Mapping[str, str], default: int, faults: list[str]) -> int:
    text = environment.get(name) or str(default)
    if text.isascii() and text.isdigit() and 0 < int(text) <= 1_000_000:
        return int(text)
    faults.append(f"{name} is a number from 1 to 1000000")
    return default


def _positive(name: str, environment: Mapping[str, str], faults: list[str]) -> None:
    """Look at a setting of another program, so that ``engram up`` says what is wrong instead of starting it in vain."""
    try:
        fine = 0 < float(environment.get(name) or 1) < float("inf")
    except ValueError:
        fine = False
    if not fine:
        faults.append(f"{name} is a number above 0")


def _master_key(text: str, faults: list[str]) -> bytes | None:
    if not text:
        return None
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _MASTER_KEY_BYTES:
        faults.append(f"ENGRAM_MASTER_KEY is {_MASTER_KEY_BYTES} random bytes in base64")
    return key


def _unusable_store(url: str, environment: Mapping[str, str]) -> list[str]:
    if url == _NOT_REPLICATED:
        return []
    if _IN_QUOTES & set(url):
        return ["ENGRAM_REPLICA_URL has a quotation mark, a backslash or a line break in it; write it as %22, %5C or %0A"]
    try:
        parse(url, environment)
    except StoreUrlError as error:
        return [f"ENGRAM_REPLICA_URL: {error}"]
    return []


def _insecure(environment: Mapping[str, str]) -> list[str]:
    """Return what production must not run with."""
    faults = []
    if not environment.get("ENGRAM_MASTER_KEY"):
        faults.append("ENGRAM_ENV=production needs ENGRAM_MASTER_KEY")
    if not environment.get("ENGRAM_PUBLIC_URL", "").startswith("https://"):
        faults.append("ENGRAM_ENV=production needs ENGRAM_PUBLIC_URL, an https address")
    if not environment.get("ENGRAM_REPLICA_URL"):
        faults.append("ENGRAM_ENV=production needs ENGRAM_REPLICA_URL: where changes are carried to, or off")
    return faults


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
