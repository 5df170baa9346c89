"""Carries out a Dockerfile's steps on this machine, without an engine: the paths of the image are moved into a folder.

What changes the machine itself (packages, users) is left out, and the interpreter is the machine's own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.deployment import dockerfile
from tests.deployment.dockerfile import Instruction, Stage
from tests.service import ROOT

_MOVED = ("/opt/engram", "/src", "/data")
_LEFT_OUT = ("pip install", "groupadd")
_STEP_S_MAX = 600


def _machine() -> dict[str, str]:
    """Return what of our environment a build may see: how this machine reaches the network, nothing of a running test."""
    of_the_test = ("ENGRAM_", "VIRTUAL_ENV", "PYTHON", "PYTEST_", "UV_PROJECT", "UV_RUN")
    return {name: value for name, value in os.environ.items() if not name.startswith(of_the_test)}


class Build:
    """One build below ``folder``, with ``python`` in the place of the base image's."""

    def __init__(self, folder: Path, python: Path) -> None:
        self._folder = folder
        self._python = python
        self._stages = {stage.name: stage for stage in dockerfile.parse(ROOT / "Dockerfile")}
        self._ignored = dockerfile.ignore_patterns(ROOT / ".dockerignore")

    def run(self) -> None:
        """Carry out every stage but the last, which only takes together."""
        for stage in list(self._stages.values())[:-1]:
            self._run(stage)

    @property
    def final(self) -> Stage:
        """The stage that becomes the image."""
        return list(self._stages.values())[-1]

    @property
    def environment(self) -> dict[str, str]:
        """The image's ENV with its paths moved and the machine's search path behind its own."""
        return {name: self._moved(value) for name, value in self._environment(self.final).items()}

    def path(self, inside: str) -> Path:
        """Return where a path of the image is here."""
        return Path(self._moved(inside))

    def discard(self, *inside: str) -> None:
        """Remove what the last stage does not take along."""
        for name in inside:
            shutil.rmtree(self.path(name))

    def _run(self, stage: Stage) -> None:
        folder = self.path(self._workdir(stage))
        folder.mkdir(parents=True, exist_ok=True)
        for instruction in stage.instructions:
            if instruction.name == "COPY":
                self._copy(instruction, folder)
            elif instruction.name == "RUN" and not instruction.text.startswith(_LEFT_OUT):
                self._execute(self._moved(instruction.text), folder, self._environment(stage))

    def _execute(self, command: str, folder: Path, environment: Mapping[str, str]) -> None:
        given = {name: self._moved(value) for name, value in environment.items() if name != "PATH"}
        uv = subprocess.run([ROOT / "scripts" / "install-uv"], check=True, capture_output=True, text=True).stdout.strip()
        path = f"{Path(uv).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=folder,
            env=_machine() | given | {"PATH": path, "UV_PYTHON": str(self._python)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_STEP_S_MAX,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}"

    def _copy(self, instruction: Instruction, folder: Path) -> None:
        *sources, target = instruction.words
        for source in sources:
            origin = ROOT / source
            destination = folder / target
            if origin.is_dir():
                shutil.copytree(origin, destination, dirs_exist_ok=True, ignore=self._outside)
            else:
                shutil.copy2(origin, destination)

    def _outside(self, folder: str, names: list[str]) -> set[str]:
        return {name for name in names if dockerfile.is_ignored(str(Path(folder, name).relative_to(ROOT)), self._ignored)}

    def _workdir(self, stage: Stage) -> str:
        if own := stage.all("WORKDIR"):
            return own[-1].text
        return self._workdir(self._stages[stage.base])

    def _environment(self, stage: Stage) -> dict[str, str]:
        """Return a stage's ENV with that of the stages it is made from."""
        inherited = self._environment(self._stages[stage.base]) if stage.base in self._stages else {"PATH": os.environ["PATH"]}
        return inherited | {name: dockerfile.substitute(value, inherited) for name, value in stage.environment.items()}

    def _moved(self, text: str) -> str:
        for prefix in _MOVED:
            text = text.replace(prefix, f"{self._folder}{prefix}")
        return text
