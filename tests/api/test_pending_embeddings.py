"""What is embedded while the caller waits, what later, and that neither stands in the way of a search."""

from __future__ import annotations

import signal
from pathlib import Path

import httpx

from engine.embedder.settings import DEFAULT_MODEL
from gateway.bulk_calls import TEXTS_AT_ONCE_MAX
from tests.service import Account, Service, wait_until


def create_many(account: Account, count: int, words: int = 3) -> None:
    contents = [f"Entry {number}: " + "a word and another " * words for number in range(count)]
    answer = account.post("/v1/memories/batch", json={"create": [{"content": content} for content in contents]})
    assert answer.status_code < 300, answer.text


def pending(account: Account) -> int:
    count: int = account.get("/v1/stats").json()["pending_embeddings"]
    return count


def test_a_small_batch_can_be_searched_by_meaning_at_once(account: Account) -> None:
    create_many(account, TEXTS_AT_ONCE_MAX)

    stats = account.get("/v1/stats").json()
    assert (stats["pending_embeddings"], stats["embedding_model"], stats["re_embedding_to"]) == (0, DEFAULT_MODEL, None)


def test_a_large_batch_is_stored_at_once_and_embedded_later(account: Account) -> None:
    create_many(account, 200, words=20)
    assert pending(account) > 0

    account.wait_for_embeddings()


def test_a_search_by_meaning_goes_ahead_of_a_large_batch(service: Service, account: Account) -> None:
    other = service.sign_up()
    other.create("The cat sleeps on the warm printer.")
    create_many(account, 300, words=60)
    assert pending(account) > 0
    for _ in range(5):
        hits = other.search("where does the feline rest?", mode="semantic")
        assert hits[0]["memory"]["content"] == "The cat sleeps on the warm printer."
    still_pending = pending(account)
    other.close()

    assert still_pending > 0


def test_a_new_gateway_finds_what_the_last_one_left_pending(models: Path, tmp_path: Path) -> None:
    with Service(tmp_path) as service:
        account = service.sign_up()
        create_many(account, 150, words=60)
        gateway = service.program("gateway.main")
        gateway.send_signal(signal.SIGKILL)
        gateway.wait(30)
        wait_until(lambda: _answers(account))
        account.wait_for_embeddings()
        account.close()


def _answers(account: Account) -> bool:
    try:
        return account.get("/health").status_code == 200
    except httpx.HTTPError:
        return False


def test_a_memory_that_takes_too_long_to_embed_does_not_keep_others_from_searching(models: Path, tmp_path: Path) -> None:
    """Somebody's 64 KiB of Chinese take longer than their writer waits; that is no reason to think the embedder has failed."""
    with Service(tmp_path) as service, service.sign_up() as account, service.sign_up() as other:
        other.create("The cat sleeps on the warm printer.")
        embedder = service.program("engine.embedder.main")
        embedder.suspend()
        account.create("x" * 60_000)
        embedder.resume()

        assert pending(account) == 1
        assert other.search("where does the feline rest?", mode="semantic")
