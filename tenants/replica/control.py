"""Carries snapshots of the control plane into the object store, and brings back the newest.

A snapshot is an object ``control/<number>``, created under the next free number and never changed. What is in it is the
gateway's business: here it is a file, sealed with a key that derives from the master key.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import structlog

from engine.protocol import ErrorCode, RemoteError
from engine.protocol.errors import invalid
from tenants.messages.replica import ControlFetched, ControlShipped, ShipControl
from tenants.replica.layout import CONTROL, control_key
from tenants.replica.objects import (
    Listed,
    ObjectExists,
    ObjectMissing,
    ObjectStore,
    StoreRefused,
    StoreUnavailable,
)
from tenants.replica.sealing.sealed_metadata import KEY_ID
from tenants.replica.tree import NotOurs, Sealing

_log = structlog.get_logger()

_NAME = re.compile(r"control-[0-9a-f]{16,32}")
"""What a file in the spool must be called: nothing that leads out of it."""

_KEY = re.compile(re.escape(CONTROL) + r"([0-9a-f]{16})")

_PIECE_BYTES = 256 * 1024
_REASON_CHARACTERS_MAX = 300
_TRIES = 20
"""Numbers that are tried in a row. Another may ship too; one that is always first is a mistake somewhere."""

KEPT = 100
"""The newest are kept, however old: some minutes of a busy day."""
KEPT_DAYS = 90
"""For so many days before them, the last of each day: as long as the longest plan looks back."""
_DAY_MS = 86_400_000

_PRUNE_EVERY = 200
"""Snapshots shipped between two looks at what can go; a look is one or two requests."""


class Control:
    """The control plane's snapshots in one store."""

    def __init__(self, store: ObjectStore, sealing: Sealing | None, data_folder: Path) -> None:
        self._store = store
        self._sealing = sealing
        self._spool = data_folder / "spool"
        self._one_at_a_time = asyncio.Lock()
        self._last: int | None = None
        self._until_prune = 0

    async def ship(self, request: ShipControl) -> ControlShipped:
        """Store a snapshot from the spool as the newest; ``invalid`` for a name that is none, ``unavailable`` to try again."""
        if not _NAME.fullmatch(request.name):
            raise invalid("name", "not a snapshot's name")
        async with self._one_at_a_time:
            with _reported():
                return ControlShipped(await asyncio.to_thread(self._ship, self._spool / request.name))

    async def fetch(self) -> ControlFetched:
        """Bring the newest snapshot into the spool, unsealed. No name: the store surely has none."""
        async with self._one_at_a_time:
            with _reported():
                return ControlFetched(await asyncio.to_thread(self._fetch))

    def _ship(self, path: Path) -> int:
        if self._last is None:
            self._last = max(self._numbers(), default=0)
        number = self._create(path, self._last + 1)
        self._last = number
        if self._until_prune == 0:
            self._prune()
            self._until_prune = _PRUNE_EVERY
        self._until_prune -= 1
        return number

    def _create(self, path: Path, number: int) -> int:
        for candidate in range(number, number + _TRIES):
            try:
                self._put(control_key(candidate), path)
            except ObjectExists:  # an answer of ours was lost, or another node ships
                continue
            return candidate
        raise StoreUnavailable("every number for a snapshot is taken")

    def _put(self, key: str, path: Path) -> None:
        if self._sealing is None:
            self._store.create(key, path)
            return
        sealed = self._spool / f"sealed-{hashlib.sha256(key.encode()).hexdigest()[:32]}"
        try:
            with sealed.open("wb") as file:
                file.writelines(self._sealing.seal(key, _pieces_of(path)))
            self._store.create(key, sealed, self._sealing.metadata())
        finally:
            sealed.unlink(missing_ok=True)

    def _fetch(self) -> str | None:
        number = max(self._numbers(), default=None)
        if number is None:
            return None
        key = control_key(number)
        name = f"control-{secrets.token_hex(8)}"
        try:
            with self._store.open(key) as opened, (self._spool / name).open("xb") as file:
                metadata, pieces = opened.stored.metadata, opened.pieces
                if self._sealing is not None:
                    pieces = self._sealing.unseal(key, metadata, pieces)
                elif KEY_ID in metadata:
                    raise StoreRefused("the control plane's snapshots are sealed, and there is no ENGRAM_MASTER_KEY")
                file.writelines(pieces)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            (self._spool / name).unlink(missing_ok=True)
            raise
        _log.info("control_plane_fetched", number=number)
        return name

    def _numbers(self) -> Iterator[int]:
        for listed in self._store.list(CONTROL):
            if (match := _KEY.fullmatch(listed.key)) is not None:
                yield int(match[1], 16)

    def _prune(self) -> None:
        listed = [found for found in self._store.list(CONTROL) if _KEY.fullmatch(found.key)]
        if gone := superfluous(listed, now_ms=time.time_ns() // 1_000_000):
            self._store.delete(gone)


def superfluous(listed: Sequence[Listed], *, now_ms: int) -> list[str]:
    """Return the keys of snapshots that need not be kept, given all of them in the order of their numbers."""
    gone = []
    day_kept: int | None = None
    for found in reversed(listed[:-KEPT] if len(listed) > KEPT else []):
        day = found.modified_ms // _DAY_MS
        if day == day_kept or found.modified_ms < now_ms - KEPT_DAYS * _DAY_MS:
            gone.append(found.key)
        else:
            day_kept = day
    return gone


@contextlib.contextmanager
def _reported() -> Iterator[None]:
    """Tell the gateway what a store's errors mean to it: to try again. Whatever else there is, is a defect."""
    try:
        yield
    except StoreRefused as error:
        raise RemoteError(ErrorCode.UNAVAILABLE, f"the object store refuses us: {error}"[:_REASON_CHARACTERS_MAX]) from error
    except NotOurs as error:
        message = f"the newest snapshot is not what was stored: {error}"[:_REASON_CHARACTERS_MAX]
        raise RemoteError(ErrorCode.UNAVAILABLE, message) from error
    except (StoreUnavailable, ObjectMissing) as error:
        raise RemoteError(ErrorCode.UNAVAILABLE, "the object store can't be reached") from error
    except FileNotFoundError as error:
        raise RemoteError(ErrorCode.NOT_FOUND, "there is no such snapshot in the spool") from error


def _pieces_of(path: Path) -> Iterable[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece
