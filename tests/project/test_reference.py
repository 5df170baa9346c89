"""The reference says what the code does: every setting, error code, tool, metric, address and command."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from engine.catalogue import TOOLS
from engine.protocol import ErrorCode
from gateway.api.errors import CODES
from gateway.cli import main
from tests.service import ROOT, Service

REFERENCE = (ROOT / "gateway" / "REFERENCE.md").read_text()
PACKAGES = ("engine", "gateway", "tenants", "quotas", "billing")
_SETTING = re.compile(r"\bENGRAM_[A-Z_]+\b")
INTERNAL = {
    "ENGRAM_PYTHON",
    "ENGRAM_SUPERVISOR",
    "ENGRAM_CAPTURE",
    "ENGRAM_FORK_SERVER_USER",
    "ENGRAM_KEY",
    "ENGRAM_URL",
    "ENGRAM_NEW_MASTER_KEY",
}
"""The supervisor's own, and those of the command line, which are with its commands."""


def section(title: str) -> str:
    match = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", REFERENCE, re.DOTALL | re.MULTILINE)
    assert match is not None, title
    return match[1]


def rows(title: str) -> set[str]:
    """Return the first column of a section's table, without its quotes."""
    return {found[1] for found in re.finditer(r"^\| `([^`]+)`", section(title), re.MULTILINE)}


def commands(command: click.Command, name: str) -> Iterator[str]:
    """Yield what can be called: groups are only on the way."""
    if not isinstance(command, click.Group):
        yield name
        return
    for part, below in command.commands.items():
        yield from commands(below, f"{name} {part}")


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from (ROOT / package).rglob("*.py")
    yield ROOT / "infra" / "supervisord.conf"


def test_every_setting_is_documented_and_read() -> None:
    read = {name for path in sources() for name in _SETTING.findall(path.read_text())}

    assert read - INTERNAL == rows("Settings")


def test_every_error_code_is_documented() -> None:
    assert rows("Error codes") == CODES.keys()


def test_every_engine_error_has_a_problem() -> None:
    from engine.protocol import RemoteError
    from gateway.api.errors import body, from_remote

    for code in ErrorCode:
        assert body(from_remote(RemoteError(code, "words")))["code"] in CODES


def test_every_tool_is_documented() -> None:
    assert rows("Tools") == TOOLS.keys()


def test_every_command_is_documented() -> None:
    assert rows("Commands") == set(commands(main, "engram"))


def test_every_address_is_documented(service: Service) -> None:
    import httpx

    schema = httpx.get(f"{service.url}/schema/openapi.json").json()
    addresses = {
        f"{method.upper()} {path}" for path, methods in schema["paths"].items() for method in methods if method != "head"
    }

    assert addresses | {"POST /v1/mcp", "GET /schema/openapi.json"} == rows("Addresses")


def test_every_metric_is_documented(service: Service) -> None:
    import httpx

    exposed = set(re.findall(r"^# TYPE (engram_\w+)", httpx.get(f"{service.url}/metrics").text, re.MULTILINE))

    assert {name for name in exposed if not name.endswith("_created")} == rows("Metrics")


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "gateway/REFERENCE.md"])
def test_links_lead_somewhere(name: str) -> None:
    path = ROOT / name
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", path.read_text()):
        assert (path.parent / target).exists(), target
