"""Root moves files from one stranger's folder into another's, and is led nowhere by either."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from engine.catalogue.recovery import PREVIEW_DATABASE, RESTORE_DATABASE, RESTORE_NOTE, STAGED_DATABASE, STAGED_NOTE
from engine.layout import tenant_folder
from engine.protocol.processes import Adopt
from engine.sandbox.adoption import STAGING, adopt
from engine.sandbox.users import FIRST, Folders, Service
from tests.tenants.conftest import TENANT

pytestmark = pytest.mark.usefixtures("as_root")

STRANGER = 12345
NAME = "restore-1"
RACES = 300


@pytest.fixture
def service() -> Service:
    """The user of the other programs."""
    account = pwd.getpwnam("daemon")
    return Service(account.pw_uid, account.pw_gid)


@pytest.fixture
def data(tmp_path: Path, service: Service) -> Path:
    """A data folder with a database that is staged, as the replicator leaves it."""
    folder = tmp_path / "data"
    staged = folder / STAGING / NAME
    staged.mkdir(parents=True)
    (staged / STAGED_DATABASE).write_bytes(b"a database")
    (staged / STAGED_NOTE).write_bytes(b"its note")
    for path in (staged.parent, staged, *staged.iterdir()):
        os.chown(path, service.uid, service.gid)
    return folder


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A file of root's that the strangers are after."""
    path = tmp_path / "precious"
    path.write_bytes(b"root's")
    path.chmod(0o600)
    return path


def run(data: Path, service: Service, *, preview: bool = False) -> None:
    adopt(data, service, Folders(data, service), Adopt(tenant=TENANT, staged=NAME, preview=preview))


def owned(path: Path) -> tuple[int, int, int]:
    status = path.lstat()
    return status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)


def test_the_files_are_the_tenants_own_and_nobody_elses(data: Path, service: Service) -> None:
    run(data, service)
    folder = tenant_folder(data, TENANT)

    assert folder.stat().st_uid >= FIRST
    for name in (RESTORE_DATABASE, RESTORE_NOTE):
        assert owned(folder / name) == (folder.stat().st_uid, service.gid, 0o600)


# What the service's user may have put into its folder

Trap = Callable[[Path, Path], None]


def link(path: Path, precious: Path) -> None:
    path.unlink()
    path.symlink_to(precious)


def hard_link(path: Path, precious: Path) -> None:
    path.unlink()
    os.link(precious, path)


def second_name(path: Path, _: Path) -> None:
    os.link(path, path.with_name("second"))


def pipe(path: Path, _: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder_instead(path: Path, _: Path) -> None:
    path.unlink()
    path.mkdir()


def of_another(path: Path, _: Path) -> None:
    os.chown(path, STRANGER, STRANGER)


@pytest.mark.parametrize("name", [STAGED_DATABASE, STAGED_NOTE])
@pytest.mark.parametrize("trap", [link, hard_link, second_name, pipe, folder_instead, of_another])
def test_only_plain_files_of_the_services_are_adopted(
    data: Path, service: Service, precious: Path, trap: Trap, name: str
) -> None:
    trap(data / STAGING / NAME / name, precious)
    with pytest.raises(OSError, match="staged|service's|symbolic|" + name):
        run(data, service)

    assert owned(precious) == (0, 0, 0o600)
    assert not tenant_folder(data, TENANT).exists()


@pytest.mark.parametrize("place", [STAGING, f"{STAGING}/{NAME}"])
def test_a_link_in_the_place_of_a_folder_is_not_followed(data: Path, service: Service, tmp_path: Path, place: str) -> None:
    """It leads to where files of root's have the names that are looked for."""
    elsewhere = tmp_path / "elsewhere"
    (data / place).rename(elsewhere)
    (data / place).symlink_to(elsewhere)
    before = {path: owned(path) for path in elsewhere.rglob("*")}
    with pytest.raises(OSError, match=r"symbolic links|Not a directory"):
        run(data, service)

    assert {path: owned(path) for path in elsewhere.rglob("*")} == before


def test_set_id_bits_do_not_outlive_the_change_of_owner(data: Path, service: Service) -> None:
    (data / STAGING / NAME / STAGED_DATABASE).chmod(0o6755)
    run(data, service)

    assert owned(tenant_folder(data, TENANT) / RESTORE_DATABASE)[2] == 0o600


def test_another_file_system_is_an_error_and_nothing_is_copied(data: Path, service: Service) -> None:
    elsewhere = Path("/dev/shm")
    if not elsewhere.exists() or elsewhere.stat().st_dev == data.stat().st_dev:
        pytest.skip("there is no second file system")
    with tempfile.TemporaryDirectory(dir=elsewhere) as name:
        shutil.copytree(data / STAGING, Path(name) / STAGING)
        for path in Path(name).rglob("*"):
            os.chown(path, service.uid, service.gid)
        with pytest.raises(OSError, match="cross-device"):
            adopt(Path(name), service, Folders(data, service), Adopt(tenant=TENANT, staged=NAME))

    assert [path.name for path in tenant_folder(data, TENANT).iterdir()] == ["outbox"]


# What the tenant's user may have put into its folder


@pytest.mark.parametrize("name", [RESTORE_DATABASE, RESTORE_NOTE, PREVIEW_DATABASE])
def test_a_link_in_the_tenants_folder_is_replaced_and_not_followed(
    data: Path, service: Service, precious: Path, name: str
) -> None:
    user = Folders(data, service).prepare(TENANT)
    assert user is not None
    trap = tenant_folder(data, TENANT) / name
    trap.symlink_to(precious)
    os.chown(trap, user, user, follow_symlinks=False)
    run(data, service, preview=name == PREVIEW_DATABASE)

    assert precious.read_bytes() == b"root's"
    assert owned(precious) == (0, 0, 0o600)
    assert owned(trap) == (user, service.gid, 0o600)


def test_a_folder_there_makes_it_fail_and_nothing_else(data: Path, service: Service) -> None:
    Folders(data, service).prepare(TENANT)
    (tenant_folder(data, TENANT) / RESTORE_DATABASE / "within").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        run(data, service)


# What either may do while root is at it


@contextmanager
def exchanging(*changes: Callable[[], object]) -> Iterator[None]:
    """Carry the changes out over and over again, in turn, beside the block."""
    is_over = threading.Event()

    def work() -> None:
        for change in itertools.cycle(changes):
            if is_over.is_set():
                return
            with suppress(OSError):
                change()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def test_a_name_that_is_exchanged_all_the_time_gives_away_nothing(data: Path, service: Service, tmp_path: Path) -> None:
    """The service's user swaps its file with a hard link to root's, on a system that lets it make one."""
    staged = data / STAGING / NAME
    folder = tenant_folder(data, TENANT)
    precious = tmp_path / "precious"
    precious.write_bytes(b"root's")
    precious.chmod(0o600)
    spare = staged / "spare"

    def put_its_own() -> None:
        spare.write_bytes(b"a database")
        os.chown(spare, service.uid, service.gid)
        spare.replace(staged / STAGED_DATABASE)

    def put_roots() -> None:
        os.link(precious, spare)
        spare.replace(staged / STAGED_DATABASE)

    for _ in range(RACES):
        staged.mkdir(exist_ok=True)
        (staged / STAGED_NOTE).write_bytes(b"its note")
        put_its_own()
        os.chown(staged / STAGED_NOTE, service.uid, service.gid)
        with exchanging(put_roots, put_its_own), suppress(OSError):
            run(data, service)

        assert owned(precious) == (0, 0, 0o600)
        assert not any(path.samefile(precious) for path in folder.glob("restore.*"))
        for path in (*staged.glob("*"), *folder.glob("restore.*")):
            path.unlink()
