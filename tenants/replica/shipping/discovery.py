"""Finds out which outboxes have changed, without asking: the kernel tells.

An engine's socket in ``run/engines`` says that it lives. While it does, its outbox is watched, for one event at a time: the
next watch is set when the outbox is looked into (``arm``), so that an engine which writes there without pause costs a look now
and then, and no more. When the socket goes, the engine has ended, and its outbox is looked into a last time. A sleeping tenant
costs nothing.

News can fail: there may be no more watches to be had, the queue may overflow, a file system may have none. So the outboxes of
living engines that can't be watched are looked after every half second, and every few seconds those of all of them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import structlog

from engine.layout import TENANT, tenant_folder
from tenants.replica.outbox import OUTBOX
from tenants.replica.shipping.inotify import (
    IN_CREATE,
    IN_DELETE,
    IN_IGNORED,
    IN_MOVED_FROM,
    IN_MOVED_TO,
    IN_ONESHOT,
    IN_Q_OVERFLOW,
    Inotify,
)
from tenants.untrusted import Folder, Refused

_log = structlog.get_logger()

_POLL_S = 0.5
"""For outboxes that can't be watched. One look is some ten microseconds."""

_SWEEP_POLLS = 10
"""So many polls apart, all outboxes of living engines are looked after: a thousand of them for 20 ms in 5 s."""

_SOCKET_EVENTS = IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_MOVED_FROM
_OUTBOX_EVENTS = IN_MOVED_TO | IN_ONESHOT
"""A file gets its name when it is whole. Whoever writes under that name at once is found by the sweep."""

_SUFFIX = ".sock"


class Discovery:
    """Of one node. An async context manager; ``run`` in a task."""

    def __init__(self, data_folder: Path, changed: Callable[[str], None]) -> None:
        """``changed`` is told of tenants whose outbox may hold something new."""
        self._data_folder = data_folder
        self._sockets = data_folder / "run" / "engines"
        self._changed = changed
        self._inotify: Inotify | None = None
        self._sockets_watch = -1
        self._live: set[str] = set()
        self._watches: dict[int, str] = {}
        self._watched: dict[str, int] = {}
        self._seen_ns: dict[str, int] = {}
        """When outboxes had last changed, as of the last look at their times."""

    async def __aenter__(self) -> Self:
        try:
            self._inotify = Inotify()
        except OSError as error:
            _log.warning("no_news_of_outboxes", reason=os.strerror(error.errno or 0))
        else:
            asyncio.get_running_loop().add_reader(self._inotify.descriptor, self._read)
            self._watch_sockets()
        self._find_live()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._inotify is not None:
            asyncio.get_running_loop().remove_reader(self._inotify.descriptor)
            self._inotify.close()
            self._inotify = None

    @property
    def live(self) -> int:
        """How many engines run, as their sockets tell."""
        return len(self._live)

    def is_live(self, tenant: str) -> bool:
        """Whether the tenant's engine runs."""
        return tenant in self._live

    def arm(self, tenant: str) -> None:
        """Have the next change of the tenant's outbox told, if its engine lives. Call it before looking into the outbox."""
        if tenant not in self._live or self._inotify is None:
            return
        try:
            watch = self._inotify.watch(tenant_folder(self._data_folder, tenant) / OUTBOX, _OUTBOX_EVENTS)
        except OSError:  # none left to be had, or no such folder: it is polled
            self._forget(tenant)
            return
        self._watches[watch], self._watched[tenant] = tenant, watch

    async def run(self) -> None:
        """Look after what can't be watched, until cancelled."""
        polls = 0
        while True:
            await asyncio.sleep(_POLL_S)
            polls = (polls + 1) % _SWEEP_POLLS
            if polls == 0 or self._sockets_watch < 0:
                self._watch_sockets()
                self._find_live()
            for tenant in list(self._live) if polls == 0 else [name for name in self._live if name not in self._watched]:
                self._look_at_time(tenant)

    def _read(self) -> None:
        assert self._inotify is not None
        for event in self._inotify.events():
            if event.mask & IN_Q_OVERFLOW:
                _log.warning("news_of_outboxes_lost")
                self._find_live()
                for live in self._live:
                    self._changed(live)
            elif event.watch == self._sockets_watch:
                self._hear_of_socket(event.name, event.mask)
            elif event.watch in self._watches:
                tenant = self._watches[event.watch]
                self._forget(tenant)  # it was for one event
                if not event.mask & IN_IGNORED:
                    self._changed(tenant)

    def _hear_of_socket(self, name: str, mask: int) -> None:
        if mask & IN_IGNORED:  # the folder itself is gone; the host makes it again
            self._sockets_watch = -1
        tenant = name.removesuffix(_SUFFIX)
        if not name.endswith(_SUFFIX) or not TENANT.fullmatch(tenant):
            return
        if mask & (IN_CREATE | IN_MOVED_TO):
            self._begin(tenant)
        else:
            self._end(tenant)

    def _begin(self, tenant: str) -> None:
        """An engine starts; what it left the last time may wait."""
        self._live.add(tenant)
        self._changed(tenant)
        self.arm(tenant)

    def _end(self, tenant: str) -> None:
        self._live.discard(tenant)
        self._seen_ns.pop(tenant, None)
        if (watch := self._watched.get(tenant)) is not None and self._inotify is not None:
            self._inotify.unwatch(watch)
        self._forget(tenant)
        self._changed(tenant)

    def _forget(self, tenant: str) -> None:
        if (watch := self._watched.pop(tenant, None)) is not None:
            self._watches.pop(watch, None)

    def _watch_sockets(self) -> None:
        if self._inotify is None or self._sockets_watch >= 0:
            return
        try:
            self._sockets_watch = self._inotify.watch(self._sockets, _SOCKET_EVENTS)
        except OSError:
            self._sockets_watch = -1  # tried again at the next poll

    def _find_live(self) -> None:
        """Compare what is known with the sockets that are there."""
        found = set(self._tenants_with_sockets())
        for tenant in found - self._live:
            self._begin(tenant)
        for tenant in self._live - found:
            self._end(tenant)

    def _tenants_with_sockets(self) -> Iterator[str]:
        try:
            with os.scandir(self._sockets) as entries:
                for entry in entries:
                    tenant = entry.name.removesuffix(_SUFFIX)
                    if entry.name.endswith(_SUFFIX) and TENANT.fullmatch(tenant):
                        yield tenant
        except OSError:
            return

    def _look_at_time(self, tenant: str) -> None:
        try:
            with Folder(tenant_folder(self._data_folder, tenant)) as folder:
                changed_ns = folder.status(OUTBOX).st_ctime_ns
        except Refused:
            return
        if self._seen_ns.get(tenant) != changed_ns:
            self._seen_ns[tenant] = changed_ns
            self._changed(tenant)


def with_files(tenants_folder: Path) -> list[str]:
    """Return the tenants of this node whose outbox is not empty, running or not. Blocking: some 50 µs for each tenant."""
    found = []
    for shard in _folders(tenants_folder):
        for path in _folders(shard):
            if not TENANT.fullmatch(path.name):
                continue
            try:
                with Folder(path) as folder:
                    has_files = bool(folder.names(OUTBOX, names_max=1))
            except Refused as refused:
                has_files = refused.reason == "too many"
            if has_files:
                found.append(path.name)
    return found


def _folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
