"""Writers that never give up, and a ledger of what they were told: what a customer may rely on, whatever dies meanwhile.

Each writer follows its own seeded plan. Whatever changes something carries an ``Idempotency-Key`` (an import: ids of its own)
and is sent again until it is answered, so in the end everything must be there exactly once.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.api.files import entry, file
from tests.service import Account

RETRIES_S = 60.0
"""Longer than any program needs to come back, on a machine that does other things too."""

MAY_HAPPEN = {429, 502, 503, 504}
"""What a client may be told while something is down, or too many exports and imports run. Anything else is a fault of ours."""

EXPORTS = ("json", "jsonl", "markdown", "sqlite")


@dataclass
class Ledger:
    """What one writer knows to be stored: the text of each of its memories by its id, and what must be nowhere."""

    stored: dict[int, str] = field(default_factory=dict)
    trashed: set[int] = field(default_factory=set)
    purged: list[str] = field(default_factory=list)
    expiring: int = 0
    held: set[str] = field(default_factory=set)
    """Texts of imports that were sent again: the one before may hold them, unseen, until it is given up after an hour."""
    refusals: Counter[int] = field(default_factory=Counter)
    """How often it was told to try again, by status; 0 is a connection that broke."""


class Writer(threading.Thread):
    """One customer's program. ``stop`` ends it after the step that it is at; ``join`` raises what went wrong in it."""

    def __init__(self, account: Account, name: str, seed: int) -> None:
        super().__init__(name=name, daemon=True)
        self.ledger = Ledger()
        self.steps = 0
        """Taken and acknowledged."""
        self._client = httpx.Client(base_url=account.base_url, headers=dict(account.headers), timeout=30)
        self._random = random.Random(seed)
        self._number = 0
        self._ended = threading.Event()
        self._error: BaseException | None = None

    def run(self) -> None:
        steps = (self.create, self.create, self.batch, self.change, self.trash, self.purge, self.expire, self.bring, self.take)
        try:
            while not self._ended.is_set():
                self._random.choice(steps)()
                self.steps += 1
        except BaseException as error:  # it belongs to whoever joins
            self._error = error

    def stop(self) -> None:
        """Let it end."""
        self._ended.set()

    def join(self, timeout: float | None = None) -> None:
        super().join(timeout)
        self._client.close()
        if self._error is not None:
            raise self._error

    def check(self) -> None:
        """Raise what went wrong in it so far."""
        if self._error is not None:
            raise self._error

    def create(self) -> None:
        text = self._text("created")
        self.ledger.stored[self._send("POST", "/v1/memories", {"content": text})["id"]] = text

    def batch(self) -> None:
        """Five new ones, one of them put into the trash by the next batch's deletion."""
        texts = [self._text("batch") for _ in range(5)]
        gone = self._some(1)
        body = {"create": [{"content": text, "tags": ["b"]} for text in texts], "delete": gone}
        done = self._send("POST", "/v1/memories/batch", body)
        for memory_id in gone:
            self.ledger.stored.pop(memory_id)
            self.ledger.trashed.add(memory_id)
        self.ledger.stored |= {memory["id"]: text for memory, text in zip(done["created"], texts, strict=True)}

    def change(self) -> None:
        for memory_id in self._some(1):
            text = self._text("changed")
            assert self._send("PATCH", f"/v1/memories/{memory_id}", {"content": text})["content"] == text
            self.ledger.stored[memory_id] = text

    def trash(self) -> None:
        for memory_id in self._some(1):
            self._send("DELETE", f"/v1/memories/{memory_id}")
            self.ledger.stored.pop(memory_id)
            self.ledger.trashed.add(memory_id)

    def purge(self) -> None:
        for memory_id in self._some(2):
            self._send("DELETE", f"/v1/memories/{memory_id}?purge=true")
            self.ledger.purged.append(self.ledger.stored.pop(memory_id))

    def expire(self) -> None:
        """Of a write that is answered only when all it made has expired, one is told just that."""
        memories = [{"content": self._text("expiring"), "tier": "daily", "ttl_seconds": 1} for _ in range(20)]
        self._send("POST", "/v1/memories/batch", {"create": memories}, or_status=404)
        self.ledger.expiring += len(memories)

    def bring(self) -> None:
        """An import of sixty. Sent again, all of it is known already, or none.

        One that a killed gateway has left unfinished holds its ids for an hour: sent again, its entries get others, as told.
        """
        first = 1_000_000_000 + self._random.randrange(10**9) * 1000
        refused = self.ledger.refusals.total()
        texts = {first + number: self._text("imported") for number in range(60)}
        done = self._send("POST", "/v1/import", file(*[entry(number, text) for number, text in texts.items()]))
        assert (done["imported"], done["skipped"], done["failed"]) in ((60, 0, 0), (0, 60, 0))
        if self.ledger.refusals.total() > refused:
            self.ledger.held.update(texts.values())
        self.ledger.stored |= {done["id_map"].get(str(number), number): text for number, text in texts.items()}

    def take(self) -> None:
        """An export. What it holds may be checked by nobody while others write; it must come to its end, or break off."""
        form = self._random.choice(EXPORTS)
        try:
            answer = self._client.get("/v1/export", params={"format": form})
        except httpx.HTTPError:
            self.ledger.refusals[0] += 1
            return
        assert answer.status_code in {200, *MAY_HAPPEN}, answer.text
        if answer.is_success and form == "json":
            json.loads(answer.content)

    def _text(self, kind: str) -> str:
        self._number += 1
        return f"{self.name}zz{self._number:06} {kind} about the harbour, the lighthouse and number {self._number}"

    def _some(self, count: int) -> list[int]:
        known = sorted(self.ledger.stored)
        return self._random.sample(known, min(count, len(known)))

    def _send(self, method: str, address: str, body: Any = None, *, or_status: int = 200) -> dict[str, Any]:
        """Return the answer, a success or of ``or_status``, asking again as long as the node can't say."""
        self._number += 1
        headers = {"Idempotency-Key": f"{self.name}-{self._number}"}
        give_up_at = time.monotonic() + RETRIES_S
        while True:
            try:
                answer = self._client.request(method, address, json=body, headers=headers)
            except httpx.HTTPError:
                status = 0
            else:
                status = answer.status_code
                if answer.is_success or status == or_status:
                    done: dict[str, Any] = answer.json()
                    return done
            self.ledger.refusals[status] += 1
            assert status == 0 or status in MAY_HAPPEN, f"{method} {address}: {answer.text}"
            assert time.monotonic() < give_up_at, f"{method} {address} is not answered"
            time.sleep(0.05)
