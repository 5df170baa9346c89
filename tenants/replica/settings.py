"""The replicator's settings, from an environment that is passed in, and the name this node goes by at the object store."""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

OFF = "off"
"""The address of no store: nothing is carried away."""

_MASTER_KEY_BYTES = 32

_NODE = re.compile(r"[0-9a-z][0-9a-z-]{0,63}")
"""It becomes part of a key."""


class SettingsFault(Exception):
    """The replicator can't run with these settings; the message names the setting."""


@dataclass(frozen=True, kw_only=True)
class ReplicatorSettings:
    """What the replicator needs to know."""

    data_folder: Path
    url: str = OFF
    """Of the object store, ``file:`` or ``s3:``."""
    master_key: bytes | None = field(default=None, repr=False)
    """Tenants' keys are wrapped with a key that derives from it; without it objects are stored as they are."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Where the store finds its credentials."""

    @property
    def replicates(self) -> bool:
        """Whether there is a store to carry changes to."""
        return self.url != OFF

    @property
    def tenants_folder(self) -> Path:
        """Where tenants' folders are."""
        return self.data_folder / "tenants"

    @property
    def run_folder(self) -> Path:
        """Where sockets are."""
        return self.data_folder / "run"

    @property
    def spool_folder(self) -> Path:
        """For what is too large for memory."""
        return self.data_folder / "spool"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> ReplicatorSettings:
        """Read ``ENGRAM_DATA_DIR``, ``ENGRAM_REPLICA_URL`` (a folder beside the data) and ``ENGRAM_MASTER_KEY``; ``AWS_*`` are
        passed on."""
        data_folder = Path(environment.get("ENGRAM_DATA_DIR", "var")).resolve()
        return cls(
            data_folder=data_folder,
            url=environment.get("ENGRAM_REPLICA_URL") or (data_folder / "replica").as_uri(),
            master_key=_master_key(environment.get("ENGRAM_MASTER_KEY", "")),
            environment={name: value for name, value in environment.items() if name.startswith("AWS_")},
        )


def _master_key(text: str) -> bytes | None:
    if not text:
        return None
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != _MASTER_KEY_BYTES:
        raise SettingsFault(f"ENGRAM_MASTER_KEY is {_MASTER_KEY_BYTES} random bytes in base64")
    return key


def node_id(run_folder: Path) -> str:
    """Return what this node is called for as long as it is up. ``engram up`` has written it down; without, one is made."""
    path = run_folder / "node"
    for _ in range(2):
        try:
            name = path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            name = ""
        except UnicodeDecodeError as error:
            raise SettingsFault(f"{path} holds no node's name") from error
        if name:
            break
        _make(path)
    if not _NODE.fullmatch(name):
        raise SettingsFault(f"{path} holds no node's name")
    return name


def _make(path: Path) -> None:
    """Write a new name to ``path`` whole, unless somebody was faster."""
    draft = path.with_name(f".node-{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(16))
        try:
            os.link(draft, path)
        except FileExistsError:
            if not path.stat().st_size:  # a crash left it empty: nobody goes by it
                draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
