"""Gateway and host are killed while customers write through them: what was acknowledged is there exactly once.

``tests/acceptance/test_kills_under_load.py`` kills every program in turn; this kills the two that stand between a customer and
an engine, and often. ``./scripts/soak gateway`` does so a thousand times.
"""

from __future__ import annotations

import json
import os
import random
import secrets
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.mixed_load import Writer
from tests.acceptance.reckoning import check_contents, check_files
from tests.service import Service, wait_until

SOAK_KILLS = int(os.environ.get("ENGRAM_SOAK_GATEWAY_KILLS", "0"))
KILLS = SOAK_KILLS or 6

WRITERS = 3
GETS_GOING_S = 180
"""Far longer than a program needs to come back."""

PROGRAMS = {"gateway": ("gateway.main",), "host": ("tenants.host.main",), "both": ("tenants.host.main", "gateway.main")}

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(0 if SOAK_KILLS else 300)]


@pytest.fixture
def node(models: Path, tmp_path: Path) -> Iterator[Service]:
    with Service(tmp_path) as running:
        yield running


def test_an_acknowledged_write_survives_gateway_and_host(node: Service, capsys: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(secrets.randbits(32) if SOAK_KILLS else 1)
    kills: Counter[str] = Counter()
    with node.sign_up() as account:
        writers = [Writer(account, f"w{number}", seed=chance.getrandbits(32)) for number in range(WRITERS)]
        for writer in writers:
            writer.start()
        try:
            while kills.total() < KILLS:
                _work(writers, steps=chance.randint(1, 3))
                what = "gateway" if not kills else "host" if kills.total() == 1 else chance.choice(list(PROGRAMS))
                for name in PROGRAMS[what]:
                    wait_until(lambda name=name: _is_running(node, name), GETS_GOING_S)
                    node.program(name).kill()
                kills[what] += 1
                if SOAK_KILLS:
                    with capsys.disabled():
                        print(json.dumps(_figures(kills, writers)), flush=True)
            _work(writers, steps=1)
        finally:
            for writer in writers:
                writer.stop()
            for writer in writers:
                writer.join(120)
        account.wait_for_embeddings()

        check_contents(account, writers)
    check_files(node, account, writers)


def _is_running(node: Service, name: str) -> bool:
    try:
        return node.program(name).is_running()
    except LookupError:
        return False


def _work(writers: list[Writer], *, steps: int) -> None:
    """Wait until each writer has got something done."""
    wanted = [writer.steps + steps for writer in writers]

    def done() -> bool:
        for writer in writers:
            writer.check()
        return all(writer.steps >= steps for writer, steps in zip(writers, wanted, strict=True))

    wait_until(done, GETS_GOING_S)


def _figures(kills: Counter[str], writers: list[Writer]) -> dict[str, int]:
    ledgers = [writer.ledger for writer in writers]
    return {
        **kills,
        "acknowledged": sum(writer.steps for writer in writers),
        "memories": sum(len(ledger.stored) for ledger in ledgers),
        "asked again": sum(ledger.refusals.total() for ledger in ledgers),
    }
