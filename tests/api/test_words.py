"""Searching by words over REST: every script, quotes, stars, slips of the finger."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.service import Account, Service

NOTES = (
    "The Kubernetes deployment failed on Friday.",
    "We deploy the databank of words by hand.",
    "Error E4021 comes from the payment worker.",
    "The exact words must stand side by side.",
    "These words are not the exact ones.",
    "我们决定把数据库迁移到新加坡。",
    "用GPT做摘要很快。",
    "データベースの移行は来週の火曜日です。",
    "데이터베이스를 부산으로 이전합니다.",
    "เราตัดสินใจย้ายฐานข้อมูลไปสิงคโปร์",
    "Die Größe der Straße vor dem Café.",
)


@pytest.fixture(scope="module")
def library(service: Service) -> Iterator[Account]:
    """An account with the notes, that no test changes."""
    with service.sign_up() as account:
        for note in NOTES:
            account.create(note)
        account.create("Moved the bucket.", tags=["infra/terraform"], workspace="atlas", metadata={"ticket": "PROJ-77"})
        yield account


def hits(library: Account, query: str, mode: str = "keyword") -> list[dict[str, Any]]:
    return library.search(query, mode=mode)


def contents(library: Account, query: str, mode: str = "keyword") -> list[str]:
    return [hit["memory"]["content"] for hit in hits(library, query, mode)]


@pytest.mark.parametrize("mode", ["keyword", "auto"])
@pytest.mark.parametrize(
    ("query", "note", "shown"),
    [
        ("数据库", NOTES[5], "**数据库**"),
        ("新加坡", NOTES[5], "**新加坡**"),
        ("坡", NOTES[5], "新加**坡**"),
        ("摘要", NOTES[6], "**摘要**"),
        ("gpt", NOTES[6], "用**GPT**做"),
        ("火曜日", NOTES[7], "**火曜日**"),
        ("부산", NOTES[8], "**부산**으로"),
        ("ฐานข้อมูล", NOTES[9], "**ฐานข้อมูล**"),
        ("GRÖSSE", NOTES[10], "**Größe**"),
        ("cafe strasse", NOTES[10], "**Straße** vor dem **Café**"),
    ],
)
def test_a_word_of_any_script_is_found_first_and_shown(library: Account, mode: str, query: str, note: str, shown: str) -> None:
    first = hits(library, query, mode)[0]

    assert first["memory"]["content"] == note
    assert shown in " ".join(first["highlights"])


@pytest.mark.parametrize("query", ["terraform", "atlas", "PROJ-77"])
def test_tags_workspace_and_metadata_are_searched_too(library: Account, query: str) -> None:
    assert contents(library, query) == ["Moved the bucket."]


def test_quotes_and_stars_are_honoured(library: Account) -> None:
    assert contents(library, '"exact words"') == [NOTES[3]]
    assert set(contents(library, '"words exact"')) == {NOTES[1], NOTES[3], NOTES[4]}
    assert set(contents(library, "deploy*")) == {NOTES[0], NOTES[1]}


@pytest.mark.parametrize("mode", ["keyword", "auto"])
def test_a_slip_is_forgiven_and_told(library: Account, mode: str) -> None:
    answer = library.post("/v1/search", json={"query": "kuberentes", "mode": mode}).json()

    assert answer["results"][0]["memory"]["content"] == NOTES[0]
    assert answer["corrected"] == {"kuberentes": ["kubernetes"]}


def test_a_number_is_never_corrected(library: Account) -> None:
    answer = library.post("/v1/search", json={"query": "E4012", "mode": "keyword"}).json()

    assert answer["results"] == []
    assert "corrected" not in answer


def test_a_changed_and_a_deleted_memory_lose_their_old_words(account: Account) -> None:
    memory_id = account.create("我们在北京", tags=["first"], metadata={"city": "Tromsø"})["id"]
    assert [contents(account, query) for query in ("北京", "first", "tromso")] == [["我们在北京"]] * 3

    change = {"content": "我们在东京", "tags": ["second"], "metadata": {"city": "Bodø"}}
    assert account.patch(f"/v1/memories/{memory_id}", json=change).status_code == 200
    assert [contents(account, query) for query in ("北京", "first", "tromso")] == [[]] * 3
    assert [contents(account, query) for query in ("东京", "second", "bodo")] == [["我们在东京"]] * 3

    account.delete(f"/v1/memories/{memory_id}")
    assert contents(account, "东京") == []
