"""How much of the evidence a search finds: LoCoMo's, per kind of question, and memories asked for in other words.

Beside ours stand plain FTS5 (bm25 over the same texts, stop words left out), vectors alone, and the reciprocal rank fusion
(k = 60) of those two. Ours and the vectors go through the public API. LoCoMo lies where ENGRAM_LOCOMO says or beside the
checkout; without it, generated conversations are asked. R@k is the share of a question's evidence among the first k; for
sessions, among the first k different sessions of a hundred hits.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import apsw

from engine.recall.query import parse
from tests.bench import table
from tests.bench.node import running
from tests.locomo.corpus import Corpus, Question, load
from tests.recall.library import Pair, pairs
from tests.service import Account, Service

HITS = 100
RRF_K = 60
OWN = "own"
KINDS = {1: "several turns", 2: "time", 3: "world knowledge", 4: "one turn", 5: "unanswerable"}

_INDEX = "CREATE VIRTUAL TABLE f USING fts5 (content, workspace UNINDEXED, tokenize = 'porter unicode61 remove_diacritics 2')"
_BEST = "SELECT rowid FROM f WHERE f MATCH ? AND workspace = coalesce(?, workspace) ORDER BY rank, rowid LIMIT ?"

Search = Callable[[str, str | None], list[int]]
"""Returns the ids of a hundred hits for a query in a workspace, or anywhere."""


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(prog="scripts/bench recall", description=__doc__)
    options.add_argument("--every", type=int, default=1, help="ask only one question in so many")
    given = options.parse_args()
    corpus = load()
    questions = corpus.questions[:: given.every]
    own = [*pairs("paraphrases.txt"), *pairs("exact_names.txt")]
    first_own = len(corpus.memories) + 1
    for number, pair in enumerate(own):
        corpus.memories.append({**_NOTE, "id": first_own + number, "content": pair.content})
    print(table.machine())
    with running() as service, service.sign_up() as account:
        _import(service, account, corpus)
        account.wait_for_embeddings()
        searches = _searches(account, corpus)
        _show_evidence(corpus, questions, searches)
        ids = {pair.content: first_own + number for number, pair in enumerate(own)}
        _show_pairs("Paraphrases that share no word with their memory", pairs("paraphrases.txt"), ids, searches)
        _show_pairs("Exact names, ids, numbers, paths", pairs("exact_names.txt"), ids, searches)


_NOTE = {
    "memory_type": "note",
    "tags": [],
    "metadata": {},
    "importance": 0.5,
    "workspace": OWN,
    "scope_type": "global",
    "scope_id": None,
    "tier": "permanent",
    "created_at": "2025-01-01T00:00:00.000000Z",
    "updated_at": "2025-01-01T00:00:00.000000Z",
}


def _import(service: Service, account: Account, corpus: Corpus) -> None:
    with TemporaryDirectory(prefix="engram-bench-") as folder:
        path = Path(folder) / "export.json"
        corpus.write(path)
        engram = str(Path(sys.executable).with_name("engram"))
        command = [engram, "import", "--input", str(path), "--url", service.url, "--key", account.key]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)


def _searches(account: Account, corpus: Corpus) -> dict[str, Search]:
    index = apsw.Connection(":memory:")
    index.execute(_INDEX)
    for memory in corpus.memories:
        index.execute(
            "INSERT INTO f (rowid, content, workspace) VALUES (?, ?, ?)", [memory[n] for n in ("id", "content", "workspace")]
        )

    def words(query: str, workspace: str | None) -> list[int]:
        match = " OR ".join(f'"{term}"' for term in parse(query).terms)
        return [row[0] for row in index.execute(_BEST, (match, workspace, HITS))] if match else []

    def through_the_api(mode: str) -> Search:
        def ask(query: str, workspace: str | None) -> list[int]:
            where = {} if workspace is None else {"workspace": workspace}
            return [hit["id"] for hit in account.search(query, mode=mode, limit=HITS, compact=True, **where)]

        return ask

    vectors = through_the_api("semantic")

    def rank_fusion(query: str, workspace: str | None) -> list[int]:
        scores: dict[int, float] = {}
        for found in (words(query, workspace), vectors(query, workspace)):
            for rank, memory_id in enumerate(found, 1):
                scores[memory_id] = scores.get(memory_id, 0.0) + 1 / (RRF_K + rank)
        return sorted(scores, key=lambda memory_id: (-scores[memory_id], -memory_id))

    return {"FTS5 bm25": words, "vectors": vectors, "RRF": rank_fusion, "auto": through_the_api("auto")}


def _show_evidence(corpus: Corpus, questions: Sequence[Question], searches: dict[str, Search]) -> None:
    head = ("", "questions", "turn R@5", "R@10", "MRR", "session R@5", "R@10")
    for name, search in searches.items():
        measured = [
            (question.category, _recall(corpus, question, search(question.text, question.workspace))) for question in questions
        ]
        rows = [("all", len(measured), *_means([figures for _, figures in measured]))]
        for category, kind in KINDS.items():
            of_kind = [figures for number, figures in measured if number == category]
            if of_kind:
                rows.append((kind, len(of_kind), *_means(of_kind)))
        table.show(f"{corpus.name}: {name}", head, rows)


def _recall(corpus: Corpus, question: Question, found: Sequence[int]) -> tuple[float, ...]:
    turns, sessions = question.evidence, {corpus.session(memory_id) for memory_id in question.evidence}
    met = list(dict.fromkeys(corpus.session(memory_id) for memory_id in found))
    first = next((rank for rank, memory_id in enumerate(found, 1) if memory_id in turns), None)
    return (
        *(len(turns & set(found[:k])) / len(turns) for k in (5, 10)),
        0.0 if first is None else 1 / first,
        *(len(sessions & set(met[:k])) / len(sessions) for k in (5, 10)),
    )


def _show_pairs(title: str, asked: Sequence[Pair], ids: dict[str, int], searches: dict[str, Search]) -> None:
    rows = []
    for name, search in searches.items():
        for place, workspace in (("among their like", OWN), ("among all", None)):
            ranks = [search(pair.question, workspace) for pair in asked]
            hits = [[ids[pair.content] in found[:k] for pair, found in zip(asked, ranks, strict=True)] for k in (5, 1)]
            rows.append((f"{name}, {place}", len(asked), *(f"{fmean(hit):.3f}" for hit in hits)))
    table.show(title, ("", "questions", "hit@5", "hit@1"), rows)


def _means(figures: Sequence[tuple[float, ...]]) -> tuple[str, ...]:
    return tuple(f"{fmean(column):.3f}" for column in zip(*figures, strict=True))


if __name__ == "__main__":
    main()
