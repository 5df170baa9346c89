"""A folder as an object store: what lies where, who may be killed when, and what a failing disk means."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from tenants.replica.objects import ObjectExists, StoreRefused, StoreUnavailable
from tenants.replica.stores.directory import DirectoryStore

STEPS_MAX = 100
"""More than any of the changes takes."""


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and ".locks" not in path.parts)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "objects"


def test_content_lies_where_litestream_looks_for_it(root: Path) -> None:
    key = "tenants/a/ltx/0000/0000000000000001-0000000000000001.ltx"
    DirectoryStore(root).create(key, b"content", {"litestream-timestamp": "2026-08-01T10:00:00.500Z"})

    place = "tenants/a/ltx/0/0000000000000001-0000000000000001.ltx"
    assert (root / place).read_bytes() == b"content"
    assert (root / place).stat().st_mtime == 1785578400.5
    assert [path for path in files(root) if path.startswith("tenants/")] == [place]
    for prefix in ("", "tenants/a/ltx/0", "tenants/a/ltx/00", "tenants/a/ltx/0000", "tenants/a/ltx/0000/"):
        assert [listed.key for listed in DirectoryStore(root).list(prefix)] == [key]
    assert [*DirectoryStore(root).list("tenants/a/ltx/0/")] == []


def test_nobody_else_may_look(root: Path) -> None:
    store = DirectoryStore(root)
    store.create("tenants/a/1", b"content", {"a": "b"})

    assert {path.stat().st_mode & 0o077 for path in [root, *root.rglob("*")]} == {0}


def test_a_copy_of_the_folder_is_a_copy_of_the_store(root: Path, tmp_path: Path) -> None:
    DirectoryStore(root).create("tenants/a/1", b"content", {"engram-epoch": "1"})
    subprocess.run(["cp", "-r", str(root), str(tmp_path / "copy")], check=True)

    stored, content = DirectoryStore(tmp_path / "copy").read("tenants/a/1", bytes_max=10)

    assert (stored.metadata, content) == ({"engram-epoch": "1"}, b"content")


def test_a_file_of_somebody_elses_is_an_object_of_which_nothing_is_known(root: Path) -> None:
    store = DirectoryStore(root)
    (root / "found").write_bytes(b"content")

    stored, content = store.read("found", bytes_max=10)

    assert (stored.metadata, content) == ({}, b"content")
    replaced = store.replace("found", b"ours", tag=stored.tag, metadata={"a": "b"})
    assert store.head("found") == replaced


def test_what_is_no_plain_file_is_no_object(root: Path, tmp_path: Path) -> None:
    store = DirectoryStore(root)
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "away").symlink_to(tmp_path)
    os.mkfifo(root / "pipe")
    (root / "folder").mkdir()

    assert [listed.key for listed in store.list("")] == []
    assert store.head("pipe") is None
    assert store.head("folder") is None
    with pytest.raises(StoreRefused):
        store.head("link")


def test_damaged_metadata_are_none(root: Path) -> None:
    store = DirectoryStore(root)
    store.create("key", b"content", {"a": "b"})
    (root / ".metadata" / "key+.json").write_bytes(b"\xff\x00{")

    stored, content = store.read("key", bytes_max=10)

    assert (stored.metadata, content) == ({}, b"content")


def test_drafts_of_the_dead_are_removed_and_those_of_the_living_are_not(root: Path) -> None:
    living = DirectoryStore(root)
    (root / ".drafts" / "1-dead").mkdir()
    (root / ".drafts" / "1-dead" / "draft").write_bytes(b"x")

    other = DirectoryStore(root)

    assert [path for path in files(root) if "dead" in path] == []
    living.create("key", b"content")
    other.close()
    living.close()
    assert files(root) == [".drafts/opening", ".metadata/key+.json", "key"]


def test_a_folder_of_many_files_is_listed_from_where_one_wants(root: Path) -> None:
    store = DirectoryStore(root)
    folder = root / "tenants" / "a" / "ltx" / "0"
    folder.mkdir(parents=True)
    for number in range(20_000):
        (folder / f"{number:016x}").touch()

    found = [listed.key for listed in store.list("tenants/a/ltx/0000/", after=f"tenants/a/ltx/0000/{19_990:016x}")]

    assert found == [f"tenants/a/ltx/0000/{number:016x}" for number in range(19_991, 20_000)]
    assert store.requests["list"] == 1


KILLED = """
import os, signal, sys
from pathlib import Path
from tenants.replica.stores.directory import DirectoryStore

def kill_at(step):
    seen = 0
    def count(event, arguments):
        nonlocal seen
        if event in ("open", "os.mkdir", "os.link", "os.rename", "os.remove", "os.rmdir", "os.utime"):
            seen += 1
            if seen == step:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(count)

change, base = sys.argv[1], Path(sys.argv[2])
for step in range(1, int(sys.argv[3])):
    store = DirectoryStore(base / str(step))
    if change != "create":
        tag = store.create("tenants/a/key", b"before", {"state": "before"}).tag
    child = os.fork()
    if child == 0:
        kill_at(step)
        if change == "create":
            store.create("tenants/a/key", b"after", {"state": "after"})
        elif change == "replace":
            store.replace("tenants/a/key", b"after", tag=tag, metadata={"state": "after"})
        else:
            store.delete(["tenants/a/key"])
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        sys.exit(os.WEXITSTATUS(status) or (print(step) or 0))
sys.exit("never finished")
"""
"""Does a change again and again, each time in a new folder, killed before its first, second, third … step on the disk."""


@pytest.mark.parametrize(
    ("change", "allowed"),
    [("create", {None, b"after"}), ("replace", {b"before", b"after"}), ("delete", {b"before", None})],
)
def test_killed_at_any_step(tmp_path: Path, change: str, allowed: set[bytes | None]) -> None:
    run = subprocess.run(
        [sys.executable, "-c", KILLED, change, str(tmp_path), str(STEPS_MAX)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    steps = int(run.stdout)
    seen = set()

    for step in range(1, steps + 1):
        store = DirectoryStore(tmp_path / str(step))
        found = store.head("tenants/a/key")
        state = None if found is None else store.read("tenants/a/key", bytes_max=10)[1]
        seen.add(state)
        if found is not None:
            assert state is not None
            assert found.metadata == {"state": state.decode()}, step
            assert found.size == len(state)
        assert [listed.key for listed in store.list("")] == ([] if found is None else ["tenants/a/key"])
        # What comes next finds nothing in its way.
        if found is None:
            store.create("tenants/a/key", b"next", {"state": "next"})
        else:
            with pytest.raises(ObjectExists):
                store.create("tenants/a/key", b"next")
            store.replace("tenants/a/key", b"next", tag=found.tag, metadata={"state": "next"})
        stored, content = store.read("tenants/a/key", bytes_max=10)
        assert (stored.metadata, content) == ({"state": "next"}, b"next")
        store.close()

    assert seen == allowed  # there are steps on both sides of the change
    assert files(tmp_path / str(steps)) == [".drafts/opening", ".metadata/tenants/a/key+.json", "tenants/a/key"]


@pytest.mark.skipif(os.geteuid() != 0, reason="a full disk is a file system of its own, which only root can mount")
def test_a_full_disk_is_unavailable_and_leaves_nothing(tmp_path: Path) -> None:
    root = tmp_path / "small"
    root.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(root)], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        store = DirectoryStore(root)
        store.create("small", b"content")

        with pytest.raises(StoreUnavailable):
            store.create("large", bytes(2**21))

        assert [listed.key for listed in store.list("")] == ["small"]
        store.create("other", b"content")
        store.close()
    finally:
        subprocess.run(["umount", str(root)], check=True)


NOBODY = 65_534
DONE, REFUSED, FAILED = 0, 3, 4


def as_nobody(folder: Path, action: Callable[[DirectoryStore], object]) -> int:
    """Use ``folder``, which is made theirs, in a child of another user: root may write everywhere."""
    if os.geteuid() == 0:
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, NOBODY, NOBODY)
    child = os.fork()
    if child == 0:
        try:
            os.chdir(folder)  # they may not come to it by its name
            if os.geteuid() == 0:
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            action(DirectoryStore(Path()))
        except StoreRefused:
            os._exit(REFUSED)
        except BaseException:
            traceback.print_exc()
            os._exit(FAILED)
        os._exit(DONE)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_folder_that_may_not_be_written_is_refused(root: Path) -> None:
    store = DirectoryStore(root)
    store.create("tenants/1", b"")
    assert as_nobody(root, lambda store: store.create("tenants/2", b"")) == DONE

    (root / "tenants").chmod(0o500)
    assert as_nobody(root, lambda store: store.create("tenants/3", b"")) == REFUSED

    (root / ".drafts").chmod(0o500)
    assert as_nobody(root, lambda store: store.close()) == REFUSED


def test_a_listing_does_not_look_into_what_comes_before(root: Path) -> None:
    store = DirectoryStore(root)
    store.create("tenants/a/1", b"")
    store.create("tenants/b/1", b"")
    (root / "tenants" / "a").chmod(0)

    assert as_nobody(root, lambda store: list(store.list("tenants/"))) == REFUSED
    assert as_nobody(root, lambda store: list(store.list("tenants/", after="tenants/a0"))) == DONE


def test_a_key_within_another_is_refused(root: Path) -> None:
    """S3 would take both. A folder can't, and no key of ours is part of another."""
    store = DirectoryStore(root)
    store.create("a", b"")

    with pytest.raises(StoreRefused):
        store.create("a/b", b"")
    assert store.head("a/b") is None


def test_a_folder_that_vanished_is_unavailable(root: Path, tmp_path: Path) -> None:
    """Whoever took it for an empty one would begin every tenant's history anew."""
    store = DirectoryStore(root)
    store.create("key", b"")
    root.rename(tmp_path / "elsewhere")
    root.mkdir()  # where a disk was mounted there is an empty folder afterwards

    for action in (
        lambda: store.create("key", b""),
        lambda: store.replace("key", b"", tag=None),
        lambda: store.head("key"),
        lambda: store.read("key", bytes_max=1),
        lambda: list(store.list("")),
        lambda: store.delete(["key"]),
    ):
        with pytest.raises(StoreUnavailable):
            action()


def test_a_sidecar_is_json_that_a_person_can_read(root: Path) -> None:
    DirectoryStore(root).create("key", b"", {"engram-epoch": "1"})

    (state,) = json.loads((root / ".metadata" / "key+.json").read_text())["states"]

    assert state["metadata"] == {"engram-epoch": "1"}


def test_writers_in_several_processes_have_one_winner(root: Path) -> None:
    """``flock`` and ``link`` hold between processes as between threads."""
    script = (
        "import sys; from pathlib import Path; from tenants.replica.objects import ObjectExists\n"
        "from tenants.replica.stores.directory import DirectoryStore\n"
        "store, won = DirectoryStore(Path(sys.argv[1])), 0\n"
        "for number in range(50):\n"
        "    try: store.create(f'race/{number}', sys.argv[2].encode(), {'by': sys.argv[2]}); won += 1\n"
        "    except ObjectExists: pass\n"
        "print(won)"
    )
    racers = [
        subprocess.Popen([sys.executable, "-c", script, str(root), str(number)], stdout=subprocess.PIPE, text=True)
        for number in range(4)
    ]
    try:
        won = [int(racer.communicate()[0]) for racer in racers]
    finally:
        for racer in racers:
            if racer.poll() is None:
                racer.send_signal(signal.SIGKILL)
                racer.wait()

    store = DirectoryStore(root)
    assert sum(won) == 50
    for number in range(50):
        stored, content = store.read(f"race/{number}", bytes_max=10)
        assert stored.metadata == {"by": content.decode()}
