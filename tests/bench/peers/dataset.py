"""What all systems are given and asked: LoCoMo's turns (or the generated ones), and as many more as were asked for.

The rest is recombined from halves of real turns, so that its words and lengths are theirs; it belongs to a conversation of its
own, in which nobody looks for evidence.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

from tests.locomo import corpus

_SEED = 7
REST = "rest"
"""The conversation of what was recombined."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """One memory. Times are RFC 3339."""

    text: str
    conversation: str
    session: str
    said_at: str


@dataclass(frozen=True, kw_only=True)
class Question:
    """What to ask in one conversation, and the texts that hold the answer."""

    text: str
    conversation: str
    evidence: frozenset[str]


class Dataset:
    """So many memories, the questions they answer, and endless texts that were never seen."""

    def __init__(self, memories: int) -> None:
        known = corpus.load()
        self.name = known.name
        self._chance = random.Random(_SEED)
        self._turns = [memory["content"] for memory in known.memories]
        self._asked = [question.text for question in known.questions]
        self._numbers = itertools.count(1)
        self.items = [
            Item(
                text=memory["content"],
                conversation=memory["workspace"],
                session=memory["metadata"]["session"],
                said_at=memory["engram_cloud"]["event_time"],
            )
            for memory in known.memories[:memories]
        ]
        self.turns = len(self.items)
        texts = self.texts()
        while len(self.items) < memories:
            self.items.append(
                Item(text=next(texts), conversation=REST, session="session_1", said_at="2025-01-01T00:00:00.000000Z")
            )
        self.questions = [
            Question(
                text=question.text,
                conversation=question.workspace,
                evidence=frozenset(self._turns[memory_id - 1] for memory_id in question.evidence),
            )
            for question in known.questions
            if all(memory_id <= memories for memory_id in question.evidence)
        ]

    def sample(self, count: int) -> list[Question]:
        """Return at most ``count`` questions, the same at every call."""
        return random.Random(_SEED).sample(self.questions, min(count, len(self.questions)))

    def queries(self) -> Iterator[str]:
        """Yield questions without end, no two alike: a cache of vectors has nothing to remember."""
        while True:
            yield f"{self._chance.choice(self._asked)} ({next(self._numbers)})"

    def texts(self) -> Iterator[str]:
        """Yield memories without end, no two alike: some systems refuse a text that they hold."""
        while True:
            first, second = (self._chance.choice(self._turns).split() for _ in range(2))
            words = first[: len(first) // 2 + 1] + second[len(second) // 2 :]
            yield f"{' '.join(words)} ({next(self._numbers)})"
