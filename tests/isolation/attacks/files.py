"""The neighbour's files and the node's, by every way of naming them."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path
from typing import Any

from tests.isolation.attack import CATALOGUE, Targets
from tests.isolation.system import AT_FDCWD, buffer, call, gets_past_the_guard, read

attack = CATALOGUE.family("files")

_OPEN_TREE_CLONE = 1
_MNT_DETACH = 2
_FAN_NONBLOCK = 2
_UP = "../" * 12


def own_folder(targets: Targets) -> str:
    """Return the engine's own folder as it can name it: ``/`` where that is its root."""
    try:
        call("faccessat", AT_FDCWD, f"{targets.folder}/memory.db", os.F_OK)
    except OSError:
        return "/"
    return targets.folder


@attack(steals="neighbour")
def read_by_absolute_path(targets: Targets) -> bytes:
    """Read the neighbour's file by its absolute path."""
    return read(targets.neighbour_file)


@attack(steals="neighbour")
def read_by_dot_dot(targets: Targets) -> bytes:
    """Read the neighbour's file through .. from its own folder."""
    return read(f"{own_folder(targets)}/{_UP}{targets.neighbour_file}")


@attack(steals="neighbour")
def read_through_proc_self_root(targets: Targets) -> bytes:
    """Read the neighbour's file through /proc/self/root."""
    return read(f"/proc/self/root{targets.neighbour_file}")


@attack(steals="neighbour")
def read_by_handle(targets: Targets) -> bytes:
    """Read the neighbour's file by the file system's own handle of it."""
    mount = call("openat", AT_FDCWD, own_folder(targets), os.O_RDONLY | os.O_DIRECTORY, 0)
    descriptor = call("open_by_handle_at", mount, buffer(targets.neighbour_handle), os.O_RDONLY)
    return os.read(descriptor, 1 << 20)


@attack(steals="neighbour")
def read_after_chroot(targets: Targets) -> bytes:
    """Leave its root by a second chroot with a folder kept open, then read the neighbour's file."""
    folder = own_folder(targets)
    kept = call("openat", AT_FDCWD, folder, os.O_RDONLY | os.O_DIRECTORY, 0)
    call("chroot", f"{folder}/outbox")
    os.fchdir(kept)
    os.chdir(_UP)
    call("chroot", ".")
    return read(targets.neighbour_file)


@attack(steals="pipe")
def read_from_a_pipe(targets: Targets) -> bytes:
    """Read from the neighbour's named pipe."""
    return read(targets.neighbour_pipe)


@attack(steals="control")
def read_control_plane(targets: Targets) -> bytes:
    """Read the control plane's database."""
    return read(targets.path("control.db"))


@attack(steals="log")
def read_log(targets: Targets) -> bytes:
    """Read the node's log."""
    return read(targets.log)


@attack(steals="model")
def read_model(targets: Targets) -> bytes:
    """Read the embedding model's folder."""
    return read(targets.path("models", "model.bin"))


@attack()
def get_handle(targets: Targets) -> str:
    """Have the neighbour's file named by a handle."""
    handle = buffer(struct.pack("Ii", 128, 0) + bytes(128))
    call("name_to_handle_at", AT_FDCWD, targets.neighbour_file, handle, buffer(8), 0)
    return handle.raw[:8].hex()


@attack()
def stat_neighbour(targets: Targets) -> str:
    """See the size and times of the neighbour's file."""
    call("statx", AT_FDCWD, targets.neighbour_file, 0, 0x7FF, status := buffer(256))
    return f"{struct.unpack_from('Q', status, 40)[0]} bytes"


@attack()
def statfs_neighbour(targets: Targets) -> str:
    """See how full the disk below the neighbour's folder is."""
    call("statfs", targets.neighbour_folder, status := buffer(256))
    return f"{struct.unpack_from('q', status, 24)[0]} blocks are free"


@attack()
def access_neighbour(targets: Targets) -> str:
    """Ask whether the neighbour's folder exists."""
    call("faccessat", AT_FDCWD, targets.neighbour_folder, os.F_OK)
    return "it exists"


@attack()
def list_tenants(targets: Targets) -> str:
    """List the tenants' folders."""
    return _found(targets.neighbour, [name for _, names, _ in _walk(targets.path("tenants")) for name in names])


@attack()
def list_sockets(targets: Targets) -> str:
    """List the engines' sockets."""
    return _found(f"{targets.neighbour}.sock", os.listdir(targets.path("run", "engines")))


@attack()
def watch_neighbour_with_inotify(targets: Targets) -> str:
    """Be told what happens in the neighbour's folder, by inotify."""
    descriptor = call("inotify_init1", os.O_NONBLOCK)
    return f"watch {call('inotify_add_watch', descriptor, targets.neighbour_folder, 0xFFF)}"


@attack()
def watch_neighbour_with_fanotify(targets: Targets) -> str:
    """Be told what happens to the neighbour's file, by fanotify."""
    descriptor = call("fanotify_init", _FAN_NONBLOCK, os.O_RDONLY)
    call("fanotify_mark", descriptor, 1, 0x3, AT_FDCWD, targets.neighbour_file)
    return "it is watched"


def _spoilt(scene: Any) -> str:
    """The spare file is not as it was."""
    path = Path(scene.targets.neighbour_spare)
    if not path.exists():
        return "the neighbour's file is gone"
    status = path.stat()
    now = (path.read_bytes(), status.st_mode & 0o7777, status.st_uid)
    return "" if now == scene.spare else f"the neighbour's file is {now}"


@attack(seen=_spoilt)
def truncate_neighbour(targets: Targets) -> None:
    """Empty a file of the neighbour's."""
    call("truncate", targets.neighbour_spare, 0)


@attack(seen=_spoilt)
def overwrite_neighbour(targets: Targets) -> None:
    """Write into a file of the neighbour's."""
    descriptor = call("openat", AT_FDCWD, targets.neighbour_spare, os.O_WRONLY, 0)
    os.write(descriptor, b"mine")


@attack(seen=_spoilt)
def open_neighbour_to_all(targets: Targets) -> None:
    """Change the mode of a file of the neighbour's."""
    call("fchmodat", AT_FDCWD, targets.neighbour_spare, 0o666)


@attack(seen=_spoilt)
def take_from_neighbour(targets: Targets) -> None:
    """Change the owner of a file of the neighbour's."""
    call("fchownat", AT_FDCWD, targets.neighbour_spare, 65534, -1, 0)


@attack(seen=_spoilt)
def rename_neighbour(targets: Targets) -> None:
    """Rename a file of the neighbour's."""
    call("renameat2", AT_FDCWD, targets.neighbour_spare, AT_FDCWD, f"{targets.neighbour_spare}.gone", 0)


@attack(seen=_spoilt)
def remove_neighbour(targets: Targets) -> None:
    """Remove a file of the neighbour's."""
    call("unlinkat", AT_FDCWD, targets.neighbour_spare, 0)


@attack(seen=lambda scene: "it is there" if (scene.folder / "run" / "planted").exists() else "")
def write_beside_the_sockets(targets: Targets) -> None:
    """Make a file in the node's run folder."""
    os.close(call("openat", AT_FDCWD, targets.path("run", "planted"), os.O_WRONLY | os.O_CREAT, 0o600))


@attack()
def mount_a_file_system(targets: Targets) -> str:
    """Mount a file system over its own outbox."""
    over = f"{own_folder(targets)}/outbox"
    call("mount", "none", over, "tmpfs", 0, 0)
    call("umount2", over, _MNT_DETACH)
    return "mounted, and taken away again"


@attack()
def change_the_root_mount(targets: Targets) -> str:
    """Change the root of its mounts."""
    return gets_past_the_guard(errno.EBUSY, "pivot_root", own_folder(targets), own_folder(targets))


@attack()
def clone_neighbours_tree(targets: Targets) -> str:
    """Get a private copy of the mount that holds the neighbour's folder."""
    return f"descriptor {call('open_tree', AT_FDCWD, targets.neighbour_folder, _OPEN_TREE_CLONE)}"


def _walk(folder: str) -> list[tuple[str, list[str], list[str]]]:
    failures: list[OSError] = []
    found = list(os.walk(folder, onerror=failures.append))
    if not found:
        raise failures[0]
    return found


def _found(wanted: str, names: list[str]) -> str:
    if wanted not in names:
        raise FileNotFoundError(errno.ENOENT, "it is not in the list")
    return wanted
