"""The kernel's large doors, and the machine as a whole. What would harm it is asked for in a way that can't be carried out."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import struct
import termios

from tests.isolation.attack import CATALOGUE, Targets
from tests.isolation.attacks.files import own_folder
from tests.isolation.system import AT_FDCWD, buffer, call, gets_past_the_guard

attack = CATALOGUE.family("machine")

_BPF_MAP_CREATE, _BPF_ARRAY = 0, 2
_KEYCTL_GET_KEYRING, _SESSION_KEYRING, _PROCESS_KEYRING = 0, -3, -2
_SYSLOG_READ_ALL = 3
_WRONG_MAGIC = 1
_NO_SUCH_FLAG = 0x40
_ZERO_DEVICE = os.makedev(1, 5)
_S_IFCHR = 0o020000


@attack()
def use_io_uring(_: Targets) -> str:
    """Set up an io_uring, whose requests no filter sees."""
    return f"descriptor {call('io_uring_setup', 1, buffer(120))}"


@attack()
def use_bpf(_: Targets) -> str:
    """Make a BPF map."""
    attributes = buffer(struct.pack("IIII", _BPF_ARRAY, 4, 4, 1).ljust(128, b"\0"))
    return f"descriptor {call('bpf', _BPF_MAP_CREATE, attributes, 128)}"


@attack()
def use_keyring(_: Targets) -> str:
    """Find the session's keyring."""
    return f"keyring {call('keyctl', _KEYCTL_GET_KEYRING, _SESSION_KEYRING, 1)}"


@attack()
def add_key(_: Targets) -> str:
    """Put a key into the kernel."""
    return f"key {call('add_key', 'user', 'engram', b'secret', 6, _PROCESS_KEYRING)}"


@attack()
def read_kernel_log(_: Targets) -> str:
    """Read the kernel's log."""
    return f"{call('syslog', _SYSLOG_READ_ALL, buffer(256), 256)} bytes"


@attack()
def restart_machine(_: Targets) -> str:
    """Restart the machine."""
    return gets_past_the_guard(errno.EINVAL, "reboot", _WRONG_MAGIC, 0, 0, 0)


@attack()
def rename_machine(_: Targets) -> str:
    """Name the machine."""
    name = os.uname().nodename
    call("sethostname", name, len(os.fsencode(name)))
    return "it is named as it was"


@attack()
def set_clock(_: Targets) -> str:
    """Set the clock."""
    call("settimeofday", 0, 0)
    return "it may; nothing was set"


@attack()
def use_own_file_as_swap(targets: Targets) -> str:
    """Give the kernel a file of its own to swap to."""
    path = f"{own_folder(targets)}/swap"
    with open(path, "wb") as file:
        file.write(bytes(65536))
    return gets_past_the_guard(errno.EINVAL, "swapon", path, 0)


@attack()
def load_module(_: Targets) -> str:
    """Load a kernel module."""
    return gets_past_the_guard(errno.ENOEXEC, "init_module", buffer(8), 8, "")


@attack()
def load_other_kernel(_: Targets) -> str:
    """Load another kernel to start later."""
    return gets_past_the_guard(errno.EINVAL, "kexec_load", 0, 0, 0, _NO_SUCH_FLAG)


@attack()
def use_ports(_: Targets) -> str:
    """Speak to devices by their ports."""
    call("iopl", 3)
    return "it may"


@attack()
def make_device(targets: Targets) -> str:
    """Make a device in its folder and read from it."""
    path = f"{own_folder(targets)}/device"
    call("mknodat", AT_FDCWD, path, _S_IFCHR | 0o600, _ZERO_DEVICE)
    with open(path, "rb") as device:
        return f"it says {device.read(4).hex()}"


@attack()
def open_device(_: Targets) -> str:
    """Open a device of the machine."""
    os.close(call("openat", AT_FDCWD, "/dev/ptmx", os.O_RDWR | os.O_NOCTTY, 0))
    return "it is open"


@attack()
def type_into_a_terminal(targets: Targets) -> str:
    """Type into a terminal as if somebody sat there."""
    _, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSTI, b"x")
    return "a letter is typed"
