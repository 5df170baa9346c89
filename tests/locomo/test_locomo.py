"""Conversations of many months go in through the command line, and their evidence comes out over REST and MCP alike.

Recall@k is the share of a question's evidence among the first k memories; for sessions, the share of the evidence's sessions
among the first k different sessions of the answer.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.locomo.corpus import Corpus, Question, load
from tests.service import Account, Service

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]

_SEED = 7
_ASKED = 120
_ASKED_OVER_MCP = 20
_LIMIT = 10
_SESSION_HITS = 50
"""Hits over which sessions are counted: ten turns often come from fewer than ten sessions."""

_FLOORS = {"locomo": ((0.73, 0.80), (0.88, 0.93)), "generated": ((0.9, 0.9), (0.9, 0.9))}
"""R@5 and R@10 of turns and of sessions, a little below what is measured; plain FTS5: .554, .622 and .866, .933."""


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return load()


@pytest.fixture(scope="module")
def importer(service: Service, corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """A customer who has imported the corpus with ``engram import``."""
    path = tmp_path_factory.mktemp("locomo") / "export.json"
    corpus.write(path)
    with service.sign_up() as account:
        command = [str(Path(sys.executable).with_name("engram")), "import", "--input", str(path), "--url", service.url]
        done = subprocess.run(
            [*command, "--key", account.key], capture_output=True, text=True, timeout=500, check=False, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0, done.stderr
        assert f"Imported {len(corpus.memories):,}, skipped 0" in done.stdout
        yield account


@pytest.fixture(scope="module")
def sample(corpus: Corpus) -> list[Question]:
    return random.Random(_SEED).sample(corpus.questions, min(_ASKED, len(corpus.questions)))


def _ask(account: Account, question: Question, limit: int = _LIMIT) -> list[int]:
    return [hit["memory"]["id"] for hit in account.search(question.text, workspace=question.workspace, limit=limit)]


def test_everything_is_there_with_its_meaning(importer: Account, corpus: Corpus) -> None:
    stats = importer.get("/v1/stats").json()

    assert stats["memories"] == len(corpus.memories)
    assert stats["pending_embeddings"] == 0


def test_a_memory_keeps_its_id_its_times_and_its_metadata(importer: Account, corpus: Corpus) -> None:
    expected = corpus.memories[len(corpus.memories) // 2]
    actual = importer.get(f"/v1/memories/{expected['id']}").json()

    for name in ("id", "content", "metadata", "workspace", "created_at", "updated_at"):
        assert expected[name] == actual[name]
    assert expected["engram_cloud"]["event_time"] == actual["event_time"]


def test_evidence_is_found(importer: Account, corpus: Corpus, sample: list[Question]) -> None:
    turns: dict[int, list[float]] = {5: [], 10: []}
    sessions: dict[int, list[float]] = {5: [], 10: []}
    for question in sample:
        found = _ask(importer, question, _SESSION_HITS)
        found_sessions = list(dict.fromkeys(corpus.session(memory_id) for memory_id in found))
        expected_sessions = {corpus.session(memory_id) for memory_id in question.evidence}
        for k in (5, 10):
            turns[k].append(len(question.evidence & set(found[:k])) / len(question.evidence))
            sessions[k].append(len(expected_sessions & set(found_sessions[:k])) / len(expected_sessions))
    chance = _LIMIT / (len(corpus.memories) / len({question.workspace for question in corpus.questions}))
    print(
        f"\n{corpus.name}: {len(sample)} questions about {len(corpus.memories):,} memories (by chance R@10 {chance:.3f})\n"
        f"  turn     R@5 {fmean(turns[5]):.3f}  R@10 {fmean(turns[10]):.3f}\n"
        f"  session  R@5 {fmean(sessions[5]):.3f}  R@10 {fmean(sessions[10]):.3f}"
    )

    assert fmean(turns[10]) > 5 * chance
    for found, floors in zip((turns, sessions), _FLOORS[corpus.name], strict=True):
        for k, floor in zip((5, 10), floors, strict=True):
            assert fmean(found[k]) >= floor


async def test_mcp_finds_the_same(importer: Account, service: Service, sample: list[Question]) -> None:
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {importer.key}"}, timeout=60) as http,
        Client(streamable_http_client(f"{service.url}/v1/mcp", http_client=http)) as client,
    ):
        for question in sample[:_ASKED_OVER_MCP]:
            arguments = {"query": question.text, "workspace": question.workspace, "limit": _LIMIT}
            answer = await client.call_tool("memory_search", arguments)
            assert answer.structured_content is not None
            over_mcp = [hit["memory"]["id"] for hit in answer.structured_content["results"]]

            assert over_mcp == _ask(importer, question)


def test_another_customer_finds_nothing(importer: Account, service: Service, sample: list[Question]) -> None:
    with service.sign_up() as other:
        assert _ask(other, sample[0]) == []
