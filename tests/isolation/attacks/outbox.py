"""What the engine leaves in its own folder for those who read there: nothing but regular files of bounded size, of nobody's
powers."""

from __future__ import annotations

import errno
import os
import socket

from tests.isolation.attack import CATALOGUE, Targets
from tests.isolation.attacks.files import own_folder
from tests.isolation.system import AT_FDCWD, call

attack = CATALOGUE.family("outbox")

_S_IFIFO, _S_IFSOCK = 0o010000, 0o140000
HUGE_BYTES = 1 << 40


def _out(targets: Targets, name: str) -> str:
    return f"{own_folder(targets)}/outbox/{name}"


@attack()
def leave_symlink(targets: Targets) -> str:
    """Leave a symbolic link to the control plane in its outbox."""
    call("symlinkat", targets.path("control.db"), AT_FDCWD, path := _out(targets, "link.ltx"))
    return os.readlink(path)


@attack()
def leave_pipe(targets: Targets) -> str:
    """Leave a named pipe in its outbox, on which a reader would hang."""
    call("mknodat", AT_FDCWD, path := _out(targets, "pipe.ltx"), _S_IFIFO | 0o666, 0)
    return oct(os.stat(path).st_mode)


@attack()
def leave_socket(targets: Targets) -> str:
    """Leave a socket in its outbox."""
    call("mknodat", AT_FDCWD, path := _out(targets, "socket.ltx"), _S_IFSOCK | 0o666, 0)
    return oct(os.stat(path).st_mode)


@attack()
def leave_folder(targets: Targets) -> str:
    """Leave a folder in its outbox."""
    call("mkdirat", AT_FDCWD, path := _out(targets, "folder.ltx"), 0o777)
    return oct(os.stat(path).st_mode)


@attack()
def leave_bound_socket(targets: Targets) -> str:
    """Listen on a socket in its outbox."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path := _out(targets, "bound.ltx"))
    return oct(os.stat(path).st_mode)


@attack()
def leave_set_user_file(targets: Targets) -> str:
    """Make a file of its own run as its user, by chmod."""
    os.close(call("openat", AT_FDCWD, path := _out(targets, "set-user.ltx"), os.O_WRONLY | os.O_CREAT, 0o755))
    call("fchmodat", AT_FDCWD, path, 0o4755)
    return _set_id(path)


@attack()
def create_set_user_file(targets: Targets) -> str:
    """Make a file that runs as its user from the beginning."""
    os.close(call("openat", AT_FDCWD, path := _out(targets, "born-set-user.ltx"), os.O_WRONLY | os.O_CREAT, 0o4755))
    return _set_id(path)


@attack()
def leave_huge_file(targets: Targets) -> str:
    """Make a file of a tebibyte that takes no room."""
    descriptor = call("openat", AT_FDCWD, path := _out(targets, "huge.ltx"), os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.ftruncate(descriptor, HUGE_BYTES)
        return f"{os.stat(path).st_size} bytes"
    finally:
        os.close(descriptor)


@attack()
def leave_outbox(targets: Targets) -> str:
    """Put something else in the place of its outbox."""
    folder = own_folder(targets)
    call("renameat2", AT_FDCWD, f"{folder}/outbox", AT_FDCWD, f"{folder}/gone", 0)
    call("symlinkat", "/", AT_FDCWD, f"{folder}/outbox")
    link = os.readlink(f"{folder}/outbox")
    os.unlink(f"{folder}/outbox")
    os.rename(f"{folder}/gone", f"{folder}/outbox")
    return link


def _set_id(path: str) -> str:
    mode = os.stat(path).st_mode
    if not mode & 0o4000:
        raise PermissionError(errno.EPERM, "the bit was left out")
    return oct(mode)
