"""Share of a question's evidence among the first results, averaged over questions, as ``tests.locomo`` counts it."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from tests.bench.peers.dataset import Question
from tests.bench.peers.system import System


async def measure(system: System, questions: Sequence[Question]) -> dict[int, float]:
    """Return R@5 and R@10. Two turns of one wording are one: not every system keeps both."""
    client = await system.connect()
    shares: dict[int, list[float]] = {5: [], 10: []}
    try:
        for question in questions:
            found = await client.search(question.text, question.conversation)
            for k, of in shares.items():
                of.append(len(question.evidence & set(found[:k])) / len(question.evidence))
    finally:
        client.close()
    return {k: fmean(of) for k, of in shares.items()}
