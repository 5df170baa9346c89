"""``engram up``: a whole node from one command, until Ctrl-C or SIGTERM.

Order: settings, folder and lock, port, model, supervisor, readiness. Whatever is in the way is one line, not a traceback.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

import click

from gateway.node import CannotStart, Node
from gateway.settings import GatewaySettings, SettingsError

_READY_WAIT_S = 120.0
_SILENCE_S = 15.0
"""After so long without an answer we say where the reason is: an object store that is not there or refuses us, most often."""

_FULLY_READY_WAIT_S = 30.0
"""How long a service that answers may lack a part, the model for instance, before we say so and go on."""


def run(environment: Mapping[str, str], *, log_to_terminal: bool = False) -> int:
    """Run a node; return the exit status."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stop.set())
    started_at = time.monotonic()
    os.umask(0o077)  # what this node writes is nobody else's to read; every program inherits it
    try:
        settings = GatewaySettings.from_environment(environment)
        node = Node(settings, environment)
        node.claim()
    except (SettingsError, CannotStart) as error:
        for line in str(error).splitlines():
            click.echo(f"engram up: {line}", err=True)
        return 2
    if not node.prepare_model() and not stop.is_set():
        click.echo("Going on without it: search goes by words, and meaning is added once a model is there.")
    if stop.is_set():
        return 0
    try:
        return _run_node(node, settings, stop, started_at, log_to_terminal=log_to_terminal)
    finally:
        node.stop()
        click.echo("Stopped.")


def _run_node(node: Node, settings: GatewaySettings, stop: threading.Event, started_at: float, *, log_to_terminal: bool) -> int:
    click.echo("Starting gateway, host, fork server, embedder and replicator …")
    node.start(log_to_terminal=log_to_terminal)
    readiness = _wait_until_ready(node, settings, stop)
    if stop.is_set():
        click.echo("Stopping …")
        return 0
    if readiness is None:
        click.echo(f"engram up: the service does not come up; {node.log_path} says why.", err=True)
        return 1
    for name, part in readiness["parts"].items():
        if part["status"] != "ready":
            click.echo(f"  without {name}: {part.get('reason', part['status'])}")
    click.echo(_backups(settings, is_ready=readiness["parts"]["replicator"]["status"] == "ready"))
    click.echo(_welcome(settings.public_url, time.monotonic() - started_at, str(node.log_path)))
    while node.running() and not stop.wait(0.5):
        pass
    if not stop.is_set():
        click.echo("engram up: the supervisor has ended.", err=True)
        return 1
    click.echo("Stopping …")
    return 0


def _wait_until_ready(node: Node, settings: GatewaySettings, stop: threading.Event) -> dict[str, Any] | None:
    """Return what ``/ready`` says once requests are served, after a while even if a part is missing."""
    begun = time.monotonic()
    is_told = False
    while node.running() and not stop.is_set() and time.monotonic() - begun < _READY_WAIT_S:
        answer = _ask(settings)
        if answer is not None and answer["status"] == "ready":
            return answer
        patient = time.monotonic() - begun < _FULLY_READY_WAIT_S
        if answer is not None and answer["status"] == "degraded" and (not patient or _lacks_for_good(answer)):
            return answer
        if answer is None and not is_told and time.monotonic() - begun > _SILENCE_S:
            is_told = True
            click.echo(f"It takes longer than it should; {node.log_path} says what is waited for.")
        stop.wait(0.1)
    return None


def _lacks_for_good(answer: dict[str, Any]) -> bool:
    """Whether waiting won't help: the embedder has looked for its model and has not found it."""
    reason = str(answer["parts"]["embedder"].get("reason", ""))
    return answer["parts"]["embedder"]["status"] != "ready" and reason not in ("starting", "does not answer")


def _ask(settings: GatewaySettings) -> dict[str, Any] | None:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    address = f"http://{f'[{host}]' if ':' in host else host}:{settings.port}/ready"
    try:
        with urllib.request.urlopen(address, timeout=5) as response:
            answer: dict[str, Any] = json.load(response)
    except (OSError, ValueError):
        return None
    return answer


def _backups(settings: GatewaySettings, *, is_ready: bool) -> str:
    if not settings.replicating:
        return "Nothing is replicated: this disk holds the only copy (ENGRAM_REPLICA_URL=off)."
    if not is_ready:
        return f"Nothing is carried to {settings.replica_url} yet: changes wait on this disk."
    return f"Every change is carried to {settings.replica_url}, from where any second can be restored."


def _welcome(url: str, seconds: float, log_path: str) -> str:
    return f"""
Engram Cloud is ready at {url} (after {seconds:.1f} s). Three commands to try:

  # 1. sign up; the answer holds your key
  curl -sS {url}/v1/signup -H 'Content-Type: application/json' \\
    -d '{{"email":"you@example.com","password":"ten characters or more","organization":"Acme"}}'

  export ENGRAM_KEY=ek_live_…   # the api_key of that answer

  # 2. store a memory
  curl -sS {url}/v1/memories -H "Authorization: Bearer $ENGRAM_KEY" -H 'Content-Type: application/json' \\
    -d '{{"content":"The office cat sleeps on the printer."}}'

  # 3. find it by its meaning
  curl -sS {url}/v1/search -H "Authorization: Bearer $ENGRAM_KEY" -H 'Content-Type: application/json' \\
    -d '{{"query":"feline at work"}}'

Or sign up in a browser: {url}/signup. Logs: {log_path}. Ctrl-C stops everything."""
