"""Search over REST: by word, by meaning, by both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.answers import problem
from tests.service import Account, Service

MODES = ("auto", "keyword", "semantic", "hybrid")

CAT = "The office cat sleeps on the printer."
NOTES = [
    "The deployment pipeline runs on every merge to the trunk.",
    "Ana prefers tabs over spaces in Go code.",
    "The quarterly report is due on the first Monday of the month.",
    "Use exponential backoff when the payment provider times out.",
    "Lunch orders go to the bakery on the corner before eleven.",
    "The staging database is reset every Sunday night.",
    "Invoices above ten thousand need a second signature.",
    "The coffee machine on the third floor is broken again.",
    "Error E-4711 means that the licence server could not be reached.",
    "The entry point of the program is src/main.rs in the core crate.",
    "We moved the frontend from node.js 18 to 22 in spring.",
    "Write to a@b.co when the certificate is about to expire.",
    "Parking spaces are assigned by the front desk.",
    "The retention policy keeps logs for thirty days.",
    "Marketing wants the logo in blue on white.",
    "The fire drill is on Thursday at ten.",
    "Customers in Japan pay in yen and get invoices in Japanese.",
    "The search index is rebuilt when the tokenizer changes.",
    "Ben takes parental leave from May to August.",
    "The meeting room Galileo has the good microphone.",
    "Passwords are hashed with argon2 and never logged.",
    "The mobile app caches images for a week.",
    "Our carbon report counts business flights.",
    "The VPN certificate is renewed in November.",
    "Feature flags are removed two releases after launch.",
    "The onboarding buddy shows new people the wiki.",
    "Unit tests must not talk to the network.",
    "The warehouse in Leipzig ships on weekdays only.",
    "A blameless review follows every outage.",
    "The board meets in the first week of each quarter.",
]
IDENTIFIERS = {"src/main.rs": NOTES[9], "node.js": NOTES[10], "a@b.co": NOTES[11], "E-4711": NOTES[8]}


@pytest.fixture(scope="module")
def library(service: Service) -> Iterator[Account]:
    """An account with the notes, that no test changes."""
    with service.sign_up() as account:
        for note in [*NOTES, CAT]:
            account.create(note)
        yield account


def contents(hits: list[dict[str, Any]]) -> list[str]:
    return [hit["memory"]["content"] for hit in hits]


@pytest.mark.parametrize("mode", ["auto", "hybrid", "semantic"])
def test_meaning_finds_what_shares_no_word(library: Account, mode: str) -> None:
    assert contents(library.search("feline at work", mode=mode))[0] == CAT


def test_words_alone_do_not_find_it(library: Account) -> None:
    assert library.search("feline at work", mode="keyword") == []


@pytest.mark.parametrize("mode", ["auto", "keyword", "hybrid"])
@pytest.mark.parametrize("identifier", IDENTIFIERS)
@pytest.mark.parametrize("question", ["{}", "what was that about {}?", '"{}"'])
def test_exact_names_are_found_first(library: Account, mode: str, identifier: str, question: str) -> None:
    assert contents(library.search(question.format(identifier), mode=mode))[0] == IDENTIFIERS[identifier]


@pytest.mark.parametrize("mode", MODES)
def test_an_answer_says_what_was_done(library: Account, mode: str) -> None:
    body = library.post("/v1/search", json={"query": "coffee machine", "mode": mode, "limit": 3}).json()

    assert body["mode"] == ("hybrid" if mode == "auto" else mode)
    assert body["took_ms"] >= 0
    assert contents(body["results"])[0] == NOTES[7]
    assert "**coffee** **machine**" in " ".join(body["results"][0]["highlights"]) or mode == "semantic"
    assert "explain" not in body["results"][0]


def test_a_hit_holds_the_whole_memory(library: Account) -> None:
    hit = library.search("coffee machine")[0]["memory"]
    read = library.get(f"/v1/memories/{hit['id']}").json()

    assert {**hit, "accessed_at": None, "access_count": 0} == {**read, "accessed_at": None, "access_count": 0}


@pytest.mark.parametrize("mode", MODES)
def test_scores_are_above_zero_up_to_one_and_fall(library: Account, mode: str) -> None:
    for query in ("the office cat", "report", CAT, "invoices in Japanese", "feline"):
        scores = [hit["score"] for hit in library.search(query, mode=mode, limit=100)]

        assert scores == sorted(scores, reverse=True)
        assert all(0 < score <= 1 for score in scores), scores
        assert mode == "keyword" or len(scores) == len(NOTES) + 1


@pytest.mark.parametrize("mode", MODES)
def test_the_order_is_the_same_each_time(library: Account, mode: str) -> None:
    answers = [library.search("the report of the first week", mode=mode, limit=100) for _ in range(5)]

    assert len({tuple((hit["memory"]["id"], hit["score"]) for hit in answer) for answer in answers}) == 1


def test_equal_memories_keep_an_order(account: Account) -> None:
    for _ in range(6):
        account.create("the same words")
    orders = {tuple(hit["memory"]["id"] for hit in account.search("same words")) for _ in range(5)}

    assert len(orders) == 1
    assert len(orders.pop()) == 6


def test_a_limit_cuts_the_same_list(library: Account) -> None:
    ten = contents(library.search("report of the quarter"))

    assert len(ten) == 10
    assert contents(library.search("report of the quarter", limit=3)) == ten[:3]


def test_an_explanation_has_its_parts(library: Account) -> None:
    hit = library.search("the office cat", explain=True)[0]
    explain = hit["explain"]
    start, end = explain["passage"]

    assert hit["memory"]["content"] == CAT
    assert set(explain) == {"bm25", "coverage", "keyword", "cosine", "semantic", "passage"}
    assert explain["bm25"] > 0
    assert all(0 <= explain[part] <= 1 for part in ("coverage", "keyword", "semantic"))
    assert -1 <= explain["cosine"] <= 1
    assert 0 <= start < end <= len(CAT)
    assert set(library.search("the office cat", explain=True, mode="keyword")[0]["explain"]) == {"bm25", "coverage", "keyword"}
    assert set(library.search("cat", explain=True, mode="semantic")[0]["explain"]) == {"cosine", "semantic", "passage"}


def test_filters_are_applied_before_the_best_are_chosen(account: Account) -> None:
    """Sixty better matches stand before the five that are asked for: a filter applied afterwards would come back short."""
    for n in range(60):
        account.create(f"office cat office cat {n}")
    wanted = {
        account.create(
            f"The cat number {n} was seen once in a long text about an office and many other things that matter less here.",
            tags=["rare", f"n{n}"],
            type="decision",
            workspace="attic",
            tier="daily",
        )["id"]
        for n in range(5)
    }
    for mode in MODES:
        for fields in ({"tags": ["rare"]}, {"type": "decision"}, {"workspace": "attic"}, {"tier": "daily"}):
            hits = account.search("office cat", mode=mode, limit=5, **fields)
            assert {hit["memory"]["id"] for hit in hits} == wanted, (mode, fields)
        one = account.search("office cat", mode=mode, limit=5, tags=["rare", "n3"], workspace="attic", type="decision")
        assert [hit["memory"]["tags"] for hit in one] == [["rare", "n3"]]
        assert account.search("office cat", mode=mode, tags=["rare"], workspace="default") == []
        assert len(account.search("office cat", mode=mode, limit=50)) == 50


def test_another_tenants_memories_are_never_found(library: Account, account: Account) -> None:
    for mode in MODES:
        assert account.search(CAT, mode=mode) == []
    own = account.create("The office cat is mine.")["id"]
    for mode in MODES:
        assert [hit["memory"]["id"] for hit in account.search(CAT, mode=mode)] == [own]
    assert len(library.search(CAT, limit=100)) == len(NOTES) + 1


SYNTAX = [
    '"',
    "*",
    "^",
    "-",
    ":",
    "AND",
    "OR",
    "NOT",
    "NEAR",
    "AND OR NEAR(",
    "NEAR(a b, 2)",
    "content:x",
    "a*",
    "^a",
    "-a",
    "(",
    ")",
]
SYNTAX += [
    "{a b}: c",
    "''",
    "'; DROP TABLE memories; --",
    '"""',
    "\\",
    "%",
    "_",
    "...",
    "?!",
    "😀",
    "🏴‍☠️",
    "\u202e",
    "\u0000",
    "a\u0000b",
    "don't",
]
SYNTAX += ["a" * 4096, '"' * 4096, "a " * 2048, "NEAR(" * 800, "\u0301" * 100, "\ufeff", "ﷺ" * 1000]


@pytest.mark.parametrize("query", SYNTAX, ids=range(len(SYNTAX)))
def test_no_query_is_syntax(library: Account, query: str) -> None:
    for mode in MODES:
        answer = library.post("/v1/search", json={"query": query, "mode": mode})
        assert answer.status_code == 200, (mode, answer.text[:300])


@pytest.mark.parametrize("query", [" ", "\n\t ", "\u2003", "\u00a0"])
@pytest.mark.parametrize("mode", MODES)
def test_a_query_of_white_space_is_empty_or_refused_by_name(library: Account, mode: str, query: str) -> None:
    answer = library.post("/v1/search", json={"query": query, "mode": mode})

    if answer.status_code == 200:
        assert answer.json()["results"] == []
    else:
        problem(answer, 400, "invalid", "query")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"query": ""}, "query"),
        ({"query": "x" * 4097}, "query"),
        ({"query": None}, "query"),
        ({"query": ["x"]}, "query"),
        ({}, "query"),
        ({"query": "x", "limit": 0}, "limit"),
        ({"query": "x", "limit": 101}, "limit"),
        ({"query": "x", "limit": 10**8}, "limit"),
        ({"query": "x", "limit": 10**30}, "limit"),
        ({"query": "x", "limit": True}, "limit"),
        ({"query": "x", "limit": "5"}, "limit"),
        ({"query": "x", "mode": "vibes"}, "mode"),
        ({"query": "x", "workspace": "../other"}, "workspace"),
        ({"query": "x", "tags": "a"}, "tags"),
        ({"query": "x", "tags": ["a", ""]}, "tags[1]"),
        ({"query": "x", "tags": ["a"] * 17}, "tags"),
        ({"query": "x", "tier": "weekly"}, "tier"),
        ({"query": "x", "explain": 1}, "explain"),
        ({"query": "x", "tenant_id": "t"}, "tenant_id"),
        ({"query": "x", "strategies": "keyword"}, "strategies"),
    ],
)
def test_a_bad_argument_is_named(account: Account, fields: dict[str, Any], field: str) -> None:
    problem(account.post("/v1/search", json=fields), 400, "invalid", field)


@settings(max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(query=st.text(min_size=1, max_size=200), mode=st.sampled_from(MODES), limit=st.integers(1, 100))
def test_no_text_breaks_search(library: Account, query: str, mode: str, limit: int) -> None:
    answer = library.post("/v1/search", json={"query": query, "mode": mode, "limit": limit})

    if answer.status_code != 200:
        problem(answer, 400, "invalid", "query")
    else:
        assert len(answer.json()["results"]) <= limit
