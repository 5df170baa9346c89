"""A disk that fails: errors that strace puts in the place of an engine's system calls, and small file systems that fill up."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.tenants.conftest import Node

FILE_CALLS = "pwrite64,fdatasync,fsync,ftruncate"

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")


@contextmanager
def running_node(folder: Path) -> Iterator[Node]:
    """Start a fork server and a host in ``folder``."""
    with closing(Node(folder)) as node:
        node.start("engine.fork_server")
        node.start("tenants.host.main")
        yield node


@contextmanager
def injected(pid: int, *faults: str) -> Iterator[None]:
    """Let calls of the process fail for the block: each fault is what strace(1) takes after ``inject=``."""
    expressions = [argument for fault in faults for argument in ("-e", f"inject={fault}")]
    command = ["strace", "-f", "-p", str(pid), "-o", "/dev/null", "-e", f"trace={FILE_CALLS}", *expressions]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    try:
        said = tracer.stderr.readline()
        assert "attached" in said, said
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(30)
        tracer.stderr.close()


@contextmanager
def small_disk(folder: Path, size_mb: int) -> Iterator[Path]:
    """Mount a file system of so many megabytes in ``folder``, which is made."""
    folder.mkdir()
    options = f"size={size_mb}m,mode=700"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path: Path, *, leave_bytes: int = 0) -> None:
    """Write a file at ``path`` until the file system has only so much left."""
    with path.open("ab", buffering=0) as file:
        while (free := free_bytes(path.parent) - leave_bytes) > 0:
            try:
                file.write(bytes(min(free, 1024 * 1024)))
            except OSError:
                return


def free_bytes(folder: Path) -> int:
    """Return what is free on the file system of ``folder``."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize
