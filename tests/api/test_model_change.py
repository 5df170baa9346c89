"""A node that is restarted with another embedding model: meaning is searched at every moment, at last with the new model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine.embedder.settings import DEFAULT_MODEL, FLOAT_MODEL
from engine.store.connection import preload
from engine.store.database import Database
from tests.service import MODELS, Account, Service

SUBJECTS = ["the harbour", "a bicycle", "the quarterly report", "tomato soup", "the night train", "an old piano"]
MEMORIES = 300


@pytest.fixture(scope="module")
def both_models(models: Path) -> None:
    command = [sys.executable, "-m", "engine.embedder.prepare", "--models-dir", str(models), "--model", FLOAT_MODEL]
    subprocess.run(command, check=True)


@pytest.fixture
def folder(both_models: None, tmp_path: Path) -> Path:
    return tmp_path / "node"


def account_at(service: Service, account: Account) -> Account:
    """Return the same customer at a node that was started again."""
    account.close()
    return Account(service.url, account.key, account.database)


def first(account: Account, query: str) -> str:
    """Return what is found first by meaning alone; it must be there, and found by meaning."""
    answer = account.post("/v1/search", json={"query": query, "mode": "semantic", "limit": 1})
    assert answer.status_code == 200, answer.text
    assert answer.json()["mode"] == "semantic"
    content: str = answer.json()["results"][0]["memory"]["content"]
    return content


def passages_by_model(folder: Path) -> dict[str, int]:
    """Return how many passages the one database of a stopped node holds of each model."""
    preload()
    (path,) = folder.glob("tenants/*/*/memory.db")
    with Database(path) as database:
        rows = database.connection.execute(
            "SELECT e.name, count(p.id) FROM embedding_models AS e LEFT JOIN passages AS p ON p.model_id = e.id GROUP BY 1"
        )
        return {str(name): int(count) for name, count in rows}


def test_meaning_is_searched_at_every_moment_of_a_change(folder: Path) -> None:
    with Service(folder) as before:
        account = before.sign_up()
        account.create("The cat sleeps on the warm printer.")
        for start in range(0, MEMORIES, 100):
            contents = [f"Note {number} about {SUBJECTS[number % len(SUBJECTS)]}." for number in range(start, start + 100)]
            answer = account.post("/v1/memories/batch", json={"create": [{"content": content} for content in contents]})
            assert answer.status_code < 300, answer.text
        account.wait_for_embeddings()
        assert account.get("/v1/stats").json()["embedding_model"] == DEFAULT_MODEL

    with Service(folder, environment={"ENGRAM_EMBEDDING_MODEL": FLOAT_MODEL}) as after:
        account = account_at(after, account)
        searched = []
        for number in range(100_000):
            assert first(account, "where does the feline rest?") == "The cat sleeps on the warm printer."
            searched.append(account.get("/v1/stats").json()["embedding_model"])
            if number == 1:  # while the old model's vectors are searched
                account.create("Dentist appointment on Tuesday morning.")
            if number >= 1:
                assert first(account, "toothache treatment date") == "Dentist appointment on Tuesday morning."
            if searched[-1] == FLOAT_MODEL:
                break
        account.wait_for_embeddings()
        account.close()

        assert searched[:2] == [DEFAULT_MODEL] * 2
        assert searched[-1] == FLOAT_MODEL

    assert passages_by_model(folder) == {FLOAT_MODEL: MEMORIES + 2}


def test_without_the_old_model_words_are_searched_until_the_new_one_has_all(folder: Path, tmp_path: Path) -> None:
    with Service(folder) as before:
        account = before.sign_up()
        account.create("The cat sleeps on the warm printer.")
    only_new = tmp_path / "models"
    only_new.mkdir()
    (only_new / FLOAT_MODEL).symlink_to(MODELS / FLOAT_MODEL)

    with Service(folder, environment={"ENGRAM_EMBEDDING_MODEL": FLOAT_MODEL, "ENGRAM_MODELS_DIR": str(only_new)}) as after:
        account = account_at(after, account)
        modes = []
        while "hybrid" not in modes:
            answer = account.post("/v1/search", json={"query": "printer cat"})
            assert answer.status_code == 200, answer.text
            assert [hit["memory"]["content"] for hit in answer.json()["results"]] == ["The cat sleeps on the warm printer."]
            modes.append(answer.json()["mode"])

        assert first(account, "where does the feline rest?") == "The cat sleeps on the warm printer."
        assert modes[0] == "keyword"
        assert account.get("/v1/stats").json()["embedding_model"] == FLOAT_MODEL
        account.close()
