"""LTX, version 3: the files that carry a database's changes to an object store. Pure: bytes in, bytes out, no I/O.

A file holds the pages that one or more transactions changed, compressed, in the order of their numbers, with a header that says
which transactions, an index of the pages, and a checksum over all of it. The format is Litestream's and LiteFS's
(github.com/superfly/ltx): their tools read what this writes. Numbers are big-endian.

Whoever decodes takes the file for hostile: it was written by an engine, which may have been taken over.
"""

from engine.ltx.checksums import CHECKSUM_FLAG, database_checksum, page_checksum
from engine.ltx.decoder import Decoder
from engine.ltx.encoder import Encoder
from engine.ltx.header import FILE_BYTES_MIN, Header, Page, Trailer, file_name, lock_page, parse_file_name
from engine.ltx.limits import LtxError

__all__ = [
    "CHECKSUM_FLAG",
    "FILE_BYTES_MIN",
    "Decoder",
    "Encoder",
    "Header",
    "LtxError",
    "Page",
    "Trailer",
    "database_checksum",
    "file_name",
    "lock_page",
    "page_checksum",
    "parse_file_name",
]
