"""Which of a node's settings gateway and replicator are started with."""

from __future__ import annotations

import configparser

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.launcher import environment_of
from tests.service import ROOT, Service

NAMES = st.sampled_from(
    [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_PROFILE",
        "ENGRAM_CLERK_SECRET_KEY",
        "ENGRAM_DATABASE_URL",
        "ENGRAM_MASTER_KEY",
        "ENGRAM_REPLICA_URL",
        "ENGRAM_SENTRY_DSN",
        "ENGRAM_STRIPE_API_KEY",
        "PATH",
    ]
)


@given(st.dictionaries(NAMES, st.text(min_size=1)))
def test_neither_knows_what_only_the_other_needs(environment: dict[str, str]) -> None:
    gateway, replicator = (environment_of(program, environment) for program in ("gateway", "replicator"))

    assert not [name for name in gateway if name.startswith("AWS_")]
    assert {name for name in replicator if name.startswith("ENGRAM_")} <= {"ENGRAM_MASTER_KEY", "ENGRAM_REPLICA_URL"}
    for name, value in environment.items():
        assert value in (gateway.get(name), replicator.get(name)) or name.startswith("AWS_")


@pytest.mark.parametrize("module", ["gateway.main", "tenants.replica.main"])
def test_a_crash_leaves_no_keys_on_the_disk(service: Service, module: str) -> None:
    process = service.program(module)

    assert process.rlimit(psutil.RLIMIT_CORE) == (0, 0)


@pytest.mark.parametrize("program", ["fork_server", "embedder", "host"])
def test_the_others_are_started_with_nothing_but_what_is_named(program: str) -> None:
    configuration = configparser.RawConfigParser()
    configuration.read(ROOT / "infra" / "supervisord.conf", encoding="utf-8")
    command = configuration.get(f"program:{program}", "command")

    assert command.startswith("/usr/bin/env -i ")
    assert not [secret for secret in ("MASTER_KEY", "AWS_", "STRIPE", "CLERK", "DATABASE_URL") if secret in command]
