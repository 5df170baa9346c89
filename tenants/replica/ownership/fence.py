"""A fence: a file without pages, put behind the last one of a history before it is continued from another disk.

Files are created and never replaced, and the name of the next depends on the last one's number alone. So after the fence
stands, whatever an earlier owner still has under way collides with it; and if that arrived first, the fence collides, and says
so. A fence is kept as long as everything else of its time: in the gap that it left, a late file would find room.
"""

from __future__ import annotations

import hashlib

from engine.ltx import Decoder, Encoder, Header, LtxError
from tenants.replica.layout import INCREMENTS
from tenants.replica.objects import ObjectExists, ObjectMissing, StoreRefused, StoreUnavailable
from tenants.replica.ownership.head import Head
from tenants.replica.tree import Entry, FileInfo, NotOurs, Tree


def put_fence(tree: Tree, head: Head, epoch: int) -> Head | None:
    """Create a fence behind ``head`` and return it; ``None`` when another's file is there already.

    Two requests, and a third for a file that is there. What has come behind the fence is for the caller to look at.
    """
    assert head.entry is not None
    txid = head.txid + 1
    body, info = _fence(_header_of(tree, head.entry), head, epoch)
    try:
        tree.put(INCREMENTS, txid, txid, body, info)
    except ObjectExists:
        # Two who put a fence behind the same file write the same bytes: only the epoch tells ours.
        if tree.info(INCREMENTS, txid, txid) != info:
            return None
    return Head(txid=txid, info=info, entry=Entry(min_txid=txid, max_txid=txid, level=INCREMENTS, size=len(body)))


def _fence(last: Header, head: Head, epoch: int) -> tuple[bytes, FileInfo]:
    """Return the file and what goes with it: the database after it is the one before it."""
    assert head.info is not None
    header = Header(
        page_size=last.page_size,
        commit=head.info.pages,
        min_txid=head.txid + 1,
        max_txid=head.txid + 1,
        # Not now, but as soon as may be: whoever has a clock that is hours fast does not set the history's.
        timestamp_ms=head.info.timestamp_ms + 1,
        node_id=head.info.checksum,
    )
    encoder = Encoder(header)
    body = encoder.begin() + encoder.end()
    info = FileInfo(
        timestamp_ms=header.timestamp_ms,
        batch=hashlib.sha256(body).hexdigest(),
        previous=head.info.batch if head.entry is not None and head.entry.level == INCREMENTS else "",
        epoch=epoch,
        checksum=head.info.checksum,
        pages=head.info.pages,
        whole=False,
    )
    return body, info


def _header_of(tree: Tree, entry: Entry) -> Header:
    """Return the header of a file; no more than its first pieces are read. ``StoreRefused`` for one that has none."""
    decoder = Decoder()
    try:
        with tree.open(entry.level, entry.min_txid, entry.max_txid) as (_, pieces):
            for piece in pieces:
                decoder.put(piece)
                if isinstance(header := decoder.take(), Header):
                    return header
    except ObjectMissing as error:
        raise StoreUnavailable("a listed object is not there") from error
    except (LtxError, NotOurs) as error:
        raise StoreRefused(f"the last file of the history can't be read: {error}") from error
    raise StoreRefused("the last file of the history is too short")
