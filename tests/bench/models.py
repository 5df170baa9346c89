"""int8 against float32 weights: how much of LoCoMo's evidence the vectors alone find, and how long a text and a query take.

The two models take turns text by text, so that whatever else the machine does slows both.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from statistics import fmean, median

import numpy as np
from numpy.typing import NDArray

from engine.embedder.model import Model
from engine.embedder.prepare import prepare
from engine.embedder.settings import PREPARED_MODELS
from tests.bench import table
from tests.locomo.corpus import Corpus, Question, load
from tests.service import MODELS

DEPTHS = (5, 10)


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(prog="scripts/bench models", description=__doc__)
    options.add_argument("--every", type=int, default=1, help="ask only one question in so many")
    given = options.parse_args()
    for name in PREPARED_MODELS:
        prepare(MODELS, lambda _: None, name)
    models = [Model.load(name, MODELS) for name in PREPARED_MODELS]
    corpus = load()
    questions = corpus.questions[:: given.every]
    print(table.machine())
    texts = [memory["content"] for memory in corpus.memories]
    documents, text_ms = _embedded(models, texts, query=False)
    asked, query_ms = _embedded(models, [question.text for question in questions], query=True)
    rows = [
        (
            model.name,
            *(f"{recall:.3f}" for recall in _recall(corpus, questions, documents[number], asked[number])),
            f"{text_ms[number]:.2f}",
            f"{query_ms[number]:.2f}",
            f"{text_ms[number] / text_ms[-1]:.2f}",
        )
        for number, model in enumerate(models)
    ]
    head = ("", *(f"turn R@{depth}" for depth in DEPTHS), "ms/text", "ms/query", "of float32")
    table.show(f"{corpus.name}: {len(texts):,} texts, {len(questions):,} questions, vectors alone", head, rows)


def _embedded(models: Sequence[Model], texts: Sequence[str], *, query: bool) -> tuple[list[NDArray[np.float32]], list[float]]:
    """Return each model's vectors and the median time that it took for one text."""
    vectors: list[list[bytes]] = [[] for _ in models]
    taken: list[list[float]] = [[] for _ in models]
    for text in texts:
        for number, model in enumerate(models):
            started = time.perf_counter()
            vectors[number] += model.embed_query([text]) if query else model.embed_documents([text])
            taken[number].append((time.perf_counter() - started) * 1000)
    return [np.frombuffer(b"".join(rows), "<f4").reshape(len(texts), -1) for rows in vectors], [median(row) for row in taken]


def _recall(
    corpus: Corpus, questions: Sequence[Question], documents: NDArray[np.float32], asked: NDArray[np.float32]
) -> list[float]:
    workspaces = np.array([memory["workspace"] for memory in corpus.memories])
    found = []
    for question, vector in zip(questions, asked, strict=True):
        cosines = np.where(workspaces == question.workspace, documents @ vector, -2)
        best = (np.argsort(-cosines, kind="stable")[: max(DEPTHS)] + 1).tolist()
        found.append([len(question.evidence & set(best[:depth])) / len(question.evidence) for depth in DEPTHS])
    return [fmean(column) for column in zip(*found, strict=True)]


if __name__ == "__main__":
    main()
