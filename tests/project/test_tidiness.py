"""Style that can be counted: names, sizes, shadows, layers that forgot a package."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import VERSION
from tests.service import ROOT

PACKAGES = ("engine", "gateway", "tenants", "quotas", "billing")
MODULE_LINES_MAX = 300
FUNCTION_LINES_MAX = 70
JUNK_DRAWERS = {"utils", "util", "helpers", "helper", "common", "misc"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def modules() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_shadows_our_packages(package: str) -> None:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    owners = [
        distribution.metadata["Name"]
        for distribution in importlib.metadata.distributions()
        if package in (distribution.read_text("top_level.txt") or "").split()
    ]

    assert Path(spec.origin).parent == ROOT / package
    assert package not in sys.stdlib_module_names
    assert [name for name in owners if name != "engram-cloud"] == []


def test_the_folders_are_the_ones_we_said() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    folders = {name.split("/")[0] for name in listed if "/" in name}

    assert folders - {".ci"} <= {*PACKAGES, "infra", "scripts", "tests"}


def test_every_package_is_in_the_import_contracts() -> None:
    assert set(PROJECT["tool"]["importlinter"]["root_packages"]) == set(PACKAGES)
    assert set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == set(PACKAGES)


def test_no_module_is_a_junk_drawer() -> None:
    assert [str(path) for path in modules() if path.stem in JUNK_DRAWERS or path.parent.name in JUNK_DRAWERS] == []


@pytest.mark.parametrize("path", list(modules()), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_fits_in_the_head(path: Path) -> None:
    source = path.read_text()
    lengths = {
        node.name: (node.end_lineno or 0) - node.lineno + 1
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }

    assert source.count("\n") <= MODULE_LINES_MAX
    assert {name: lines for name, lines in lengths.items() if lines > FUNCTION_LINES_MAX} == {}


def test_the_version_is_one() -> None:
    assert PROJECT["project"]["version"] == VERSION
    assert importlib.metadata.version("engram-cloud") == VERSION
    assert f"## {VERSION}" in (ROOT / "CHANGELOG.md").read_text()


def test_both_commands_are_installed() -> None:
    assert PROJECT["project"]["scripts"] == {"engram": "gateway.cli:main", "engram-cli": "gateway.cli:main"}
