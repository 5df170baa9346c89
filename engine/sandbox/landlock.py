"""Landlock: from now on this process may touch one folder, connect to nobody and signal nobody outside.

It binds the calling thread and its children, so it is applied before there is a second thread. What is open stays usable.
Source: ``linux/landlock.h`` and ``Documentation/userspace-api/landlock.rst`` of Linux 6.12.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Mapping

from engine.sandbox import system_calls

ABI_MIN = 6
"""The first that keeps signals and abstract sockets in, too (Linux 6.12)."""

_READ_FILE = 1 << 2
_WRITE_FILE, _READ_DIR, _REMOVE_FILE, _MAKE_REG, _TRUNCATE = 1 << 1, 1 << 3, 1 << 5, 1 << 8, 1 << 14

OWN_FOLDER = _READ_FILE | _WRITE_FILE | _READ_DIR | _MAKE_REG | _REMOVE_FILE | _TRUNCATE
"""What an engine may do beneath its folder: regular files alone. It makes no link, no pipe, no socket and no folder, so that
whoever reads there later finds none."""

_FILE_RIGHTS_MAX = 16
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
"""How many rights over files a version knows; those from 5 on know all sixteen. Each that is known is handled, so that what is
not granted is refused."""

_NET_SINCE, _NET = 4, 0b11
"""To bind and to connect TCP sockets."""

_SCOPED_SINCE, _SCOPED = 6, 0b11
"""Abstract Unix sockets and signals."""

_RULE_PATH_BENEATH = 1
_CREATE_RULESET_VERSION = 1


class _RulesetAttr(ctypes.Structure):
    _fields_ = [("handled_access_fs", ctypes.c_uint64), ("handled_access_net", ctypes.c_uint64), ("scoped", ctypes.c_uint64)]


class _PathBeneathAttr(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32)]


def abi() -> int:
    """Return the version of Landlock that this kernel has, 0 when it has none or has it switched off."""
    if system_calls.ARCHITECTURE is None:
        return 0
    try:
        return system_calls.call(system_calls.LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), _CREATE_RULESET_VERSION)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP):
            return 0
        raise


def create_ruleset(allowed: Mapping[int, int]) -> int:
    """Return the descriptor of a ruleset that allows what ``allowed`` says and nothing else.

    ``allowed`` maps descriptors of files and folders to rights over them and what is beneath.
    """
    version = abi()
    handled = (1 << _FILE_RIGHTS.get(version, _FILE_RIGHTS_MAX)) - 1
    attr = _RulesetAttr(handled, _NET if version >= _NET_SINCE else 0, _SCOPED if version >= _SCOPED_SINCE else 0)
    # Zeros in fields that a kernel does not know are taken for what they are.
    size = ctypes.c_size_t(ctypes.sizeof(attr))
    ruleset = system_calls.call(system_calls.LANDLOCK_CREATE_RULESET, ctypes.byref(attr), size, 0)
    try:
        for descriptor, rights in allowed.items():
            rule = _PathBeneathAttr(rights & handled, descriptor)
            system_calls.call(system_calls.LANDLOCK_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(rule), 0)
    except BaseException:
        os.close(ruleset)
        raise
    return ruleset


def restrict_self(ruleset: int) -> None:
    """Bind this thread to ``ruleset`` for good. It must have given up new privileges."""
    system_calls.call(system_calls.LANDLOCK_RESTRICT_SELF, ruleset, 0)
