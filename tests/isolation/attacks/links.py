"""Names in the engine's own folder that lead to the neighbour, made by the engine or found there."""

from __future__ import annotations

import os

from tests.isolation.attack import CATALOGUE, Targets
from tests.isolation.attacks.files import own_folder
from tests.isolation.system import AT_FDCWD, call, read

attack = CATALOGUE.family("links")

PLANTED_LINK, PLANTED_NAME = "planted-symlink", "planted-hard-link"
"""Both lead to the neighbour's file: a restore or somebody's script left them there."""


@attack(steals="neighbour")
def read_through_own_symlink(targets: Targets) -> bytes:
    """Make a symbolic link to the neighbour's file and read through it."""
    path = f"{own_folder(targets)}/own-symlink"
    call("symlinkat", targets.neighbour_file, AT_FDCWD, path)
    return read(path)


@attack(steals="neighbour")
def read_through_own_hard_link(targets: Targets) -> bytes:
    """Give the neighbour's file a second name in its own folder and read that."""
    path = f"{own_folder(targets)}/own-hard-link"
    call("linkat", AT_FDCWD, targets.neighbour_file, AT_FDCWD, path, 0)
    return read(path)


@attack(steals="neighbour")
def read_through_planted_symlink(targets: Targets) -> bytes:
    """Read through a symbolic link to the neighbour's file that lies in its folder."""
    return read(f"{own_folder(targets)}/{PLANTED_LINK}")


@attack(steals="neighbour")
def read_through_planted_hard_link(targets: Targets) -> bytes:
    """Read the neighbour's file by a second name of it that lies in its own folder."""
    return read(f"{own_folder(targets)}/{PLANTED_NAME}")


@attack(steals="neighbour")
def move_into_own_folder(targets: Targets) -> bytes:
    """Exchange a file of its own for the neighbour's and read that."""
    path = f"{own_folder(targets)}/exchanged"
    os.close(call("openat", AT_FDCWD, path, os.O_WRONLY | os.O_CREAT, 0o600))
    call("renameat2", AT_FDCWD, path, AT_FDCWD, targets.neighbour_file, 2)
    try:
        return read(path)
    finally:
        call("renameat2", AT_FDCWD, path, AT_FDCWD, targets.neighbour_file, 2)
