"""What of the image can be checked by reading the Dockerfile."""

from __future__ import annotations

import ast
import json
import shlex
import tomllib

import pytest

from tests.deployment import dockerfile
from tests.deployment.dockerfile import Instruction, Stage
from tests.deployment.settings import known_settings
from tests.service import ROOT

_NOT_OURS = {"PATH"}


@pytest.fixture
def stages() -> list[Stage]:
    return dockerfile.parse(ROOT / "Dockerfile")


@pytest.fixture
def final(stages: list[Stage]) -> Stage:
    return stages[-1]


def _copies_from_checkout(stages: list[Stage]) -> list[Instruction]:
    return [copy for stage in stages for copy in stage.all("COPY") if "from" not in copy.flags]


def test_every_stage_comes_from_an_earlier_one_or_the_slim_python(stages: list[Stage]) -> None:
    known = {"python:3.11-slim-bookworm"}
    for stage in stages:
        assert stage.base in known
        for copy in stage.all("COPY"):
            assert copy.flags.get("from", stage.base) in known
        known.add(stage.name)


def test_the_last_stage_is_slim(final: Stage) -> None:
    assert final.base == "python:3.11-slim-bookworm"


def test_every_source_exists_and_is_let_in(stages: list[Stage]) -> None:
    patterns = dockerfile.ignore_patterns(ROOT / ".dockerignore")
    sources = [source for copy in _copies_from_checkout(stages) for source in copy.words[:-1]]

    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert not dockerfile.is_ignored(source, patterns), source


def test_the_wheel_finds_all_it_is_made_of(stages: list[Stage]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["packages"], project["project"]["readme"], *project["project"]["license-files"]}
    needed |= {name.split("/", maxsplit=1)[0] for name in wheel["force-include"]}
    copied = {source for copy in _copies_from_checkout(stages) for source in copy.words[:-1]}

    assert needed <= copied


@pytest.mark.parametrize(
    "path", ["var/control.db", ".git/config", ".venv/bin/python", "tests/service.py", "engine/__pycache__/main.pyc", ".env"]
)
def test_what_is_no_part_of_the_image_stays_outside(path: str) -> None:
    assert dockerfile.is_ignored(path, dockerfile.ignore_patterns(ROOT / ".dockerignore"))


def test_every_setting_is_one_that_the_service_reads(final: Stage) -> None:
    assert set(final.environment) - _NOT_OURS <= known_settings()


def test_nothing_of_the_model_group_or_the_build_reaches_the_image(stages: list[Stage], final: Stage) -> None:
    copied = {(copy.flags["from"], copy.words[0]) for copy in final.all("COPY")}
    synced = {stage.name: [run.text for run in stage.all("RUN") if "uv sync" in run.text] for stage in stages}

    assert copied == {("model", "/opt/engram/models"), ("application", "/opt/engram/venv")}
    assert all("--group model" in text for text in synced["model"])
    for name in ("dependencies", "application"):
        assert all("--no-default-groups" in text and "--group" not in text for text in synced[name])


def test_the_environment_stays_where_it_was_made_and_its_programs_come_first(stages: list[Stage], final: Stage) -> None:
    made = {stage.name: stage.environment.get("UV_PROJECT_ENVIRONMENT") for stage in stages}
    (venv,) = (copy for copy in final.all("COPY") if copy.flags["from"] == "application")

    assert venv.words == [made["dependencies"], made["dependencies"]]
    assert made["application"] is None
    assert final.environment["PATH"].split(":")[0] == f"{made['dependencies']}/bin"
    assert made["model"] != made["dependencies"]


def test_programs_run_as_a_user_that_the_image_has(final: Stage) -> None:
    user = final.environment["ENGRAM_USER"]
    commands = [shlex.split(part) for run in final.all("RUN") for part in run.text.split("&&")]

    assert user != "root"
    assert any(command[0] == "useradd" and command[-1] == user for command in commands)
    assert not final.all("USER"), "engram up must start as root: it hands the volume to the user"


def test_it_starts_the_same_command_as_a_checkout_and_is_stopped_in_order(final: Stage) -> None:
    assert json.loads(final.last("CMD").text) == ["engram", "up", "--logs"]
    assert final.last("STOPSIGNAL").text == "SIGTERM"
    assert not final.all("ENTRYPOINT")


def test_the_health_check_is_a_program_that_python_reads(final: Stage) -> None:
    kind, _, command = final.last("HEALTHCHECK").text.partition(" ")
    interpreter, flag, program = json.loads(command)

    assert (kind, interpreter, flag) == ("CMD", "python", "-c")
    assert "/health" in program
    ast.parse(program)


def test_the_image_says_what_it_is(final: Stage) -> None:
    labels = dict(word.split("=", 1) for label in final.all("LABEL") for word in label.words)

    assert {f"org.opencontainers.image.{name}" for name in ("title", "description", "licenses", "version", "revision")} == set(
        labels
    )


def test_its_version_is_the_projects(final: Stage) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert any(argument.text == f"VERSION={project['version']}" for argument in final.all("ARG"))


def test_no_file_names_a_registry() -> None:
    for name in ("Dockerfile", "fly.toml", ".dockerignore"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert "index-url" not in text
        assert "INDEX" not in text
