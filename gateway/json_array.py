"""Cuts a JSON array into its elements without decoding it, so that an array of any length costs the memory of one element.

The array must be valid JSON already: this looks for strings, brackets and commas only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[\]{},]', re.DOTALL)
_OPENING, _CLOSING, _COMMA = b"[{", b"]}", b","


def elements(array: memoryview) -> Iterator[bytes]:
    """Yield the text of each element of ``array``, which starts with its bracket, without white space around it."""
    depth = 0
    start = 1
    for token in _TOKEN.finditer(array, 1):
        mark = token.group()
        if mark in _OPENING:
            depth += 1
        elif mark in _CLOSING:
            depth -= 1
        if (depth == 0 and mark == _COMMA) or depth < 0:
            if element := bytes(array[start : token.start()]).strip():
                yield element
            start = token.end()
        if depth < 0:
            return
