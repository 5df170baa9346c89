"""What an engine that was taken over may leave in its outbox, each a small function, and the naive reader that falls for it.

An attack gets the outbox and the file of somebody else that it is after, and leaves a ``<min>-<max>.ltx`` that leads there, or
does whoever reads it harm. It returns the name. Those with ``NEEDS_ROOT`` can't be done by an engine with a user of its own.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import lz4.block

from engine.ltx import Encoder, Header, file_name

Attack = Callable[[Path, Path], str]
ATTACKS: dict[str, Attack] = {}
NEEDS_ROOT = {"a_device", "somebody_elses_file"}
NAME = file_name(1, 1)


def attack(function: Attack) -> Attack:
    """List an attack under its function's name."""
    ATTACKS[function.__name__] = function
    return function


def sound_file(first: int = 1, last: int = 1, *, pages: int = 1) -> bytes:
    """Return a file that is what it says."""
    encoder = Encoder(Header(page_size=512, commit=pages, min_txid=first, max_txid=last, timestamp_ms=1))
    pieces = [encoder.begin()]
    pieces += [encoder.page(number, bytes([number % 256]) * 512) for number in range(1, pages + 1)]
    return b"".join([*pieces, encoder.end()])


def read_naively(path: Path) -> bytes:
    """Read a file as one reads files: by its name, whatever that is."""
    return path.read_bytes()


@attack
def a_link_to_another(outbox: Path, prey: Path) -> str:
    """A symbolic link to another tenant's file."""
    (outbox / NAME).symlink_to(prey)
    return NAME


@attack
def a_relative_link(outbox: Path, prey: Path) -> str:
    """The same, climbing."""
    (outbox / NAME).symlink_to(os.path.relpath(prey, outbox))
    return NAME


@attack
def a_link_to_the_system(outbox: Path, prey: Path) -> str:
    """A link to what the reader's own process holds open."""
    (outbox / NAME).symlink_to("/proc/self/environ")
    return NAME


@attack
def a_link_to_itself(outbox: Path, prey: Path) -> str:
    """A link that never ends."""
    (outbox / NAME).symlink_to(NAME)
    return NAME


@attack
def a_hard_link_to_another(outbox: Path, prey: Path) -> str:
    """A second name for another tenant's file: no link to be seen."""
    os.link(prey, outbox / NAME)
    return NAME


@attack
def a_pipe(outbox: Path, prey: Path) -> str:
    """A pipe that nobody writes to: whoever opens it waits for ever."""
    os.mkfifo(outbox / NAME)
    return NAME


@attack
def a_socket(outbox: Path, prey: Path) -> str:
    """A socket."""
    with socket.socket(socket.AF_UNIX) as listening:
        folder = os.open(outbox, os.O_PATH)
        listening.bind(f"/proc/self/fd/{folder}/{NAME}")
        os.close(folder)
    return NAME


@attack
def a_device(outbox: Path, prey: Path) -> str:
    """A device without end (``/dev/zero``)."""
    os.mknod(outbox / NAME, 0o600 | 0o020000, os.makedev(1, 5))
    return NAME


@attack
def a_folder(outbox: Path, prey: Path) -> str:
    """A folder with a file's name."""
    (outbox / NAME).mkdir()
    return NAME


@attack
def an_endless_hole(outbox: Path, prey: Path) -> str:
    """A file of terabytes that takes no room."""
    with (outbox / NAME).open("wb") as file:
        file.truncate(2**42)
    return NAME


@attack
def a_smaller_hole(outbox: Path, prey: Path) -> str:
    """One that is not too large, and nothing but zeros."""
    with (outbox / NAME).open("wb") as file:
        file.truncate(2**30)
    return NAME


@attack
def somebody_elses_file(outbox: Path, prey: Path) -> str:
    """A sound file that belongs to another user."""
    (outbox / NAME).write_bytes(sound_file())
    os.chown(outbox / NAME, 12345, 12345)
    return NAME


@attack
def no_ltx(outbox: Path, prey: Path) -> str:
    """Something else."""
    (outbox / NAME).write_bytes(b"LTX1" + os.urandom(500))
    return NAME


@attack
def nothing(outbox: Path, prey: Path) -> str:
    """An empty file."""
    (outbox / NAME).write_bytes(b"")
    return NAME


@attack
def a_torn_file(outbox: Path, prey: Path) -> str:
    """The beginning of a sound file."""
    (outbox / NAME).write_bytes(sound_file(pages=20)[:-1])
    return NAME


@attack
def more_than_a_file(outbox: Path, prey: Path) -> str:
    """A sound file and something behind it."""
    (outbox / NAME).write_bytes(sound_file() + b"x")
    return NAME


@attack
def others_transactions(outbox: Path, prey: Path) -> str:
    """A sound file under the name of other transactions."""
    (outbox / NAME).write_bytes(sound_file(1, 2))
    return NAME


@attack
def a_bomb(outbox: Path, prey: Path) -> str:
    """A page of a few bytes that claims to be sixteen megabytes."""
    header = Header(page_size=65536, commit=1, min_txid=1, max_txid=1, timestamp_ms=1)
    bomb = lz4.block.compress(bytes(16_000_000), store_size=False)
    frame = (1).to_bytes(4, "big") + b"\0\1" + len(bomb).to_bytes(4, "big") + bomb
    (outbox / NAME).write_bytes(header.encode() + frame)
    return NAME


@attack
def a_database_without_bounds(outbox: Path, prey: Path) -> str:
    """A snapshot that says it has two hundred terabytes."""
    header = Header(page_size=65536, commit=2**32 - 2, min_txid=1, max_txid=1, timestamp_ms=1)
    (outbox / NAME).write_bytes(header.encode() + bytes(100))
    return NAME


STRANGE_NAMES = [
    "..ltx", "...", "-rf", "a\nb.ltx", "a\r\n.ltx", "\x1b[31m.ltx", f"{1:016x}-{1:016x}.ltx\n", f" {1:016x}-{1:016x}.ltx",
    f"{1:016X}-{15:016X}.ltx", f"{1:016x}-{1:016x}.LTX", f"{5:016x}-{1:016x}.ltx", f"{0:016x}-{1:016x}.ltx", "x" * 255,
    "\udcff\udcfe.ltx", "..%2f..%2f", f"{1:016x}-{2**64 - 1:016x}.ltx", "\u202eltx.",
]  # fmt: skip
"""What a file may be called, and no file of transactions is."""
