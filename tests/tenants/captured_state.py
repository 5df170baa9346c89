"""What an outbox holds, put together again: the database as whoever has only these files would see it."""

from __future__ import annotations

from pathlib import Path

from engine.captured import CAPTURED_FILE, Position, decode
from engine.ltx import Decoder, Header, Page
from engine.store.connection import open_reader


def position(folder: Path) -> Position | None:
    """Return how far the tenant's engine has captured, as it says."""
    path = folder / CAPTURED_FILE
    return decode(path.read_bytes()) if path.exists() else None


def contents(folder: Path, scratch: Path) -> set[str]:
    """Return the contents of the memories that the files in the outbox of a tenant's ``folder`` hold."""
    pages: dict[int, bytes] = {}
    for path in sorted((folder / "outbox").glob("*.ltx")):
        decoder = Decoder(database_bytes_max=2**30)
        decoder.put(path.read_bytes())
        while (event := decoder.take()) is not None:
            if isinstance(event, Header):
                commit = event.commit
            elif isinstance(event, Page):
                pages[event.number] = event.content
        decoder.close()
        pages = {number: content for number, content in pages.items() if number <= commit}
    if not pages:
        return set()
    scratch.write_bytes(b"".join(pages[number] for number in range(1, len(pages) + 1)))
    connection = open_reader(scratch)
    try:
        return {content for (content,) in connection.execute("SELECT content FROM memories")}
    finally:
        connection.close()
