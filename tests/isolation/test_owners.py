"""Who owns what, and with which mode: as ``engine/sandbox/users.py`` and the packages' ``DESIGN.md`` write it down."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from engine.catalogue.memory import CREATE, LIST, MemoryCreate, MemoryList
from engine.catalogue.recovery import FLUSH, Flush
from engine.layout import engine_socket, tenant_folder
from engine.ltx import file_name
from engine.sandbox.users import FIRST, LAST, OUTBOX, Folders, Service
from tests.tenants.conftest import OTHER, TENANT, Node

pytestmark = pytest.mark.usefixtures("as_root")

SERVICE = "daemon"
"""An account that every system has."""

STRANGER = 12345


def tenants(count: int) -> list[str]:
    return [
        f"db_{'ab'[number % 2]}{'cd'[number // 2 % 2]}{number:018}".translate(str.maketrans("0189", "wxyz"))
        for number in range(count)
    ]


def owned(path: Path) -> tuple[int, int, int]:
    status = path.lstat()
    return status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)


async def remember(node: Node, tenant: str, content: str) -> None:
    async with node.router() as router:
        await router.call(tenant, CREATE, MemoryCreate(content=content))


async def remembered(node: Node, tenant: str) -> list[str]:
    async with node.router() as router:
        return [memory.content for memory in (await router.call(tenant, LIST, MemoryList())).memories]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Node]:
    """A node that is not started yet."""
    node = Node(tmp_path / "data")
    yield node
    node.close()


def start(node: Node) -> None:
    node.start("engine.fork_server")
    node.start("tenants.host.main")


async def test_every_folder_socket_and_file_is_as_it_is_written_down(started: Node) -> None:
    started.environment["ENGRAM_USER"] = SERVICE
    start(started)
    await remember(started, TENANT, "kept")
    async with started.router() as router:
        await router.call(TENANT, FLUSH, Flush())
    data, folder = started.folder, tenant_folder(started.folder, TENANT)
    account = pwd.getpwnam(SERVICE)
    user, group = folder.stat().st_uid, account.pw_gid

    assert FIRST <= user <= LAST
    assert {
        str(path.relative_to(data)): owned(path) for path in [data / "tenants", *sorted((data / "tenants").rglob("*"))]
    } == {
        "tenants": (0, group, 0o750),
        "tenants/next-user": (0, 0, 0o600),
        "tenants/aa": (0, group, 0o750),
        f"tenants/aa/{TENANT}": (user, group, 0o2750),
        f"tenants/aa/{TENANT}/captured": (user, group, 0o640),
        f"tenants/aa/{TENANT}/engine.lock": (user, group, 0o600),
        f"tenants/aa/{TENANT}/memory.db": (user, group, 0o600),
        f"tenants/aa/{TENANT}/memory.db-shm": (user, group, 0o600),
        f"tenants/aa/{TENANT}/memory.db-wal": (user, group, 0o600),
        f"tenants/aa/{TENANT}/outbox": (user, group, 0o2770),
        f"tenants/aa/{TENANT}/outbox/{file_name(1, 1)}": (user, group, 0o640),
    }
    assert owned(data / "run" / "fork.sock") == (account.pw_uid, group, 0o600)
    assert owned(engine_socket(data, TENANT)) == (account.pw_uid, group, 0o600)


async def test_tenants_have_users_of_their_own(node: Node) -> None:
    await remember(node, TENANT, "mine")
    await remember(node, OTHER, "theirs")
    users = {tenant_folder(node.folder, tenant).stat().st_uid for tenant in (TENANT, OTHER)}

    assert len(users) == 2
    assert {os.stat(f"/proc/{pid}").st_uid for pid in node.engines().values()} == users


async def test_a_data_folder_below_a_closed_one_works(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "data").mkdir(parents=True)
    os.chown(closed, STRANGER, STRANGER)
    closed.chmod(0o700)
    node = Node(closed / "data")
    try:
        start(node)
        await remember(node, TENANT, "kept")

        assert await remembered(node, TENANT) == ["kept"]
        assert owned(closed) == (STRANGER, STRANGER, 0o700)
    finally:
        node.close()


async def test_a_folder_from_a_time_without_users_is_handed_over_with_all_that_is_in_it(started: Node) -> None:
    start(started)
    await remember(started, TENANT, "from before")
    started.close()
    folder = tenant_folder(started.folder, TENANT)
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, 0, 0)
        path.chmod(0o700 if path.is_dir() else 0o600)
    (folder / OUTBOX / "file").write_bytes(b"it")
    (started.folder / "tenants" / "next-user").unlink()
    start(started)

    assert await remembered(started, TENANT) == ["from before"]
    user = folder.stat().st_uid
    assert FIRST <= user <= LAST
    assert {path.name: path.stat().st_uid for path in folder.rglob("*")} == dict.fromkeys(
        ("captured", "engine.lock", "memory.db", "memory.db-shm", "memory.db-wal", "outbox", "file", file_name(1, 1)), user
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder without anything."""
    return tmp_path


def folders(data: Path) -> Folders:
    """The folders as a fork server that has just started sees them."""
    return Folders(data, Service(0, 0))


def test_only_plain_files_of_one_name_are_handed_over(data: Path) -> None:
    folder = tenant_folder(data, TENANT)
    folder.mkdir(parents=True)
    (data / "precious").write_bytes(b"the service's")
    os.link(data / "precious", folder / "hard-link")
    (folder / "symlink").symlink_to(data / "precious")
    (folder / "own").write_bytes(b"its own")
    user = folders(data).prepare(TENANT)

    assert (data / "precious").stat().st_uid == 0
    assert (folder / "symlink").lstat().st_uid == 0
    assert (folder / "own").stat().st_uid == user


@pytest.mark.parametrize("made", ["tenant", "outbox", "shard", "tenants"])
def test_a_link_in_the_place_of_a_folder_is_not_followed(data: Path, made: str) -> None:
    folder = tenant_folder(data, TENANT)
    elsewhere = data / "elsewhere"
    elsewhere.mkdir()
    path = {"tenant": folder, "outbox": folder / OUTBOX, "shard": folder.parent, "tenants": data / "tenants"}[made]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(elsewhere)
    with pytest.raises(OSError, match=r"Too many levels of symbolic links|Not a directory"):
        folders(data).prepare(TENANT)

    assert owned(elsewhere)[:2] == (0, 0)
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("restarts", [False, True])
def test_a_number_is_never_given_twice(data: Path, restarts: bool) -> None:
    given: list[int | None] = []
    its = folders(data)
    for tenant in tenants(12):
        its = folders(data) if restarts else its
        given.append(its.prepare(tenant))
        shutil.rmtree(tenant_folder(data, tenant))  # its number is not free: files of it may lie somewhere

    assert given == list(range(FIRST, FIRST + 12))


@pytest.mark.parametrize("content", [None, b"", b"nonsense", b"-1 ", b"\xff" * 16])
def test_a_lost_or_spoilt_note_does_not_give_a_number_away_that_somebody_has(data: Path, content: bytes | None) -> None:
    first, *later = tenants(5)
    before = [folders(data).prepare(tenant) for tenant in [first, *later[:2]]]
    note = data / "tenants" / "next-user"
    note.unlink()
    if content is not None:
        note.write_bytes(content)
    after: list[int | None] = []
    for tenant in later[2:]:
        with suppress(OSError):  # a number outside the range: nobody gets one rather than a wrong one
            after.append(folders(data).prepare(tenant))

    assert not set(before) & set(after)
    assert folders(data).prepare(first) == before[0]


def test_there_is_an_end_to_the_numbers(data: Path) -> None:
    folders(data).prepare(TENANT)
    (data / "tenants" / "next-user").write_text(str(LAST))

    assert folders(data).prepare(OTHER) == LAST
    with pytest.raises(OSError, match="there is no user number"):
        folders(data).prepare(tenants(1)[0])


def test_without_users_everything_is_the_one_users(tmp_path: Path) -> None:
    assert Folders(tmp_path, None).prepare(TENANT) is None
    assert owned(tenant_folder(tmp_path, TENANT) / OUTBOX) == (os.geteuid(), os.getegid(), 0o700)
