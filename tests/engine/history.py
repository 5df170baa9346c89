"""A database rebuilt from the files of its outbox, in their order, as a reader of the object store would."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from engine.capture.outbox import OUTBOX_FOLDER
from engine.captured import Position
from engine.ltx import Decoder, Header, Page, database_checksum, lock_page, page_checksum, parse_file_name


def new_folder(path: Path) -> Path:
    """Make a tenant's folder, as the fork server does."""
    (path / OUTBOX_FOLDER).mkdir(parents=True)
    return path


def outbox(folder: Path) -> list[Path]:
    """Return the files that wait, in their order."""
    return sorted(path for path in (folder / OUTBOX_FOLDER).iterdir() if path.suffix == ".ltx")


def decode(data: bytes) -> tuple[Header, dict[int, bytes]]:
    """Return what a file holds, after all of it was looked at."""
    decoder = Decoder()
    decoder.put(data)
    events = []
    while (event := decoder.take()) is not None:
        events.append(event)
    decoder.close()
    assert isinstance(events[0], Header)
    return events[0], {event.number: event.content for event in events if isinstance(event, Page)}


@dataclass
class Replica:
    """What was shipped so far."""

    headers: list[Header] = field(default_factory=list)
    pages: dict[int, bytes] = field(default_factory=dict)

    def apply(self, name: str, data: bytes) -> None:
        """Apply the next file, which must follow on the last one and leave the database that it says it leaves."""
        header, pages = decode(data)
        assert parse_file_name(name) == (header.min_txid, header.max_txid)
        assert header.min_txid == header.max_txid == len(self.headers) + 1
        if self.headers:
            assert header.timestamp_ms > self.headers[-1].timestamp_ms
        self.headers.append(header)
        self.pages = {number: page for number, page in (self.pages | pages).items() if number <= header.commit}
        assert database_checksum(page_checksum(number, page) for number, page in self.pages.items()) == header.node_id

    def ship(self, folder: Path) -> None:
        """Apply and take away what waits in the outbox of ``folder``."""
        for path in outbox(folder):
            self.apply(path.name, path.read_bytes())
            path.unlink()

    @property
    def txid(self) -> int:
        """The last transaction."""
        return len(self.headers)

    def file(self) -> bytes:
        """Return the database's file."""
        if not self.headers:
            return b""
        last = self.headers[-1]
        numbers = range(1, last.commit + 1)
        assert set(numbers) - self.pages.keys() <= {lock_page(last.page_size)}
        return b"".join(self.pages.get(number, bytes(last.page_size)) for number in numbers)

    def agrees_with(self, position: Position) -> bool:
        """Whether the engine says the same of what it has captured."""
        last = self.headers[-1]
        return (position.txid, position.checksum, position.pages) == (last.max_txid, last.node_id, last.commit)


def rebuilt(files: Iterable[Path]) -> Replica:
    """Return what these files make."""
    replica = Replica()
    for path in files:
        replica.apply(path.name, path.read_bytes())
    return replica


def descriptors() -> set[str]:
    """Return what this process has open, as paths."""
    found = set()
    for entry in os.scandir("/proc/self/fd"):
        try:
            found.add(str(Path(entry.path).readlink()))
        except FileNotFoundError:  # that of the listing
            continue
    return found
