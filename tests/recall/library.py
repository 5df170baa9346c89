"""A database of texts with the vectors that the real model gives them, and pairs of memories and questions to ask it.

A line of ``paraphrases.txt`` is a memory and a question that shares no word with it; one of ``exact_names.txt`` is a memory and
an id, number, name or path in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Self

from engine.catalogue.memory import MemoryCreate
from engine.catalogue.search import Hit, MemorySearch, SearchResult
from engine.embedder.model import Model
from engine.embedder.settings import DEFAULT_MODEL
from engine.protocol import Embedding, Passage, Request
from engine.store.connection import preload
from engine.store.database import Database
from engine.tools import memory
from engine.tools.search import search

_HERE = Path(__file__).parent


class Pair(NamedTuple):
    """What is stored, and what is asked for it."""

    content: str
    question: str


def pairs(name: str) -> list[Pair]:
    """Return the pairs of a file beside this module."""
    lines = (_HERE / name).read_text(encoding="utf-8").splitlines()
    return [Pair(*(part.strip() for part in line.split(" | "))) for line in lines]


@cache
def _model(folder: Path) -> Model:
    return Model.load(DEFAULT_MODEL, folder)


class Library:
    """A database, the model, and the memories put in."""

    def __init__(self, database: Database, models: Path) -> None:
        self.database = database
        self._model = _model(models)

    @classmethod
    @contextmanager
    def open(cls, folder: Path, models: Path) -> Iterator[Self]:
        """Yield an empty library in a folder."""
        preload()
        with Database(folder / "memory.db") as database:
            yield cls(database, models)

    def add(self, content: str, **fields: Any) -> int:
        """Store a memory with its vectors and return its id."""
        vectors = self._model.embed_documents([content])
        passages = [Passage(0, len(content), vector) for vector in vectors]
        request = Request(id=1, method="", embeddings=[Embedding(DEFAULT_MODEL, passages)])
        return memory.create(self.database, MemoryCreate(content=content, **fields), request).id

    def add_all(self, contents: Iterable[str], **fields: Any) -> list[int]:
        """Store memories in one transaction and return their ids."""
        with self.database.write_group():
            return [self.add(content, **fields) for content in contents]

    def answer(self, query: str, **fields: Any) -> SearchResult:
        """Search and return all of the answer."""
        (vector,) = self._model.embed_query([query])
        request = Request(id=1, method="", embeddings=[Embedding(DEFAULT_MODEL, [Passage(0, len(query), vector)])])
        return search(self.database, MemorySearch(query=query, **fields), request)

    def search(self, query: str, **fields: Any) -> list[Hit]:
        """Search and return the hits."""
        return self.answer(query, **fields).results

    def ids(self, query: str, **fields: Any) -> list[int]:
        """Search and return the ids of the hits."""
        return [hit.memory.id for hit in self.search(query, **fields) if hit.memory is not None]
