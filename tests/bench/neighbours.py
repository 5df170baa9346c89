"""How much a quiet tenant notices of a neighbour that searches without pause, imports in bulk, or stores long texts.

The quiet tenant sends one request at a time at an even pace. It is measured alone and beside each neighbour in turn, round
after round, so that whatever else the machine does hits all alike; a ratio compares percentiles of one run. All clients run
on the machine that is measured.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

from tests.bench import table, wrk
from tests.bench.caller import Caller
from tests.bench.node import running
from tests.bench.wrk import Target
from tests.service import Account, Service

_SEED = 7
_WORDS_PER_TEXT = 25
_MEMORIES_PER_FILE = 2_000
_QUIET_MEMORIES = 300
_SETTLE_S = 1.0
_CONNECTIONS = 4
_SENTENCE = "机器学习系统需要大量的数据来训练模型并且评估它的结果。"
_LONG_BYTES = 64 * 1024

_AIMS = {"search hog": "1.2", "bulk importer": "2.0", "long texts": ""}
"""The largest ratio of the 99th percentiles that we want to see."""

Timings = dict[str, list[float]]
Neighbour = Callable[[float], AbstractContextManager[None]]


class Quiet:
    """The tenant whose requests are timed."""

    def __init__(self, account: Account, pace_s: float) -> None:
        self._account = account
        self._pace_s = pace_s
        self._number = 0

    def work(self, seconds: float) -> Timings:
        """Send requests for so long; return the milliseconds of each kind."""
        timings: Timings = defaultdict(list)
        end = time.perf_counter() + seconds
        with Caller(str(self._account.base_url)) as caller:
            while time.perf_counter() < end:
                for name, method, path, body in self._requests():
                    took_ms = caller.timed_ms(method, path, key=self._account.key, body=body)
                    timings[name].append(took_ms)
                    time.sleep(max(0.0, self._pace_s - took_ms / 1000))
        return timings

    def _requests(self) -> Iterator[tuple[str, str, str, object]]:
        self._number += 1
        yield "get", "GET", f"/v1/memories/{self._number % _QUIET_MEMORIES + 1}", None
        yield "search", "POST", "/v1/search", {"query": f"who waters plant {self._number}?"}
        yield "create", "POST", "/v1/memories", {"content": f"Plant {self._number} was watered."}


class Importer:
    """Imports one file after the other for as long as it is asked to; what it stored is thrown away afterwards."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._files = _files()
        self.imported = 0
        self.seconds = 0.0

    @contextmanager
    def at_work(self, seconds: float) -> Iterator[None]:
        files = [next(self._files) for _ in range(int(seconds * 4) + 1)]
        stop = threading.Event()
        thread = threading.Thread(target=self._import, args=(files, stop))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            _throw_away(self._account)

    def _import(self, files: list[bytes], stop: threading.Event) -> None:
        headers = {"Content-Type": "application/json"}
        begun = time.perf_counter()
        while files and not stop.is_set():
            self._account.post("/v1/import", content=files.pop(), headers=headers, timeout=600).raise_for_status()
            self.imported += _MEMORIES_PER_FILE
        self.seconds += time.perf_counter() - begun

    def speed(self) -> str:
        return f"{self.imported / self.seconds:,.0f} memories/s"


class Hog:
    """Searches by words and meaning without pause."""

    def __init__(self, account: Account, url: str) -> None:
        key = account.key
        self._target = Target(name="hog", url=url, path="/v1/search", method="POST", body="search", mode="auto", key=key)
        self.searches: list[float] = []

    @contextmanager
    def at_work(self, seconds: float) -> Iterator[None]:
        thread = threading.Thread(target=self._search, args=(seconds,))
        thread.start()
        try:
            yield
        finally:
            thread.join()

    def _search(self, seconds: float) -> None:
        self.searches.append(wrk.run(self._target, seconds=seconds, connections=_CONNECTIONS, label="hog").per_second)


class LongTexts:
    """Stores the longest memories there may be, in a script of many tokens."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._body = {"content": _SENTENCE * (_LONG_BYTES // len(_SENTENCE.encode()))}

    @contextmanager
    def at_work(self, _: float) -> Iterator[None]:
        stop = threading.Event()
        threads = [threading.Thread(target=self._store, args=(stop,)) for _ in range(_CONNECTIONS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()
            _throw_away(self._account)

    def _store(self, stop: threading.Event) -> None:
        with Caller(str(self._account.base_url)) as caller:
            while not stop.is_set():
                caller.call("POST", "/v1/memories", key=self._account.key, body=self._body)


def main() -> int:
    """Measure and print."""
    options = argparse.ArgumentParser(prog="scripts/bench neighbours", description=__doc__)
    options.add_argument("--seconds", type=float, default=8, help="of each turn")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--pace-ms", type=float, default=20, help="from one request of the quiet tenant to the next")
    options.add_argument("--memories", type=int, default=2_000, help="of the tenant that searches")
    options.add_argument("--only", default="", help="neighbours whose name begins so")
    given = options.parse_args()
    print(table.machine())
    with running() as service, ExitStack() as accounts:
        sign_up = lambda: accounts.enter_context(service.sign_up())  # noqa: E731
        importer, searcher = Importer(sign_up()), sign_up()
        hog = Hog(searcher, service.url)
        _fill(searcher, given.memories)
        quiet = Quiet(_quiet_account(service, accounts), given.pace_ms / 1000)
        neighbours: dict[str, Neighbour] = {
            "search hog": hog.at_work,
            "bulk importer": importer.at_work,
            "long texts": LongTexts(sign_up()).at_work,
        }
        neighbours = {name: work for name, work in neighbours.items() if name.startswith(given.only)}
        quiet.work(2)
        timings = _measure(quiet, neighbours, given.seconds, given.rounds)
        _show(timings, f"{given.rounds} rounds of {given.seconds:g} s, a request every {given.pace_ms:g} ms")
        if hog.searches:
            print(f"\n  the hog: {sum(hog.searches) / len(hog.searches):,.0f} searches/s")
        if importer.imported:
            alone = Importer(sign_up())
            with alone.at_work(given.seconds):
                time.sleep(given.seconds)
            print(f"  the importer: {importer.speed()} beside the quiet tenant, {alone.speed()} alone")
    return 0


def _measure(quiet: Quiet, neighbours: dict[str, Neighbour], seconds: float, rounds: int) -> dict[str, Timings]:
    timings: dict[str, Timings] = defaultdict(lambda: defaultdict(list))
    for _ in range(rounds):
        for name, neighbour in neighbours.items():
            for who, beside in (("alone", nullcontext()), (name, neighbour(seconds + 1))):
                with beside:
                    time.sleep(_SETTLE_S)
                    for kind, times in quiet.work(seconds).items():
                        timings[who][kind] += times
            print(f"  {name} measured", file=sys.stderr, flush=True)
    return timings


def _show(timings: dict[str, Timings], how: str) -> None:
    alone = timings.pop("alone")
    head = ("", "n", "alone p50 ms", "p99", "beside p50 ms", "p99", "ratio of p50", "of p99", "aim")
    for neighbour, kinds in timings.items():
        rows: list[tuple[Any, ...]] = []
        for kind, times in kinds.items():
            before = [table.percentile(alone[kind], share) for share in (0.5, 0.99)]
            beside = [table.percentile(times, share) for share in (0.5, 0.99)]
            ratios = [f"{one / other:.2f}" for one, other in zip(beside, before, strict=True)]
            figures = [f"{value:.1f}" for value in (*before, *beside)]
            rows.append((kind, len(times), *figures, *ratios, _AIMS[neighbour]))
        table.show(f"A quiet tenant beside one: {neighbour} ({how})", head, rows)


def _quiet_account(service: Service, accounts: ExitStack) -> Account:
    account = accounts.enter_context(service.sign_up())
    _fill(account, _QUIET_MEMORIES)
    return account


def _fill(account: Account, memories: int) -> None:
    entries = [entry | {"id": number + 1} for number, entry in enumerate(_entries(memories))]
    account.post("/v1/import", json={"version": "1.0", "memories": entries}).raise_for_status()
    account.wait_for_embeddings(600)


def _throw_away(account: Account) -> None:
    """Put everything into the trash, where nothing waits to be embedded."""
    while account.delete("/v1/workspaces/default").raise_for_status().json().get("remaining"):
        pass
    account.wait_for_embeddings(600)


def _files() -> Iterator[bytes]:
    """Yield import files; no id comes twice."""
    entries, first = _entries(_MEMORIES_PER_FILE), 1
    while True:
        memories = [entry | {"id": first + number} for number, entry in enumerate(entries)]
        first += len(memories)
        yield json.dumps({"version": "1.0", "memories": memories}).encode()


def _entries(count: int) -> list[dict[str, Any]]:
    chance = random.Random(_SEED)
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(3, 9))) for _ in range(2_000)]
    return [
        {
            "content": " ".join(chance.choices(words, k=_WORDS_PER_TEXT)),
            "memory_type": "note",
            "tags": ["work"],
            "created_at": "2025-01-01T00:00:00Z",
        }
        for _ in range(count)
    ]


if __name__ == "__main__":
    sys.exit(main())
