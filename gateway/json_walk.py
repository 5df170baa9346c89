"""Walks through a JSON text of any size and gives out the parts one wants, so that memory holds one part at a time.

``members`` walks into an object and ``elements`` into an array; ``take`` gives out one value's text, ``skip`` passes over it.
Brackets, commas and keys are checked on the way. What stands inside a value that is given out is for its decoder to check.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

_SPACE = re.compile(rb"[ \t\n\r]*+")
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_SCALAR = re.compile(rb'[^ \t\n\r,:\[\]{}"]++')
_TO_BRACKET = re.compile(rb'[^"\[\]{}]*+(?:"(?:[^"\\]++|\\.)*+"[^"\[\]{}]*+)*+[\[\]{}]', re.DOTALL)


class NotJson(ValueError):
    """The text is no valid JSON."""


class TooLarge(ValueError):
    """One value is longer than its place allows."""


class JsonWalk:
    """A place in a JSON text (anything with bytes in it), moving towards its end."""

    def __init__(self, text: Any, position: int = 0) -> None:
        self._text = text
        self.position = position

    def members(self) -> Iterator[str]:
        """Yield each key of the object at this place; the caller must take, skip or walk into the value before the next."""
        yield from self._walk(b"{", b"}", self._key)

    def elements(self) -> Iterator[None]:
        """Stop at each element of the array at this place, as ``members`` does."""
        yield from self._walk(b"[", b"]", lambda: None)

    def take(self, size_max: int) -> bytes:
        """Return the text of the value at this place and go past it; ``TooLarge`` beyond ``size_max`` bytes."""
        self._skip_space()
        start = self.position
        self._go_past_value(start + size_max + 1)
        if self.position - start > size_max:
            raise TooLarge(f"is over {size_max} bytes")
        return bytes(self._text[start : self.position])

    def skip(self) -> None:
        """Go past the value at this place; ``NotJson`` if it is none."""
        self._skip_space()
        start = self.position
        self._go_past_value(len(self._text))
        try:
            msgspec.json.decode(memoryview(self._text)[start : self.position], type=msgspec.Raw)
        except msgspec.DecodeError as error:
            raise NotJson(str(error)) from error

    def peek(self) -> bytes:
        """Return the first byte of the value at this place; nothing at the end."""
        self._skip_space()
        return bytes(self._text[self.position : self.position + 1])

    def finish(self) -> None:
        """``NotJson`` unless nothing follows."""
        if self.peek():
            raise NotJson("something follows the end")

    def _walk(self, opening: bytes, closing: bytes, enter: Any) -> Iterator[Any]:
        self._expect(opening)
        if self.peek() == closing:
            self.position += 1
            return
        while True:
            yield enter()
            mark = self.peek()
            self._expect(closing if mark == closing else b",")
            if mark == closing:
                return

    def _key(self) -> str:
        self._skip_space()
        found = _STRING.match(self._text, self.position)
        if found is None:
            raise NotJson("a key is missing")
        self.position = found.end()
        self._expect(b":")
        try:
            return msgspec.json.decode(found[0], type=str)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise NotJson("a key is no text") from error

    def _expect(self, mark: bytes) -> None:
        if self.peek() != mark:
            raise NotJson(f"{mark.decode()} is missing")
        self.position += 1

    def _skip_space(self) -> None:
        found = _SPACE.match(self._text, self.position)
        assert found is not None
        self.position = found.end()

    def _go_past_value(self, end: int) -> None:
        """Go past the value at this place, or to ``end`` when it reaches so far."""
        first = self._text[self.position : self.position + 1]
        pattern = _STRING if first == b'"' else _TO_BRACKET if first in (b"{", b"[") else _SCALAR
        depth = 0
        while True:
            found = pattern.match(self._text, self.position, end)
            if found is None:
                if end >= len(self._text):
                    raise NotJson("a value is missing or does not end")
                self.position = end
                return
            self.position = found.end()
            if pattern is not _TO_BRACKET:
                return
            depth += 1 if found[0][-1:] in (b"{", b"[") else -1
            if depth == 0:
                return
