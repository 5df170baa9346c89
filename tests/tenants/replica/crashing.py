"""A replicator that is killed again and again: ``python -m tests.tenants.replica.crashing DATA URL ROUNDS SECONDS``.

Each round forks a process in which everything is imported already, and kills it a moment later, wherever it is then.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from pathlib import Path

from tenants.replica.main import serve
from tests.tenants.replica.replicating import settings_for

_SHORTEST_S = 0.01
"""Not long enough for the lease."""


def main() -> None:
    """Do the rounds. A life lasts at most ``SECONDS``."""
    data, url, rounds, longest_s = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    import boto3  # noqa: F401  # not in each round anew

    settings = settings_for(data, url)
    chance = random.Random(rounds)
    for _ in range(rounds):
        child = os.fork()
        if child == 0:
            asyncio.run(serve(settings))
            os._exit(0)
        time.sleep(chance.uniform(_SHORTEST_S, longest_s))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
