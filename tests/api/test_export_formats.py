"""Each format carries everything: memories, links and versions, with their ids and times, and the file of another workspace."""

from __future__ import annotations

import json
import sqlite3
import struct
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.answers import problem
from tests.api.files import bring, entry, file
from tests.service import Account

TEXTS = ("json", "jsonl", "markdown")
KINDS = {"json": "application/json", "jsonl": "application/x-ndjson", "markdown": "text/markdown; charset=utf-8"}
AWKWARD = "# Heading\r\n\n---\nid: 99\n---\n<!-- engram:end -->\n\\<!-- engram:memory -->\n\n"


def furnish(account: Account) -> list[int]:
    """Store memories with links and versions; return the ids of what is not deleted."""
    awkward = account.create(AWKWARD, tags=["a/b", "ß"], metadata={"k": [1, "---\n"]}, importance=0.25)["id"]
    changed = account.create(
        "before", type="episodic", event_time="1999-12-31T23:59:59.999999Z", event_duration_seconds=90, workspace="w"
    )["id"]
    account.patch(f"/v1/memories/{changed}", json={"content": "between", "change_summary": "first thoughts"})
    account.patch(f"/v1/memories/{changed}", json={"content": "after", "tags": ["t"]})
    gone = account.create("deleted")["id"]
    daily = account.create("daily", tier="daily", ttl_seconds=86_400, scope={"type": "user", "id": "anna"})["id"]
    for to_id, fields in ((changed, {"edge_type": "supersedes", "strength": 0.5}), (gone, {}), (daily, {"pinned": True})):
        answer = account.post(f"/v1/memories/{awkward}/links", json={"to_id": to_id, **fields})
        assert answer.is_success, answer.text
    account.delete(f"/v1/memories/{gone}")
    return [awkward, changed, daily]


def exported(account: Account, form: str, **parameters: str) -> bytes:
    answer = account.get("/v1/export", params={"format": form, **parameters})
    assert answer.status_code == 200, answer.text
    return answer.content


def document(account: Account) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(exported(account, "json"))
    del found["exported_at"]
    return found


def send(account: Account, content: bytes, **parameters: str) -> httpx.Response:
    return account.post("/v1/import", content=content, params=parameters, headers={"Content-Type": "application/octet-stream"})


@pytest.mark.parametrize("form", TEXTS)
def test_everything_leaves_and_arrives_in_every_format(account: Account, other_account: Account, form: str) -> None:
    furnish(account)
    before = document(account)
    answer = send(other_account, exported(account, form))

    assert answer.json() == {"imported": 3, "skipped": 0, "failed": 0, "errors": [], "id_map": {}}
    assert document(other_account) == before
    assert before["memories"][0]["content"] == AWKWARD
    assert [link["to_id"] for link in before["engram_cloud"]["links"]] == [2, 4]
    assert [(one["memory_id"], one["version"]) for one in before["engram_cloud"]["versions"]] == [(2, 1), (2, 2)]
    assert send(other_account, exported(account, form), format=form).json()["skipped"] == 3
    assert document(other_account) == before
    other_account.wait_for_embeddings()


@pytest.mark.parametrize("form", TEXTS)
def test_the_content_type_is_the_formats(account: Account, form: str) -> None:
    account.create("one")
    answer = account.get("/v1/export", params={"format": form})

    assert answer.headers["Content-Type"] == KINDS[form]
    assert "attachment" in answer.headers["Content-Disposition"]
    headers = {"Content-Type": answer.headers["Content-Type"]}
    assert account.post("/v1/import", content=answer.content, headers=headers).json()["skipped"] == 1


def test_what_comes_back_is_read_as_it_was(account: Account, other_account: Account) -> None:
    """The history and the graph are asked for by those who know nothing of files."""
    _, changed, _ = furnish(account)
    send(other_account, exported(account, "json"))

    for path in (f"/v1/memories/{changed}/versions", f"/v1/memories/{changed}/links"):
        theirs, ours = other_account.get(path).json(), account.get(path).json()
        for link in [*theirs.get("links", ()), *ours.get("links", ())]:
            link["confidence"] = round(link["confidence"], 3)  # it fades from one question to the next
        assert theirs == ours
    reverted = other_account.post(f"/v1/memories/{changed}/revert", json={"version": 1}).json()
    assert (reverted["content"], reverted["version"]) == ("before", 4)


def test_links_and_versions_follow_their_memories_to_new_ids(account: Account, other_account: Account) -> None:
    furnish(account)
    for number in range(6):
        other_account.create(f"in the way {number}")
    moved = send(other_account, exported(account, "json")).json()["id_map"]

    assert set(moved) == {"1", "2", "4"}
    links = other_account.get(f"/v1/memories/{moved['1']}/links").json()["links"]
    assert {(link["to_id"], link["edge_type"]) for link in links} == {(moved["2"], "supersedes"), (moved["4"], "related_to")}
    versions = other_account.get(f"/v1/memories/{moved['2']}/versions").json()["versions"]
    assert [version["content"] for version in versions] == ["after", "between", "before"]


def test_a_link_that_was_removed_comes_back_with_the_file(account: Account) -> None:
    awkward, changed, _ = furnish(account)
    saved = exported(account, "json")
    before = document(account)
    account.delete(f"/v1/memories/{awkward}/links", params={"to_id": changed, "edge_type": "supersedes"})
    assert document(account) != before

    assert send(account, saved).json()["skipped"] == 3
    assert document(account)["engram_cloud"] == before["engram_cloud"]


def test_only_one_workspace(account: Account) -> None:
    furnish(account)
    found = json.loads(exported(account, "json", workspace="w"))

    assert (found["memory_count"], [memory["id"] for memory in found["memories"]]) == (1, [2])
    assert found["engram_cloud"]["links"] == []
    assert len(found["engram_cloud"]["versions"]) == 2
    assert json.loads(exported(account, "json", workspace="nobody"))["memories"] == []
    problem(account.get("/v1/export", params={"workspace": "Not One"}), 400, "invalid", "workspace")
    problem(account.get("/v1/export?workspace=a&workspace=b"), 400, "invalid", "workspace")


def test_the_sqlite_file_is_read_by_any_sqlite(account: Account, tmp_path: Path) -> None:
    awkward, changed, daily = furnish(account)
    account.wait_for_embeddings()
    path = tmp_path / "export.sqlite"
    answer = account.get("/v1/export", params={"format": "sqlite"})
    path.write_bytes(answer.content)
    copy = sqlite3.connect(path)

    assert answer.headers["Content-Type"] == "application/vnd.sqlite3"
    assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert copy.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert [row[0] for row in copy.execute("SELECT id FROM memories ORDER BY id")] == [awkward, changed, daily]
    assert copy.execute("SELECT content FROM memories WHERE id = ?", (awkward,)).fetchone() == (AWKWARD,)
    assert copy.execute("SELECT to_id, type FROM links ORDER BY 1").fetchall() == [
        (changed, "supersedes"),
        (daily, "related_to"),
    ]
    assert copy.execute("SELECT version, content FROM memory_versions").fetchall() == [(1, "before"), (2, "between")]
    assert copy.execute("SELECT tag FROM memory_tags ORDER BY 1").fetchall() == [("a/b",), ("t",), ("ß",)]
    ((dimensions,),) = copy.execute("SELECT dimensions FROM embedding_models").fetchall()
    for (vector,) in copy.execute("SELECT vector FROM passages").fetchall():
        assert sum(number * number for number in struct.unpack(f"<{dimensions}f", vector)) == pytest.approx(1, abs=1e-3)
    assert copy.execute("SELECT count(DISTINCT memory_id) FROM passages").fetchone() == (3,)
    assert "deleted" not in path.read_bytes().decode("latin-1")
    copy.execute("DELETE FROM memories")
    copy.close()


def test_a_sqlite_file_is_no_import(account: Account) -> None:
    account.create("one")

    problem(send(account, exported(account, "sqlite")), 415, "unsupported_media_type")


@pytest.mark.parametrize("sort_keys", [False, True])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_file_that_was_written_anew_is_read(
    account: Account, other_account: Account, sort_keys: bool, indent: int | None
) -> None:
    """With its keys sorted, links and versions come before the memories that they name."""
    furnish(account)
    again = json.dumps(json.loads(exported(account, "json")), indent=indent, sort_keys=sort_keys).encode()

    assert send(other_account, again).json()["imported"] == 3
    assert document(other_account) == document(account)


def test_lines_need_no_first_line(account: Account) -> None:
    lines = "\n\n".join(json.dumps(entry(number)) for number in (1, 2))

    assert send(account, lines.encode()).json()["imported"] == 2
    assert send(account, json.dumps(entry(3)).encode()).json()["imported"] == 1
    assert send(account, json.dumps(file(entry(4))).encode(), format="json").json()["imported"] == 1


@pytest.mark.parametrize(
    ("lines", "field"),
    [
        ('{"version":"2.0"}\n{"id":1}', "version"),
        ('{"version":"1.0","memory_count":2}\n' + json.dumps(entry(1)), "memory_count"),
        (json.dumps(entry(1)) + "\n" + json.dumps(entry(2))[:-9], "body"),
        (json.dumps(entry(1)) + '\n{"id":2}', "memories[1].content"),
        (json.dumps(entry(1)) + "\n[]", "body"),
        ('{"engram_cloud":{"link":{"from_id":1,"to_id":2,"created_at":"2026-01-01T00:00:00Z"}}}\n' + json.dumps(entry(1)),
         "engram_cloud.links[0].from_id"),
    ],
)  # fmt: skip
def test_bad_lines_are_named(account: Account, lines: str, field: str) -> None:
    problem(send(account, lines.encode(), format="jsonl"), 400, "invalid", field)
    assert document(account)["memories"] == []


@pytest.mark.parametrize(
    ("beside", "field"),
    [
        ([], "engram_cloud"),
        ({"links": {}}, "engram_cloud.links"),
        ({"links": [{"from_id": 1, "to_id": 2}]}, "engram_cloud.links[0].created_at"),
        ({"links": [{"from_id": 1, "to_id": 1, "created_at": "2026-01-01T00:00:00Z"}]}, "engram_cloud.links[0].to_id"),
        ({"links": [{"from_id": 1, "to_id": 9, "created_at": "2026-01-01T00:00:00Z"}]}, "engram_cloud.links[0].to_id"),
        ({"links": [{"from_id": 1, "to_id": 2, "edge_type": "likes"}]}, "engram_cloud.links[0].edge_type"),
        ({"versions": [5]}, "engram_cloud.versions[0]"),
        ({"versions": [entry(1) | {"memory_id": 1, "version": 1}]}, "engram_cloud.versions[0].version"),
        ({"versions": [entry(1) | {"memory_id": 3, "version": 1}]}, "engram_cloud.versions[0].memory_id"),
        ({"versions": [entry(1) | {"memory_id": 1, "version": 1, "content": " "}]}, "engram_cloud.versions[0].content"),
    ],
)
def test_bad_links_and_versions_are_named(account: Account, beside: Any, field: str) -> None:
    content = file(entry(1), entry(2)) | {"engram_cloud": beside}
    body = problem(account.post("/v1/import", json=content), 400, "invalid")

    assert body["field"].startswith(field), body
    assert document(account)["memories"] == []
    assert bring(account, file(entry(1), entry(2))) == {"imported": 2, "skipped": 0, "failed": 0, "errors": [], "id_map": {}}


def test_links_and_versions_of_what_has_expired_are_left_out(account: Account) -> None:
    expired = entry(2, tier="daily", engram_cloud={"version": 2, "expires_at": "2026-01-01T00:00:00Z"})
    link = {"from_id": 1, "to_id": 2, "created_at": "2026-01-01T00:00:00Z"}
    past = entry(2) | {"memory_id": 2, "version": 1}
    outcome = bring(account, file(entry(1), expired) | {"engram_cloud": {"links": [link], "versions": [past]}})

    assert (outcome["imported"], outcome["skipped"]) == (1, 1)
    assert document(account)["engram_cloud"] == {"links": [], "versions": []}
