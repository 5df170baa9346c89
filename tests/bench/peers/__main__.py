"""Searches and single writes of this service beside chromadb and mcp-memory-service: text in, results out.

Every side makes its vectors itself, from the same model. All take turns, round after round, so that whatever else the machine
does hits them alike; a ratio is the median over the rounds of two runs that followed each other.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import uvloop

from engine import VERSION
from tests.bench import table
from tests.bench.node import running
from tests.bench.peers import chroma, load, mcp_memory, recall
from tests.bench.peers.chroma import OwnClient
from tests.bench.peers.dataset import Dataset
from tests.bench.peers.engram import Engram
from tests.bench.peers.load import Speed
from tests.bench.peers.system import System, Unavailable

_CLIENTS = (1, 16)
_WARM_S = 1.0

_OURS = (
    f"Engram Cloud {VERSION}: a node as `engram up` starts it, a plan without limits, REST with a key; a write is answered "
    "after its fsync (synchronous=FULL). Memory is all of its processes', the embedding model included."
)

_Target = System | OwnClient


@dataclass
class _Measured:
    """What was found out about one target: speeds by (what, clients), a run per round."""

    speeds: dict[tuple[str, int], list[Speed]] = field(default_factory=dict)
    recall: dict[int, float] | None = None
    footprint: tuple[float, float] | None = None
    found_on_return: bool | None = None


def main() -> int:
    """Measure and print."""
    options = argparse.ArgumentParser(prog="scripts/bench peers", description=__doc__)
    options.add_argument("--memories", type=int, default=10_000)
    options.add_argument("--seconds", type=float, default=5, help="of each run")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--questions", type=int, default=200, help="asked for recall; 0: none")
    options.add_argument("--only", choices=("chromadb", "mcp-memory-service"), help="of the peers, this one")
    given = options.parse_args()
    print(table.machine())
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="engram-peers-")))
        service = stack.enter_context(running())
        account = stack.enter_context(service.sign_up())
        ours, by_meaning = Engram(service, account, "hybrid"), Engram(service, account, "semantic")
        fillable: list[System] = [ours]
        targets: list[_Target] = [ours, by_meaning]
        notes = [_OURS]
        if given.only != "mcp-memory-service":
            with _if_available("chromadb"):
                bare, own = stack.enter_context(chroma.running(_made(folder / "chromadb")))
                fillable.append(bare)
                targets += [bare, own]
                notes.append(chroma.NOTES)
        if given.only != "chromadb":
            with _if_available("mcp-memory-service"):
                semantic, hybrid = stack.enter_context(mcp_memory.running(_made(folder / "mcp-memory-service")))
                fillable.append(semantic)
                targets += [semantic, hybrid]
                notes.append(mcp_memory.NOTES)
        measured = uvloop.run(_measure(fillable, targets, given))
    _show(measured, given)
    print("\n" + "\n".join(notes))
    return 0


async def _measure(fillable: Sequence[System], targets: Sequence[_Target], given: argparse.Namespace) -> dict[str, _Measured]:
    data = Dataset(given.memories)
    print(f"{len(data.items):,} memories, of which {data.turns:,} are turns of the {data.name} conversations")
    for system in fillable:
        began = time.perf_counter()
        taken = await system.fill(data.items)
        print(f"{system.name.split(',')[0]} took {taken:,} of them in {time.perf_counter() - began:.0f} s", flush=True)
    measured = {target.name: _Measured() for target in targets}
    queries, texts, questions = data.queries(), data.texts(), data.sample(given.questions)
    for target in targets:
        await _search(target, queries, clients=_CLIENTS[-1], seconds=_WARM_S)
        if questions and not isinstance(target, OwnClient):
            measured[target.name].recall = await recall.measure(target, questions)
    await _rounds("search", _search, targets, queries, measured, given)
    for system in fillable:
        measured[system.name].footprint = system.footprint()
    writing = [target for target in targets if isinstance(target, OwnClient) or target in fillable]
    await _rounds("write", _write, writing, texts, measured, given)
    for system in fillable:
        measured[system.name].found_on_return = await _found_on_return(system, next(texts))
    return measured


async def _rounds(
    what: str,
    run: Callable[..., Awaitable[Speed]],
    targets: Sequence[_Target],
    texts: Iterator[str],
    measured: dict[str, _Measured],
    given: argparse.Namespace,
) -> None:
    for turn in range(1, given.rounds + 1):
        print(f"{what}, round {turn} of {given.rounds}", flush=True)
        for clients in _CLIENTS:
            for target in targets:
                speed = await run(target, texts, clients=clients, seconds=given.seconds)
                measured[target.name].speeds.setdefault((what, clients), []).append(speed)


async def _search(target: _Target, queries: Iterator[str], *, clients: int, seconds: float) -> Speed:
    if isinstance(target, OwnClient):
        return target.searches(queries, clients=clients, seconds=seconds)
    return await load.searches(target, queries, clients=clients, seconds=seconds)


async def _write(target: _Target, texts: Iterator[str], *, clients: int, seconds: float) -> Speed:
    if isinstance(target, OwnClient):
        return target.writes(texts, clients=clients, seconds=seconds)
    return await load.writes(target, texts, clients=clients, seconds=seconds)


async def _found_on_return(system: System, text: str) -> bool:
    """Return whether a memory is found by the search that follows its write."""
    client = await system.connect()
    try:
        await client.write(text)
        return text in await client.search(text)
    finally:
        client.close()


@contextmanager
def _if_available(peer: str) -> Iterator[None]:
    """Say why a peer can't be measured, and go on without it."""
    try:
        yield
    except Unavailable as error:
        print(f"{peer} is not measured: {error}", flush=True)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _show(measured: dict[str, _Measured], given: argparse.Namespace) -> None:
    ours = next(iter(measured.values()))
    for what in ("search", "write"):
        for clients in _CLIENTS:
            rows = [
                _speed_row(name, one.speeds[what, clients], ours.speeds[what, clients])
                for name, one in measured.items()
                if (what, clients) in one.speeds
            ]
            title = (
                f"{what.capitalize()}, {clients} client{'s' if clients > 1 else ''}, {given.memories:,} memories, "
                f"median of {given.rounds} rounds of {given.seconds:g} s"
            )
            table.show(title, ("", "requests/s", "p50 ms", "p99 ms", "ours / theirs"), rows)
    head = ("", "R@5", "R@10", "found on return", "private MB", "database MB")
    title = f"Evidence found for at most {given.questions} questions, each asked in its own conversation; what it takes"
    table.show(title, head, [_other_row(name, one) for name, one in measured.items()])


def _speed_row(name: str, runs: Sequence[Speed], ours: Sequence[Speed]) -> tuple[object, ...]:
    ratios = [one.per_second / other.per_second for one, other in zip(ours, runs, strict=True)]
    return (
        name,
        f"{median(run.per_second for run in runs):,.1f}",
        f"{median(run.p50_ms for run in runs):.2f}",
        f"{median(run.p99_ms for run in runs):.2f}",
        f"{median(ratios):.2f}",
    )


def _other_row(name: str, one: _Measured) -> tuple[object, ...]:
    recalled = (f"{one.recall[5]:.3f}", f"{one.recall[10]:.3f}") if one.recall else ("", "")
    found = {True: "yes", False: "no", None: ""}[one.found_on_return]
    weighed = (f"{one.footprint[0]:.0f}", f"{one.footprint[1]:.1f}") if one.footprint else ("", "")
    return name, *recalled, found, *weighed


if __name__ == "__main__":
    sys.exit(main())
