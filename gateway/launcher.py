"""Starts one of the two programs that know secrets, with no more of them than it needs.

An environment can't be handed over on a command line, which everybody on the machine can read. So the supervisor starts this,
which inherits all that ``engram up`` was given, keeps what the program may know and becomes the program.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Mapping

_MODULES = {"gateway": "gateway.main", "replicator": "tenants.replica.main"}

_STORE_PREFIX = "AWS_"
"""Credentials of the object store, and whatever else boto3 reads."""

_REPLICATOR_MAY_KNOW = {
    "ENGRAM_DATA_DIR",
    "ENGRAM_MASTER_KEY",
    "ENGRAM_REPLICA_URL",
    "ENGRAM_SUPERVISOR",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "LANG",
    "NO_PROXY",
    "PATH",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "TMPDIR",
    "TZ",
}


def environment_of(program: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return what ``gateway`` or ``replicator`` may know of ``environment``: neither has the other's credentials."""
    if program == "replicator":
        kept = {
            name: value for name, value in environment.items() if name.startswith(_STORE_PREFIX) or name in _REPLICATOR_MAY_KNOW
        }
        kept["OPENBLAS_NUM_THREADS"] = "1"  # it computes little, and each thread would hold memory for it
    else:
        kept = {name: value for name, value in environment.items() if not name.startswith(_STORE_PREFIX)}
    return kept | {"PYTHONUTF8": "1"}


def main() -> None:
    """Become the program that the command line names."""
    (program,) = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # it would hold the keys, and lie where nobody looks for them
    command = [sys.executable, "-P", "-m", _MODULES[program]]
    os.execve(sys.executable, command, environment_of(program, os.environ))  # noqa: S606


if __name__ == "__main__":
    main()
