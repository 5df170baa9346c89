"""Lets a compromised engine attack a neighbour and the node, in the box and without it, and says what came of it.

An attack counts when it succeeds without the box: what would fail anyway proves nothing. Each is tried once more behind every
single layer, so that the table says which of them refuse it. Exit status 0: the box is whole, and nothing got out of it; 1: an
attack succeeded, or a control failed; 3: nothing got out, but this machine or user has not the whole box.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import msgspec
import structlog

from engine.protocol.processes import Isolation
from engine.sandbox import find_out
from engine.sandbox.confinement import LAYERS
from engine.sandbox.users import service_of
from tests.isolation import attacks, strangers
from tests.isolation.attack import CATALOGUE
from tests.isolation.compromised import Outcome
from tests.isolation.rows import Row, row, table
from tests.isolation.scene import Scene

PROVEN, NOT_PROVEN, NOT_WHOLE = 0, 1, 3

_SCENES_AT_ONCE = 3

assert attacks.__all__


class Report(msgspec.Struct, kw_only=True):
    """All that was found out."""

    isolation: Isolation
    rows: list[Row]
    neighbour_is_well: bool
    """Whether the neighbour's engine lived through all of it and knows what it knew."""
    attackers_database_is_well: bool

    @property
    def failures(self) -> list[Row]:
        """The rows that show a hole, or nothing."""
        return [each for each in self.rows if each.verdict == "fails"]

    @property
    def status(self) -> int:
        """The program's exit status."""
        if self.failures or not self.neighbour_is_well or not self.attackers_database_is_well:
            return NOT_PROVEN
        return PROVEN if self.isolation.level == "full" else NOT_WHOLE


@dataclass(frozen=True)
class _Trial:
    """All attacks against one way of confining."""

    isolation: Isolation
    outcomes: dict[str, Outcome]
    neighbour_is_well: bool
    attackers_database_is_well: bool


async def _try_all(mode: str, names: Iterable[str]) -> _Trial:
    async with Scene(mode) as scene:
        outcomes = {name: await scene.run(CATALOGUE.attacks[name]) for name in names}
        return _Trial(scene.isolation, outcomes, await scene.is_neighbour_well(), await scene.is_attackers_database_well())


def _strangers(*, is_root: bool) -> list[Row]:
    """Have what engines leave and say read by our readers and by naive ones."""
    answer = subprocess.run([sys.executable, "-m", "tests.isolation.strangers"], stdout=subprocess.PIPE, check=True).stdout
    outcomes = msgspec.json.decode(answer, type=dict[str, tuple[Outcome, Outcome]])
    return [row(strangers.attack(name), ours, naive, {}, is_root=is_root) for name, (ours, naive) in outcomes.items()]


def prove(names: Iterable[str] = (), *, each_layer: bool = True) -> Report:
    """Try the named attacks, or all; ``each_layer`` also behind every layer alone."""
    is_root = os.geteuid() == 0
    chosen = list(names) or list(CATALOGUE.attacks)
    _, isolation = find_out(own_users=service_of(None) is not None)
    there = [layer for layer in LAYERS if not isolation.layers[layer]] if each_layer else []
    modes = ["full", "control", *there]
    # A thread each, which lives until its programs have ended: they end with the thread that started them.
    with ThreadPoolExecutor(_SCENES_AT_ONCE) as threads:
        trials = dict(zip(modes, threads.map(lambda mode: asyncio.run(_try_all(mode, chosen)), modes), strict=True))
    full, control = trials["full"], trials["control"]
    alone = {layer: trials[layer].outcomes for layer in there}
    return Report(
        isolation=full.isolation,
        rows=[
            row(
                CATALOGUE.attacks[name],
                full.outcomes[name],
                control.outcomes[name],
                {layer: outcomes[name] for layer, outcomes in alone.items()},
                is_root=is_root,
            )
            for name in chosen
        ]
        + ([] if names else _strangers(is_root=is_root)),
        neighbour_is_well=full.neighbour_is_well,
        attackers_database_is_well=full.attackers_database_is_well,
    )


def _summary(report: Report) -> str:
    counts = {verdict: sum(each.verdict == verdict for each in report.rows) for verdict in ("holds", "absent", "powerless")}
    succeeded = sum(each.result == "SUCCEEDED" for each in report.rows)
    lines = [
        "",
        f"Isolation: {report.isolation.level}. Of {len(report.rows)} attacks {succeeded} succeeded in the box; "
        f"{counts['holds']} succeed only without it.",
        f"Beside these {counts['absent']} need what this kernel lacks, and {counts['powerless']} are beyond this user anyway.",
    ]
    missing = {layer: why for layer, why in report.isolation.layers.items() if why}
    lines += [f"  missing: {layer} ({why})" for layer, why in missing.items()]
    if not report.neighbour_is_well:
        lines.append("  The neighbour's engine did not live through it.")
    if not report.attackers_database_is_well:
        lines.append("  The attacker's own database is damaged.")
    return "\n".join(lines)


def main() -> int:
    """Run all attacks and print what came of them."""
    parser = argparse.ArgumentParser(prog="scripts/prove-isolation", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print rows for programs")
    parser.add_argument("--quick", action="store_true", help="do not ask which layers refuse an attack")
    parser.add_argument("attack", nargs="*", help="only these, by name")
    given = parser.parse_args()
    unknown = set(given.attack) - CATALOGUE.attacks.keys()
    if unknown:
        parser.error(f"there is no attack {', '.join(sorted(unknown))}")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    report = prove(given.attack, each_layer=not given.quick)
    if given.json:
        print(msgspec.json.format(msgspec.json.encode(report.rows), indent=1).decode())
    else:
        print(table(report.rows))
    print(_summary(report), file=sys.stderr if given.json else sys.stdout)
    return report.status


if __name__ == "__main__":
    sys.exit(main())
