"""Bounds what waits in the embedder: in all, because memory ends, and for each lane, so that none takes the others' room.

A lane that is full is refused while the others are served. Whoever is refused does without a vector for now. A lane without
anything under way is forgotten.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass

from engine.embedder.messages import CHARACTERS_PER_REQUEST_MAX
from engine.protocol import ErrorCode, RemoteError

LANE_REQUESTS_MAX = 64
"""A fifth of a second of queries. A quarter of what one connection may have under way."""

LANE_CHARACTERS_MAX = CHARACTERS_PER_REQUEST_MAX
"""The largest request alone, or many small ones."""

REQUESTS_MAX = 1024
CHARACTERS_MAX = 4 * LANE_CHARACTERS_MAX
"""64 MiB at the most as texts, and as much again cut into passages."""


@dataclass(slots=True)
class _Held:
    requests: int = 0
    characters: int = 0


class Holding:
    """Counts the requests under way, and their characters."""

    def __init__(self) -> None:
        self._all = _Held()
        self._lanes: defaultdict[Hashable, _Held] = defaultdict(_Held)

    @contextlib.contextmanager
    def of(self, lane: Hashable, characters: int) -> Iterator[None]:
        """Hold a request for the block; ``overloaded`` when its lane, or the embedder, holds too much."""
        held = self._lanes[lane]
        try:
            _check(held, characters, LANE_REQUESTS_MAX, LANE_CHARACTERS_MAX)
            _check(self._all, characters, REQUESTS_MAX, CHARACTERS_MAX)
            _count(held, 1, characters)
            _count(self._all, 1, characters)
            try:
                yield
            finally:
                _count(held, -1, -characters)
                _count(self._all, -1, -characters)
        finally:
            if not held.requests:
                self._lanes.pop(lane, None)


def _check(held: _Held, characters: int, requests_max: int, characters_max: int) -> None:
    for count, limit in ((held.requests + 1, requests_max), (held.characters + characters, characters_max)):
        if count > limit:
            raise RemoteError(ErrorCode.OVERLOADED, "too many texts wait to be embedded", limit=limit)


def _count(held: _Held, requests: int, characters: int) -> None:
    held.requests += requests
    held.characters += characters
