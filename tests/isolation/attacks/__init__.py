"""What a compromised engine tries, one file per family.

Nothing here is imported late: an engine in its box could not. Whatever an attack changes it changes in the prover's own
folder and processes, or in itself; an engine lives for one attack.
"""

from tests.isolation.attacks import (
    code,
    databases,
    detection,
    files,
    links,
    machine,
    memory,
    outbox,
    privileges,
    processes,
    signals,
    sockets,
    voice,
)

__all__ = [
    "code",
    "databases",
    "detection",
    "files",
    "links",
    "machine",
    "memory",
    "outbox",
    "privileges",
    "processes",
    "signals",
    "sockets",
    "voice",
]
