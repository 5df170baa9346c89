"""Everything out and everything in: what a customer stored leaves whole and arrives whole."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.api.answers import count, problem
from tests.api.files import bring, entry, file
from tests.service import Account, Service

ID_MAX = 2**53 - 1


def export(account: Account) -> dict[str, Any]:
    answer = account.get("/v1/export")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    assert "attachment" in answer.headers["Content-Disposition"]
    exported: dict[str, Any] = answer.json()
    return exported


def without_moment(exported: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in exported.items() if name != "exported_at"}


def furnish(account: Account) -> None:
    """Store something of everything."""
    gone = account.create("deleted")["id"]
    account.create("plain")
    rich = account.create(
        "Ünïcode 😺\u0000\u202e\r\n",
        type="transcript_chunk",
        tags=["a/b", "ß"],
        metadata={"deep": {"list": [1, 0.1, None, True, "\u0000"]}, "": 2**63 - 1},
        importance=0.123,
        workspace="w_1",
        scope={"type": "agent", "id": "agent 7"},
        event_time="1999-12-31T23:59:59.999999Z",
    )["id"]
    account.create("daily", tier="daily", ttl_seconds=86_400 * 300)
    account.patch(f"/v1/memories/{rich}", json={"importance": 0.5})
    account.patch(f"/v1/memories/{rich}", json={"importance": 0.75})
    account.get(f"/v1/memories/{rich}")
    account.delete(f"/v1/memories/{gone}")


def test_an_empty_database_is_exported(account: Account) -> None:
    exported = export(account)

    assert exported.pop("exported_at").endswith("+00:00")
    assert exported == {
        "version": "1.0",
        "memory_count": 0,
        "memories": [],
        "engram_cloud": {"links": [], "versions": []},
    }


def test_what_leaves_one_tenant_arrives_whole_in_another(account: Account, other_account: Account) -> None:
    furnish(account)
    exported = export(account)
    outcome = bring(other_account, exported)

    assert outcome == {"imported": 3, "skipped": 0, "failed": 0, "errors": [], "id_map": {}}
    assert without_moment(export(other_account)) == without_moment(exported)
    assert [memory["id"] for memory in exported["memories"]] == [2, 3, 4]
    rich = exported["memories"][1]
    assert (rich["memory_type"], rich["engram_cloud"]["version"]) == ("transcriptchunk", 3)
    for memory_id in (2, 3, 4):
        free = {"accessed_at", "access_count"}
        theirs, ours = (client.get(f"/v1/memories/{memory_id}").json() for client in (other_account, account))
        assert {name: theirs[name] for name in theirs if name not in free} == {n: ours[n] for n in ours if n not in free}


def test_importing_again_skips_everything(account: Account, other_account: Account) -> None:
    furnish(account)
    exported = export(account)
    bring(other_account, exported)

    assert bring(other_account, exported) == {"imported": 0, "skipped": 3, "failed": 0, "errors": [], "id_map": {}}
    assert bring(account, exported)["skipped"] == 3
    assert without_moment(export(other_account)) == without_moment(exported)


def test_an_id_that_is_taken_is_mapped_and_told(account: Account) -> None:
    taken = account.create("here before")["id"]
    content = file(entry(taken, "newcomer"), entry(500, "keeps its id"))
    outcome = bring(account, content)
    ours = outcome["id_map"][str(taken)]

    assert (outcome["imported"], set(outcome["id_map"])) == (2, {str(taken)})
    assert ours not in (taken, 500)
    assert account.get(f"/v1/memories/{taken}").json()["content"] == "here before"
    assert account.get(f"/v1/memories/{ours}").json()["content"] == "newcomer"
    assert account.get("/v1/memories/500").json()["content"] == "keeps its id"

    again = bring(account, content)
    assert (again["imported"], again["skipped"], again["id_map"]) == (0, 2, {str(taken): ours})
    assert count(account) == 3


def test_an_id_given_twice_in_a_file_is_mapped(account: Account) -> None:
    outcome = bring(account, file(entry(7, "first"), entry(7, "second"), entry(7, "first")))

    assert (outcome["imported"], outcome["skipped"], set(outcome["id_map"])) == (2, 1, {"7"})
    assert account.get("/v1/memories/7").json()["content"] == "first"
    assert account.get(f"/v1/memories/{outcome['id_map']['7']}").json()["content"] == "second"


def test_a_deleted_memorys_id_is_not_given_to_another(account: Account) -> None:
    gone = account.create("deleted")["id"]
    account.delete(f"/v1/memories/{gone}")
    outcome = bring(account, file(entry(gone, "newcomer")))

    assert outcome["imported"] == 1
    assert outcome["id_map"].get(str(gone), gone) in [memory["id"] for memory in account.get("/v1/memories").json()["memories"]]


def test_engrams_plain_file_is_read(account: Account) -> None:
    odd = entry(3, "ein  Wort", memory_type="transcriptchunk", tags=["a"], metadata={"k": [1]}, tier="daily", unknown={"x": 1})
    outcome = bring(account, file(odd, entry(9), unknown=[1]))
    memory = account.get("/v1/memories/3").json()

    assert outcome["imported"] == 2
    assert memory["type"] == "transcript_chunk"
    assert memory["created_at"] == "2026-03-21T12:52:55.123457Z"
    assert memory["updated_at"] == "2026-03-22T08:00:00.000000Z"
    assert memory["expires_at"] is not None, "a daily memory always expires"
    assert (memory["version"], memory["event_time"], memory["scope"]) == (1, None, {"type": "global", "id": None})
    assert memory["content_hash"] == account.create("Ein wort")["content_hash"]


ENGRAMS = b"""{"version":"1.0","exported_at":"2026-03-21T12:52:55.123456789+00:00","memory_count":1,"memories":[{"id":1,
"content":"The office cat sleeps on the printer.","memory_type":"note","tags":["a"],"metadata":{},"importance":0.5,
"workspace":"default","tier":"permanent","created_at":"2026-03-21T12:52:55.123456789+00:00",
"updated_at":"2026-03-21T12:52:55.123456789+00:00"}]}"""
"""A file of an Engram that does not know scopes yet, with every field that its importer demands."""


def test_a_file_goes_there_and_back(account: Account) -> None:
    """Engram refuses a file that lacks one of its fields, and passes over what it does not know."""
    headers = {"Content-Type": "application/json"}
    assert account.post("/v1/import", content=ENGRAMS, headers=headers).json()["imported"] == 1
    theirs, ours = json.loads(ENGRAMS), export(account)

    assert theirs.keys() <= ours.keys()
    assert (ours["version"], ours["memory_count"]) == ("1.0", 1)
    (memory,) = ours["memories"]
    again = {name: memory[name] for name in theirs["memories"][0] if not name.endswith("_at")}
    assert again == {name: value for name, value in theirs["memories"][0].items() if not name.endswith("_at")}
    assert memory["created_at"] == memory["updated_at"] == "2026-03-21T12:52:55.123457+00:00"
    assert (memory["scope_type"], memory["scope_id"]) == ("global", None)


@pytest.mark.parametrize("number", [ID_MAX, ID_MAX - 1, 2**53, 2**62, 2**63 - 1])
def test_ids_at_the_end_leave_room_for_later_ones(account: Account, number: int) -> None:
    outcome = bring(account, file(entry(number, "far out"), entry(ID_MAX - 2**40, "kept")))
    ours = outcome["id_map"].get(str(number), number)

    assert outcome["imported"] == 2
    assert account.get(f"/v1/memories/{ours}").json()["content"] == "far out"
    assert account.get(f"/v1/memories/{ID_MAX - 2**40}").json()["content"] == "kept"
    later = [account.create(f"later {n}")["id"] for n in range(3)]
    assert len({*later, ours}) == 4
    assert all(memory_id <= ID_MAX for memory_id in [*later, ours])


def test_the_file_may_be_a_part_of_a_form(account: Account) -> None:
    content = json.dumps(file(entry(1))).encode()
    parts = {"note": (None, "hello"), "file": ("memories.json", content, "application/json"), "file2": ("x", b"[]")}

    assert account.post("/v1/import", files=parts).json()["imported"] == 1
    problem(account.post("/v1/import", files={"other": ("x", content)}), 400, "invalid", "file")
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    for broken in (b"", b"--x\r\n", b"--x\r\n\r\n", b"--y--", b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n{}'):
        problem(account.post("/v1/import", content=broken, headers=headers), 400, "invalid")
    problem(account.post("/v1/import", content=content, headers={"Content-Type": "multipart/form-data"}), 400, "invalid")
    assert count(account) == 1


def test_an_import_keeps_the_rules_that_hold_for_memories(account: Account) -> None:
    """A tag is there once; what is permanent does not expire, whatever the file says."""
    extras = {"engram_cloud": {"expires_at": "2999-01-01T00:00:00Z"}}
    bring(account, file(entry(1, tags=["b", "a", "b"]), entry(2, tier="daily", **extras)))

    assert account.get("/v1/memories/1").json()["tags"] == ["b", "a"]
    assert account.get("/v1/memories/2").json()["expires_at"] == "2999-01-01T00:00:00.000000Z"

    answer = account.post("/v1/import", json=file(entry(3, tier="permanent", **extras)))
    if answer.status_code == 200:
        assert account.get("/v1/memories/3").json()["expires_at"] is None
    else:
        problem(answer, 400, "invalid", "memories[0].engram_cloud.expires_at")


def test_an_export_of_a_later_minor_version_is_read(account: Account) -> None:
    assert bring(account, file(entry(1), version="1.7"))["imported"] == 1


def test_only_known_formats_and_parameters(account: Account) -> None:
    assert account.get("/v1/export?format=json").status_code == 200
    problem(account.get("/v1/export?format=csv"), 400, "invalid", "format")
    problem(account.get("/v1/export?tenant=other"), 400, "invalid", "tenant")


def test_twelve_hundred_entries_are_found_by_word_at_once_and_by_meaning_soon(account: Account, other_account: Account) -> None:
    entries = [entry(number, f"Box {number} in the cellar holds old cables.") for number in range(1, 1201)]
    entries[776] = entry(777, "The office cat sleeps on the printer.", tags=["cat"])
    assert bring(account, file(*entries)) == {"imported": 1200, "skipped": 0, "failed": 0, "errors": [], "id_map": {}}

    assert account.search("printer", mode="keyword")[0]["memory"]["id"] == 777
    assert account.search("1200", mode="keyword")[0]["memory"]["id"] == 1200
    account.wait_for_embeddings()
    for mode in ("semantic", "hybrid"):
        assert account.search("feline at work", mode=mode)[0]["memory"]["id"] == 777
    exported = export(account)
    assert [memory["id"] for memory in exported["memories"]] == [*range(1, 1201)]
    assert exported["memory_count"] == 1200
    assert count(account) == 1200
    assert count(other_account) == 0


def test_memory_counts_while_two_imports_run_beside_each_other(service: Service, account: Account) -> None:
    """Two files with the same ids at once: each is taken whole, ids that clash are mapped."""
    import concurrent.futures

    def one(word: str) -> dict[str, Any]:
        content = file(*[entry(number, f"{word} {number}") for number in range(1, 301)])
        answer = httpx.post(f"{service.url}/v1/import", json=content, headers=account.headers, timeout=60)
        assert answer.status_code == 200, answer.text
        outcome: dict[str, Any] = answer.json()
        return outcome

    with concurrent.futures.ThreadPoolExecutor() as pool:
        outcomes = list(pool.map(one, ("left", "right")))

    assert [outcome["imported"] for outcome in outcomes] == [300, 300]
    assert sorted(len(outcome["id_map"]) for outcome in outcomes) == [0, 300]
    assert count(account) == 600


def test_an_import_brings_back_what_was_deleted(account: Account) -> None:
    memory = account.create("deleted by mistake", tags=["a"])
    saved = account.get("/v1/export").content
    account.delete(f"/v1/memories/{memory['id']}")

    answer = account.post("/v1/import", content=saved, headers={"Content-Type": "application/json"}).json()

    assert (answer["imported"], answer["skipped"], answer["id_map"]) == (1, 0, {})
    assert account.get(f"/v1/memories/{memory['id']}").json()["content"] == "deleted by mistake"
    assert account.get("/v1/stats").json()["memories"] == 1


def test_entries_that_look_alike_stay_two_memories(account: Account) -> None:
    taken = [account.create(f"in the way {number}") for number in range(2)]
    moment = "2026-01-01T00:00:00Z"
    entries = [
        {"id": taken[0]["id"], "content": "Same", "memory_type": "note", "tags": ["one"], "created_at": moment},
        {"id": taken[1]["id"], "content": "same", "memory_type": "todo", "tags": ["two"], "created_at": moment},
        {"id": 77, "content": "same", "memory_type": "todo", "tags": ["two"], "created_at": moment},
        {"id": 2**53 - 1, "content": "same", "memory_type": "todo", "tags": ["two"], "created_at": moment},
    ]
    body = {"version": "1.0", "memories": entries}

    first = account.post("/v1/import", json=body).json()
    again = account.post("/v1/import", json=body).json()

    assert (first["imported"], first["skipped"]) == (4, 0)
    assert (again["imported"], again["skipped"]) == (0, 4)
    assert again["id_map"] == first["id_map"]
    assert len(set(first["id_map"].values()) | {77}) == 4
    assert account.get("/v1/stats").json()["memories"] == 6
