"""Fills a budget of tokens with memories: whole ones while they fit, then excerpts.

Candidates come in sections, best first in each. A section may use its share of the budget and what the ones before it
left over; what is still free at the end goes to the left out, in the same order. The same candidates give the same pieces,
and the pieces' quotations together never take more than the budget, as ``tokens.estimate`` counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.recall.quotation import CUT, quote
from engine.recall.tokens import TOKEN_CHARACTERS_MAX, estimate, fit

EXCERPT_TOKENS_MIN = 40
"""Less than a sentence or two of a memory, under its heading, tells nothing: the room is left to a shorter one."""

EXCERPT_TOKENS = 160
"""What an excerpt may take at least, where there is room. Beyond that it takes half the room, so that others come in too."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One memory that might come in."""

    id: int
    head: str
    """The line above its quotation."""
    content: str
    focus: int = 0
    """Where in the content an excerpt should begin, in characters."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """Candidates for one reason, and which share of the budget is theirs, 0 to 1."""

    share: float
    candidates: Sequence[Candidate]


@dataclass(frozen=True, kw_only=True)
class Piece:
    """What came in of one memory."""

    id: int
    text: str
    quotation: str
    tokens: int
    """What the quotation takes."""
    whole: bool


def pack(sections: Sequence[Section], budget: int) -> list[Piece]:
    """Return the pieces, in the order of the sections and of the candidates in them. No id should come twice."""
    packed: dict[int, Piece] = {}
    entitled = 0.0
    for section in sections:
        entitled += section.share * budget
        _take(section.candidates, int(min(entitled, budget)) - _taken(packed), packed)
    for section in sections:
        _take(section.candidates, budget - _taken(packed), packed)
    order = [candidate.id for section in sections for candidate in section.candidates]
    return [packed[memory_id] for memory_id in order if memory_id in packed]


def _taken(packed: dict[int, Piece]) -> int:
    return sum(piece.tokens for piece in packed.values())


def _take(candidates: Sequence[Candidate], room: int, packed: dict[int, Piece]) -> None:
    for candidate in candidates:
        if room <= 0:
            return
        if candidate.id in packed:
            continue
        piece = _whole(candidate, room) or _excerpt(candidate, min(room, max(EXCERPT_TOKENS, room // 2)))
        if piece is not None:
            packed[candidate.id] = piece
            room -= piece.tokens


def _whole(candidate: Candidate, room: int) -> Piece | None:
    # A quotation takes no less than its text, and this looks no further into a long one than there is room.
    if fit(candidate.content, room) < len(candidate.content):
        return None
    return _piece(candidate, candidate.content, room, whole=True)


def _excerpt(candidate: Candidate, room: int) -> Piece | None:
    """Return as much from the focus on as there is room for, or nothing when that would be too little."""
    if room < EXCERPT_TOKENS_MIN:
        return None
    rest = candidate.content[candidate.focus : candidate.focus + room * TOKEN_CHARACTERS_MAX]
    tokens = room
    while tokens > 0:
        end = candidate.focus + fit(rest, tokens)
        if not (excerpt := candidate.content[candidate.focus : end].strip()):
            return None
        before = CUT if candidate.focus > 0 else ""
        after = CUT if end < len(candidate.content) else ""
        text = f"{before}{excerpt}{after}"
        if (piece := _piece(candidate, text, room, whole=False)) is not None:
            return piece
        # What the heading and the quotation marks take is known only now: shrink by the share that was too much.
        tokens = min(tokens - 1, tokens * room // estimate(quote(candidate.head, text)))
    return None


def _piece(candidate: Candidate, text: str, room: int, *, whole: bool) -> Piece | None:
    quotation = quote(candidate.head, text)
    tokens = estimate(quotation)
    if tokens > room:
        return None
    return Piece(id=candidate.id, text=text, quotation=quotation, tokens=tokens, whole=whole)
