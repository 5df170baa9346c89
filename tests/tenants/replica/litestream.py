"""The real Litestream: its reader as an extension of SQLite's command line, and its program, built from source.

Both read a tree that is not encrypted from a folder and from a bucket. What they make of it is what ours must make of it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import litestream_vfs
import pytest

from tests.tenants.replica.histories import TENANT
from tests.tenants.replica.s3_server import CREDENTIALS

VERSION = "v0.5.17"
MODULE = f"github.com/benbjohnson/litestream/cmd/litestream@{VERSION}"


def replica_url(store_address: str) -> str:
    """Return what Litestream calls the tenant's tree in the store at ``store_address``."""
    if store_address.startswith("file://"):
        return f"{store_address}/tenants/{TENANT}"
    parts = urlsplit(store_address)
    return f"s3://{parts.netloc}{parts.path}/tenants/{TENANT}/ltx?{parts.query}&forcePathStyle=true"


def environment(**variables: str) -> dict[str, str]:
    """Return what a program of Litestream's needs of ours."""
    # An authority of its own, instead of the machine's, is more than its S3 client takes together with an address of a server.
    kept = {name: value for name, value in os.environ.items() if name != "AWS_CA_BUNDLE"}
    return kept | CREDENTIALS | variables


def moment(at_ms: int) -> str:
    """Return a time as Litestream takes it."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Reader:
    """SQLite's command line, reading from the store."""

    def __init__(self) -> None:
        program = shutil.which("sqlite3")
        if program is None:
            pytest.skip("SQLite's command line is not installed (Debian: sqlite3)")
        self._program = program

    def query(self, url: str, *statements: str) -> list[Any]:
        """Return the rows of the last statement."""
        lines = [f".load {litestream_vfs.loadable_path()}", ".open file:any?vfs=litestream", *statements[:-1], ".mode json"]
        return json.loads(self._run(url, [*lines, statements[-1]], {}) or "[]")

    def fetch(self, url: str, path: Path) -> None:
        """Have it write the whole database to ``path``."""
        variables = {"LITESTREAM_HYDRATION_ENABLED": "true", "LITESTREAM_HYDRATION_PATH": str(path)}
        process = self._start(url, variables)
        assert process.stdin is not None
        assert process.stdout is not None
        with process:
            process.stdin.write(f".load {litestream_vfs.loadable_path()}\n.open file:any?vfs=litestream\n")
            progress = ""
            while progress != "100":
                process.stdin.write("SELECT 'at'; PRAGMA litestream_hydration_progress;\n")
                process.stdin.flush()
                assert process.stdout.readline() == "at\n"
                progress = process.stdout.readline().strip().removesuffix(".0")
            process.stdin.close()
        assert process.returncode == 0

    def _run(self, url: str, lines: list[str], variables: Mapping[str, str]) -> str:
        process = self._start(url, variables)
        output, _ = process.communicate("".join(f"{line}\n" for line in lines))
        assert process.returncode == 0
        return output

    def _start(self, url: str, variables: Mapping[str, str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self._program, "-batch", "-bail"],
            env=environment(LITESTREAM_REPLICA_URL=url, **variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


def build() -> Path:
    """Return the program, built once for all checkouts of this machine's user."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("there is no Go toolchain to build Litestream with")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "engram-cloud" / f"litestream-{VERSION}"
    program = folder / "litestream"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        built = subprocess.run(
            [go, "install", MODULE], env=os.environ | {"GOBIN": str(folder)}, capture_output=True, text=True, check=False
        )
        if built.returncode:
            pytest.skip(f"Litestream could not be built: {built.stderr[-500:]}")
    return program


def restore(program: Path, url: str, path: Path, *options: str) -> bytes:
    """Have Litestream restore to ``path`` and return what it wrote."""
    path.unlink(missing_ok=True)
    done = subprocess.run(
        [program, "restore", *options, "-o", path, url], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return path.read_bytes()
