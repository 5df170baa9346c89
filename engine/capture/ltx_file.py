"""Writes one file of a database's history: the header with the checksum of the database after it, then its pages.

The checksum stands in the header's place for a node's number, because Litestream refuses files that carry it where it belongs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from engine.capture.log_reader import Span
from engine.capture.source import Batch, Source
from engine.capture.wal import HEADER_BYTES
from engine.captured import Position
from engine.ltx import Encoder, Header


def write_file(
    write: Callable[[bytes], None],
    source: Source,
    batches: Iterable[Batch],
    position: Position,
    span: Span | None,
) -> None:
    """Write the file of ``position``, which holds these pages; they were read from ``span`` of the log, if from any."""
    frame_bytes = 0 if span is None else span.header.frame_bytes
    salts = (0, 0) if span is None else span.header.salts
    encoder = Encoder(
        Header(
            page_size=position.page_bytes,
            commit=position.pages,
            min_txid=position.txid,
            max_txid=position.txid,
            timestamp_ms=position.timestamp_ms,
            wal_offset=0 if span is None else HEADER_BYTES + span.first * frame_bytes,
            wal_size=0 if span is None else (span.last - span.first) * frame_bytes,
            wal_salt_1=salts[0],
            wal_salt_2=salts[1],
            node_id=position.checksum,
        )
    )
    write(encoder.begin())
    for batch in batches:
        write(b"".join([encoder.page(number, content) for number, content in source.pages(batch)]))
    write(encoder.end())
