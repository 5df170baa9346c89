"""Getting back what was given up: users, powers, namespaces, limits."""

from __future__ import annotations

import os
import resource
import struct
from pathlib import Path

from tests.isolation.attack import CATALOGUE, Targets
from tests.isolation.system import buffer, call, read

attack = CATALOGUE.family("privileges")

_NEWNS, _NEWUTS, _NEWUSER, _NEWPID, _NEWNET = 0x20000, 0x4000000, 0x10000000, 0x20000000, 0x40000000
_SIGCHLD = 17
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4
_READ_IMPLIES_EXEC = 0x0400000
_CAPABILITIES_3 = 0x20080522
_SYS_ADMIN_BIT = 1 << 21


@attack()
def become_root(_: Targets) -> str:
    """Become root by setuid."""
    call("setuid", 0)
    return f"user {os.geteuid()}"


@attack()
def join_roots_group(_: Targets) -> str:
    """Join root's group by setgid."""
    call("setgid", 0)
    return f"group {os.getegid()}"


@attack()
def join_more_groups(_: Targets) -> str:
    """Join more groups by setgroups."""
    call("setgroups", 1, buffer(struct.pack("I", 0)))
    return f"groups {os.getgroups()}"


@attack(steals="neighbour")
def become_neighbour(targets: Targets) -> bytes:
    """Become the neighbour's user and read its file."""
    user = targets.neighbour_user
    call("setresuid", user, user, user)
    return read(targets.neighbour_file)


@attack()
def regain_capabilities(_: Targets) -> str:
    """Give itself the capability to administer the machine."""
    header, data = (
        buffer(struct.pack("Ii", _CAPABILITIES_3, 0)),
        buffer(struct.pack("6I", _SYS_ADMIN_BIT, _SYS_ADMIN_BIT, 0, 0, 0, 0)),
    )
    call("capset", header, data)
    return "it has it"


@attack()
def outlive_the_fork_server(_: Targets) -> str:
    """Undo that it ends with the fork server."""
    call("prctl", _PR_SET_PDEATHSIG, 0, 0, 0, 0)
    return "it would live on"


@attack()
def be_traced(_: Targets) -> str:
    """Make itself dumpable, so that whoever is its user may trace it."""
    call("prctl", _PR_SET_DUMPABLE, 1, 0, 0, 0)
    return "it is"


@attack()
def make_data_executable(_: Targets) -> str:
    """Have all that it can read be executable, by personality."""
    call("personality", _READ_IMPLIES_EXEC)
    return "it is"


@attack()
def enter_user_namespace(_: Targets) -> str:
    """Become root of a new user namespace."""
    call("unshare", _NEWUSER)
    return os.readlink("/proc/self/ns/user")


@attack()
def clone_into_user_namespace(_: Targets) -> str:
    """Have a child that is root of a new user namespace."""
    pid = call("clone", _NEWUSER | _SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return f"process {pid}"


@attack()
def enter_mount_namespace(_: Targets) -> str:
    """Get mounts of its own."""
    call("unshare", _NEWNS)
    return os.readlink("/proc/self/ns/mnt")


@attack()
def enter_network_namespace(_: Targets) -> str:
    """Get a network of its own."""
    call("unshare", _NEWNET)
    return os.readlink("/proc/self/ns/net")


@attack()
def enter_process_namespace(_: Targets) -> str:
    """Get process numbers of its own."""
    call("unshare", _NEWPID)
    return "its children would"


@attack()
def join_neighbours_namespace(targets: Targets) -> str:
    """Join the mounts of the neighbour's process, by setns."""
    process = call("pidfd_open", targets.neighbour_pid, 0)
    call("setns", process, _NEWUTS)
    return "it has joined"


@attack()
def raise_limits(_: Targets) -> str:
    """Take away its own limit of memory."""
    unlimited = buffer(struct.pack("QQ", 2**64 - 1, 2**64 - 1))
    call("prlimit64", 0, resource.RLIMIT_AS, unlimited, 0)
    return "it has none"


@attack()
def be_spared_when_memory_ends(_: Targets) -> str:
    """Have the kernel rather end somebody else when memory runs out."""
    descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
    os.write(descriptor, b"0")
    return "it is as likely as any"


@attack()
def leave_control_group(targets: Targets) -> str:
    """Leave the control group that limits the engines' memory."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "engram-" in path:
            root = f"/sys/fs/cgroup/{controllers}" if controllers else "/sys/fs/cgroup"
            parent = Path(root + path).parent
            (parent / "cgroup.procs").write_text(str(os.getpid()))
            return f"it is in {parent}"
    raise OSError(38, "there is no such group")
