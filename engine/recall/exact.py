"""Whether a query is nothing but something exact: a quotation, an id, a number, a path. Then words decide. Pure."""

from __future__ import annotations

import re

EXACT_CHUNKS_MAX = 4
"""Ids come alone or with a word or two, such as ``RFC 9457``. More is a sentence with an id in it."""

_QUOTATION = re.compile(r'\s*(?:"[^"]+"|“[^“”]+”)\s*')
_SEPARATED = re.compile(r"[^\W_][./\\_@#:+-]+[^\W_]")
_CAPITALS = re.compile(r"[A-Z][A-Z0-9]+\Z")


def is_exact(query: str) -> bool:
    """Say whether ``query`` is one quotation, or nothing but ids, among them at least one that can't be a plain word."""
    if _QUOTATION.fullmatch(query):
        return True
    chunks = query.split()
    if not 0 < len(chunks) <= EXACT_CHUNKS_MAX:
        return False
    ids = [_is_id(chunk) for chunk in chunks]
    return any(ids) and all(is_id or _CAPITALS.match(chunk) for is_id, chunk in zip(ids, chunks, strict=True))


def _is_id(chunk: str) -> bool:
    """Say whether a chunk holds a digit, or a separator between letters. "well-known" is taken for one too: it does no harm."""
    return any(character.isdigit() for character in chunk) or _SEPARATED.search(chunk) is not None
