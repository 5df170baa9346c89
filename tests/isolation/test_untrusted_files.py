"""What lies beneath a tenant's folder is read as a stranger's: nothing leads out of it, waits, or fills the memory."""

from __future__ import annotations

import asyncio
import os
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from engine.catalogue.lifecycle import DUE_FILE
from engine.layout import tenant_folder
from engine.ltx import file_name
from tenants import untrusted
from tenants.host import last_words
from tenants.messages.replica import ReplicaStatus
from tenants.replica import outbox
from tenants.replica.census import Census
from tenants.replica.outbox import OUTBOX
from tenants.replica.watcher import Watcher
from tenants.untrusted import Folder, Refused
from tests.isolation.outbox_attacks import ATTACKS, NAME, NEEDS_ROOT, STRANGE_NAMES, read_naively, sound_file
from tests.tenants.conftest import OTHER, TENANT

SECRET = b"another tenant's memory"


@pytest.fixture(params=["openat2", "step by step"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to open: that of the kernel, and the one for kernels without it."""
    if request.param == "step by step":
        monkeypatch.setattr(untrusted, "has_openat2", lambda: False)
    elif not untrusted.has_openat2():
        pytest.skip("this kernel has no openat2")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with two tenants; the other one's outbox holds what the attacks are after."""
    for tenant in (TENANT, OTHER):
        (tenant_folder(tmp_path, tenant) / OUTBOX).mkdir(parents=True)
    prey(tmp_path).write_bytes(SECRET)
    return tmp_path


def prey(data: Path) -> Path:
    return tenant_folder(data, OTHER) / OUTBOX / "prey"


def box(data: Path) -> Path:
    return tenant_folder(data, TENANT) / OUTBOX


def do(name: str, data: Path) -> str:
    if name in NEEDS_ROOT and os.geteuid() != 0:
        pytest.skip("only root can do this")
    try:
        return ATTACKS[name](box(data), prey(data))
    except PermissionError:
        pytest.skip("the kernel does not let us attack like this")


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_on_whoever_reads_an_outbox_fails(data: Path, name: str) -> None:
    file = do(name, data)
    watcher = Watcher(data / "tenants")
    tracemalloc.start()
    with capture_logs() as logs:
        statuses = [watcher.scan() for _ in range(3)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    last = statuses[-1]

    assert peak < 5_000_000
    assert (last.tenants, last.outbox_files, last.outbox_bytes) == (2, 0, 0)
    assert last.refused == 2  # this one, and the prey, which is called what no file of an outbox is
    assert [line["file"] for line in logs if line["tenant"] == TENANT] == [ascii(file)]
    with Folder(tenant_folder(data, TENANT)) as folder, pytest.raises(Refused):
        listed = {entry.name: entry for entry in outbox.list_files(folder).files}
        for _ in outbox.verify(tenant_folder(data, TENANT), listed[file]) if file in listed else _refuse():
            pass


def _refuse() -> Any:
    raise Refused("listed as refused")


@pytest.mark.parametrize("name", ["a_link_to_another", "a_relative_link", "a_hard_link_to_another"])
def test_the_naive_reader_falls_for_it(data: Path, name: str) -> None:
    """The control: without care these attacks succeed."""
    assert read_naively(box(data) / do(name, data)) == SECRET


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("name", [*ATTACKS])
def test_last_words_are_nobody_elses(data: Path, name: str) -> None:
    """What is done to an outbox may be done to the file the host reads."""
    (box(data) / do(name, data)).rename(tenant_folder(data, TENANT) / DUE_FILE)
    prey(data).unlink(missing_ok=True)

    assert last_words.due(tenant_folder(data, TENANT)) is None


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("content", [b'{"at":1}', b'{"at":null}'])
def test_honest_last_words_are_read(data: Path, content: bytes) -> None:
    (tenant_folder(data, TENANT) / DUE_FILE).write_bytes(content)

    assert last_words.due(tenant_folder(data, TENANT)) is not None


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    "content", [b"", b"[" * 64, b'{"at":"\xff"}', b'{"at":1e400}', b'{"at":' + b"1" * 80 + b"}", b"\0" * 64]
)
def test_nonsense_is_nothing_said(data: Path, content: bytes) -> None:
    (tenant_folder(data, TENANT) / DUE_FILE).write_bytes(content)

    assert last_words.due(tenant_folder(data, TENANT)) is None


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("target", ["/", "..", "elsewhere"])
def test_an_outbox_that_leads_elsewhere_is_not_entered(data: Path, target: str) -> None:
    box(data).rmdir()
    (tenant_folder(data, TENANT) / "elsewhere").mkdir()
    (tenant_folder(data, TENANT) / "elsewhere" / NAME).write_bytes(sound_file())
    box(data).symlink_to(target)
    status = Watcher(data / "tenants").scan()

    assert (status.outbox_files, status.refused) == (0, 2)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("name", "reason"),
    [("../x", "outside"), ("/etc/passwd", "outside"), ("a\0b", "name"), ("x" * 256, "name"), ("x/" * 2048, "name"),
     ("outbox", "not a file"), ("absent", "missing"), ("due.json/x", "not a folder"), ("outbox/../../x", "outside"),
     ("..", "outside")],
)  # fmt: skip
def test_a_name_leads_nowhere_else(data: Path, name: str, reason: str) -> None:
    (tenant_folder(data, TENANT) / DUE_FILE).write_bytes(b"{}")
    with Folder(tenant_folder(data, TENANT)) as folder, pytest.raises(Refused) as refused:
        folder.read(name, bytes_max=100)

    assert refused.value.reason == reason


@pytest.mark.usefixtures("way")
def test_only_what_is_allowed_is_read(data: Path) -> None:
    (tenant_folder(data, TENANT) / "file").write_bytes(b"x" * 100)
    with Folder(tenant_folder(data, TENANT)) as folder:
        assert folder.read("file", bytes_max=100) == b"x" * 100
        with pytest.raises(Refused, match="too large"):
            folder.read("file", bytes_max=99)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("change", ["grows", "shrinks", "changes"])
def test_a_file_that_changes_while_it_is_read_is_refused(data: Path, change: str) -> None:
    path = tenant_folder(data, TENANT) / "file"
    path.write_bytes(bytes(1_000_000))
    with Folder(tenant_folder(data, TENANT)) as folder, pytest.raises(Refused, match="changing"):
        for _ in folder.pieces("file", bytes_max=2_000_000):
            with path.open("r+b") as file:
                match change:
                    case "grows":
                        file.truncate(1_000_001)
                    case "shrinks":
                        file.truncate(10)
                    case _:
                        file.write(b"other")


@pytest.mark.usefixtures("way")
def test_a_file_exchanged_all_the_time_is_the_one_or_refused(data: Path) -> None:
    """Another thread puts a file, a link to another tenant's and a pipe under one name, as fast as it can."""
    folder = tenant_folder(data, TENANT)
    (folder / "honest").write_bytes(b"mine")
    (folder / "link").symlink_to(prey(data))
    os.mkfifo(folder / "pipe")
    stop = threading.Event()

    def exchange() -> None:
        while not stop.is_set():
            for name in ("honest", "link", "pipe"):
                draft = folder / "draft"
                if name == "honest":
                    draft.write_bytes(b"mine")
                elif name == "link":
                    draft.symlink_to(prey(data))
                else:
                    os.mkfifo(draft)
                draft.replace(folder / "file")

    thread = threading.Thread(target=exchange)
    thread.start()
    read: set[bytes] = set()
    refused: set[str] = set()
    try:
        while not (read and len(refused) >= 2):
            with Folder(folder) as opened:
                try:
                    read.add(opened.read("file", bytes_max=100))
                except Refused as error:
                    refused.add(error.reason)
    finally:
        stop.set()
        thread.join()

    assert read <= {b"mine", b""}  # a file that is just being made is empty
    assert refused <= {"a link", "not a file", "missing", "changing", "linked"}


@pytest.mark.usefixtures("way")
def test_strange_names_are_refused_counted_and_logged_in_one_line(data: Path) -> None:
    for name in STRANGE_NAMES:
        (box(data) / name).write_bytes(sound_file())
    (box(data) / NAME).write_bytes(sound_file())
    with capture_logs() as logs:
        status = Watcher(data / "tenants").scan()

    assert (status.outbox_files, status.refused) == (1, len(STRANGE_NAMES) + 1)
    assert 0 < len(logs) <= 11
    assert all(line["file"].isascii() and line["file"].isprintable() for line in logs)


@pytest.mark.usefixtures("way")
def test_an_outbox_of_too_many_files_is_not_read_to_its_end(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "NAMES_MAX", 100)
    for number in range(outbox.NAMES_MAX + 1):
        (box(data) / str(number)).touch()
    with capture_logs() as logs:
        status = Watcher(data / "tenants").scan()

    assert (status.outbox_files, status.refused) == (0, 2)
    assert {line["reason"] for line in logs} == {"too many", "name"}


@pytest.mark.usefixtures("way")
def test_sound_files_wait_in_their_order(data: Path) -> None:
    prey(data).unlink()
    for txid, pages in ((7, 3), (8, 1), (9, 700)):
        (box(data) / file_name(txid, txid)).write_bytes(sound_file(txid, txid, pages=pages))
    (box(data) / file_name(10, 10)).with_suffix(".new").write_bytes(b"half writ")
    (box(data) / file_name(12, 12)).write_bytes(sound_file(12, 12))  # 11 is not there
    (box(data) / file_name(10, 11)).write_bytes(sound_file(10, 11))  # one name for two: another writer would have another
    watcher = Watcher(data / "tenants")
    status = watcher.scan()

    assert seen(status) == (3, 2)
    assert status.bytes > 0
    assert not status.replicating


@pytest.mark.usefixtures("way")
def test_what_is_put_into_an_outbox_is_noticed_and_what_is_taken_out(data: Path) -> None:
    prey(data).unlink()
    watcher = Watcher(data / "tenants")

    assert seen(watcher.scan()) == (0, 0)
    (box(data) / file_name(1, 1)).write_bytes(sound_file())
    assert seen(watcher.scan()) == (1, 0)
    (box(data) / file_name(2, 2)).write_bytes(b"nothing like it" * 50)
    assert seen(watcher.scan()) == (1, 1)
    (box(data) / file_name(2, 2)).unlink()
    (box(data) / file_name(2, 2)).write_bytes(sound_file(2, 2))
    assert seen(watcher.scan()) == (2, 0)
    for path in box(data).iterdir():
        path.unlink()
    assert seen(watcher.scan()) == (0, 0)


def seen(status: ReplicaStatus) -> tuple[int, int]:
    return status.outbox_files, status.refused


@pytest.mark.usefixtures("way")
def test_a_large_file_is_read_over_several_scans_and_holds_up_nobody(data: Path) -> None:
    prey(data).unlink()
    box(data).joinpath(file_name(1, 1)).write_bytes(sound_file(pages=100_000)[:-1])  # 50 MB, wrong at the very end
    (tenant_folder(data, OTHER) / OUTBOX / file_name(1, 1)).write_bytes(b"LTX1" + bytes(500))
    watcher = Watcher(data / "tenants")
    counts = [seen(watcher.scan()) for _ in range(8)]

    assert counts[0] == (1, 1)
    assert counts[-1] == (0, 2)


async def test_the_replicator_tells_what_it_has_seen(data: Path) -> None:
    (box(data) / NAME).write_bytes(sound_file())
    census = Census(Watcher(data / "tenants"))
    running = asyncio.ensure_future(census.run())
    status = await census.counts()
    running.cancel()

    assert (status.outbox_files, status.outbox_bytes, status.refused) == (1, len(sound_file()), 1)


def test_an_outbox_that_is_not_there_is_nothing(tmp_path: Path) -> None:
    tenant_folder(tmp_path, TENANT).mkdir(parents=True)

    assert seen(Watcher(tmp_path / "tenants").scan()) == (0, 0)
