"""A user of its own for each tenant's engine, and what it may see of the tree: its folder, as ``/``.

Only root can give it one. The number is written down nowhere but as the owner of the tenant's folder; a file beside the folders
holds the next one to be given, so that none is ever given twice while the file lives.

    <data>/tenants, <data>/tenants/<shard>    root, group of the service, 0750: the service sees, root alone makes
    <data>/tenants/<shard>/<tenant>           tenant, group of the service, 02750: the service reads what it may
    <data>/tenants/<shard>/<tenant>/outbox    tenant, group of the service, 02770: the service removes what it has shipped

The set-group-id bit passes the group on to what the engine makes; its umask (027) and SQLite (0600 for the database) decide
what the group may read. Without root everything belongs to the one user there is, 0700.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.layout import TENANT, tenant_folder
from engine.sandbox import system_calls

FIRST = 0x7000_0000
LAST = 0x7FFF_FFFE
"""The range that distributions leave unused (systemd's "UIDS-GIDS"): 268 million tenants."""

OUTBOX = "outbox"
UMASK = 0o027
_NEXT_FILE = "next-user"


@dataclass(frozen=True)
class Service:
    """The user and group that the service's other programs run as."""

    uid: int
    gid: int


def service_of(user: str | None) -> Service | None:
    """Return who uses the engines when each has a user of its own: ``user``, or this process's; ``None`` when none can have
    one."""
    if os.geteuid() != 0 or not _are_mapped():
        return None
    account = pwd.getpwnam(user) if user else pwd.getpwuid(0)
    return Service(account.pw_uid, account.pw_gid)


def _are_mapped() -> bool:
    """Whether the numbers exist here: a container may be given few."""
    try:
        lines = Path("/proc/self/uid_map").read_text().splitlines()
    except OSError:
        return False
    ranges = ((int(first), int(length)) for first, _, length in (line.split() for line in lines))
    return any(first <= FIRST and first + length > LAST for first, length in ranges)


class Folders:
    """Makes tenants' folders and gives them to their users."""

    def __init__(self, data_folder: Path, service: Service | None) -> None:
        """``service``: who the other programs are; ``None`` when engines have no users of their own."""
        self._data_folder = data_folder
        self._service = service

    def prepare(self, tenant: str) -> int | None:
        """Make the tenant's folder with its outbox where they are missing; return its user, ``None`` without one.

        A folder that came from elsewhere, or from a time without users, is given to a new one with all that is in it.
        """
        with self.opened(tenant) as (_, user):
            return user

    @contextlib.contextmanager
    def opened(self, tenant: str) -> Iterator[tuple[int, int | None]]:
        """Do so, and yield the open folder with its user."""
        folder = tenant_folder(self._data_folder, tenant)
        if self._service is None:
            for path in (folder.parent.parent, folder.parent, folder, folder / OUTBOX):
                with open_folder(path.parent) as parent:
                    _make(path.name, parent)
            with open_folder(folder) as own:
                yield own, None
            return
        with (
            open_folder(self._data_folder) as data,
            self._shared(data, "tenants") as tenants,
            self._shared(tenants, folder.parent.name) as shard,
        ):
            _make(tenant, shard)
            with open_folder(tenant, shard) as own:
                yield own, self._give(own, tenants)

    def _give(self, own: int, tenants: int) -> int:
        assert self._service is not None
        _make(OUTBOX, own)
        user = os.fstat(own).st_uid
        if not FIRST <= user <= LAST:
            user = self._next_user(tenants)
            with open_folder(OUTBOX, own) as outbox:
                self._give_files(outbox, user)
                _own(outbox, user, self._service.gid, 0o2770)
            self._give_files(own, user)
            # Last, because the owner says that all of it is done.
            _own(own, user, self._service.gid, 0o2750)
        return user

    def _give_files(self, folder: int, user: int) -> None:
        assert self._service is not None
        for name in os.listdir(folder):
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
                os.chown(name, user, self._service.gid, dir_fd=folder, follow_symlinks=False)

    @contextlib.contextmanager
    def _shared(self, parent: int, name: str) -> Iterator[int]:
        """Open a folder that all tenants' folders lie in, made if need be."""
        assert self._service is not None
        _make(name, parent)
        with open_folder(name, parent) as folder:
            status = os.fstat(folder)
            if (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) != (0, self._service.gid, 0o750):
                _own(folder, 0, self._service.gid, 0o750)
            yield folder

    def _next_user(self, tenants: int) -> int:
        """Return a number that nobody has. It is written down as given before it is used."""
        try:
            with os.fdopen(os.open(_NEXT_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=tenants), "rb") as file:
                user = int(file.read(16))
        except (FileNotFoundError, ValueError):
            user = 1 + max((FIRST - 1, *self._given()))
        if not FIRST <= user <= LAST:
            raise OSError(f"there is no user number {user} for a tenant")
        draft = f"{_NEXT_FILE}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(draft, flags, 0o600, dir_fd=tenants), "wb") as file:
            file.write(b"%d" % (user + 1))
            file.flush()
            os.fsync(file.fileno())
        os.rename(draft, _NEXT_FILE, src_dir_fd=tenants, dst_dir_fd=tenants)
        os.fsync(tenants)
        return user

    def _given(self) -> list[int]:
        """Return the numbers that folders belong to."""
        found = []
        for folder in self._data_folder.glob("tenants/??/*"):
            owner = folder.lstat().st_uid
            if TENANT.fullmatch(folder.name) and FIRST <= owner <= LAST:
                found.append(owner)
        return found


def become(user: int) -> None:
    """Be this user, with a group of the same number and no other, for good. All of root's powers end with it."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def change_root(folder: int) -> None:
    """Make the open ``folder`` this process's whole tree. What lies above it may be closed to this user."""
    os.fchdir(folder)
    os.chroot(".")
    os.chdir("/")


def gain_root_of_nothing() -> None:
    """Enter a user namespace of one's own, in which ``change_root`` is allowed to anybody; ``OSError`` where it is not."""
    uid, gid = os.getuid(), os.getgid()
    system_calls.unshare(system_calls.CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")


def _make(name: str, parent: int) -> None:
    """Make a folder where it is missing, and have it there after a power cut: what is stored in it would be lost with it."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent)
        os.fsync(parent)


def _own(folder: int, uid: int, gid: int, mode: int) -> None:
    os.chown(folder, uid, gid)
    os.chmod(folder, mode)


@contextlib.contextmanager
def open_folder(name: str | Path, parent: int | None = None) -> Iterator[int]:
    """Yield a descriptor of a folder, beneath ``parent`` if given; a link in its place is not followed, but an ``OSError``."""
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
