"""What must hold after customers have written while programs died: all they were told is there once, and no file is damaged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.acceptance.mixed_load import Writer
from tests.service import Account, Service

_HISTORY = {"outbox", "replica"}
"""Folders of it."""


def check_contents(account: Account, writers: list[Writer]) -> None:
    """Compare what a customer can list, count and find with what its writers were told."""
    listed: dict[int, str] = {}
    cursor = ""
    while True:
        page = account.get(f"/v1/memories?limit=500{cursor}").json()
        listed |= {memory["id"]: memory["content"] for memory in page["memories"]}
        if not page["next_cursor"]:
            break
        cursor = f"&cursor={page['next_cursor']}"
    stored = {memory_id: text for writer in writers for memory_id, text in writer.ledger.stored.items()}
    found = {memory_id: text for memory_id, text in listed.items() if text.startswith("w") and " expiring " not in text}
    assert found == stored
    statistics = account.get("/v1/stats").json()
    assert statistics["memories"] == len(listed)
    assert statistics["trash"] == sum(len(writer.ledger.trashed) for writer in writers)
    for writer in writers:
        for text in list(writer.ledger.stored.values())[-3:]:
            assert [hit["memory"]["content"] for hit in account.search(text.split()[0], limit=1)] == [text]


def check_files(node: Service, account: Account, writers: list[Writer]) -> None:
    """Nothing of what was purged is in any file, with the engine still running, and the whole node is sound.

    But for what another import holds that never came to its end, and for history: what was captured before the purge stays in
    the outbox until it is carried away, and in the object store until retention ends.
    """
    names = {text.split()[0].encode() for writer in writers for text in {*writer.ledger.purged} - writer.ledger.held}
    with Account(node.url, account.key, account.database) as customer:
        last = customer.create("zzpurgedlast, after everything")
        assert customer.delete(f"/v1/memories/{last['id']}?purge=true").is_success
    names.add(b"zzpurgedlast")
    for path in node.folder.rglob("*"):
        if path.is_file() and not _HISTORY & set(path.relative_to(node.folder).parts):
            content = path.read_bytes()
            assert [name for name in names if name in content] == [], path
    node.stop()
    command = [str(Path(sys.executable).with_name("engram")), "doctor", "--json"]
    told = subprocess.run(command, env=node.environment, capture_output=True, text=True, timeout=120, check=False)
    assert (told.returncode, told.stderr) == (0, "")
    assert [finding["report"]["problems"] for finding in json.loads(told.stdout) if finding["report"].get("problems")] == []
    assert "Traceback" not in node.log()
