"""As much of a Dockerfile as ours uses: instructions in stages, and what ``.dockerignore`` keeps outside.

Not a builder: it knows continuation lines, comments, flags, ARG and ENV, nothing of heredocs or escapes.
"""

from __future__ import annotations

import fnmatch
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

_FLAG = re.compile(r"--[a-z-]+(=\S+)?\s+")
_VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)")


@dataclass(frozen=True)
class Instruction:
    """One instruction; ``text`` is what follows its flags."""

    name: str
    flags: dict[str, str]
    text: str

    @property
    def words(self) -> list[str]:
        """The text as a shell would split it."""
        return shlex.split(self.text)


@dataclass
class Stage:
    """What stands between one FROM and the next."""

    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, name: str) -> list[Instruction]:
        """Return the instructions of one kind."""
        return [instruction for instruction in self.instructions if instruction.name == name]

    def last(self, name: str) -> Instruction:
        """Return the instruction that counts of a kind of which only one does."""
        return self.all(name)[-1]

    @property
    def environment(self) -> dict[str, str]:
        """What this stage's ENV instructions set, by name."""
        return dict(word.split("=", 1) for instruction in self.all("ENV") for word in instruction.words)


def parse(path: Path) -> list[Stage]:
    """Return the stages in order. ``ValueError`` for an instruction before the first FROM that is no ARG."""
    stages: list[Stage] = []
    arguments: dict[str, str] = {}
    for line in _logical_lines(path.read_text(encoding="utf-8")):
        instruction = _instruction(line)
        if instruction.name == "FROM":
            base, _, name = instruction.text.partition(" AS ")
            stages.append(Stage(substitute(base.strip(), arguments), name.strip() or str(len(stages))))
        elif stages:
            stages[-1].instructions.append(instruction)
        elif instruction.name == "ARG":
            name, _, default = instruction.text.partition("=")
            arguments[name] = default
        else:
            raise ValueError(f"{instruction.name} before the first FROM")
    return stages


def substitute(text: str, values: dict[str, str]) -> str:
    """Return ``text`` with ``$NAME`` and ``${NAME}`` replaced; ``KeyError`` for a name without a value."""
    return _VARIABLE.sub(lambda found: values[found[1] or found[2]], text)


def is_ignored(path: str, patterns: list[str]) -> bool:
    """Whether ``.dockerignore`` keeps ``path`` outside: the last line that matches it, or a folder above it, decides."""
    above = [str(parent) for parent in PurePosixPath(path).parents if str(parent) != "."]
    ignored = False
    for line in patterns:
        pattern = line.removeprefix("!").strip("/")
        if any(_matches(candidate, pattern) for candidate in (path, *above)):
            ignored = not line.startswith("!")
    return ignored


def ignore_patterns(path: Path) -> list[str]:
    """Return the lines of a ``.dockerignore`` that say something."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _matches(path: str, pattern: str) -> bool:
    if pattern.startswith("**/"):
        return any(fnmatch.fnmatch(part, pattern[3:]) for part in path.split("/"))
    return path.count("/") == pattern.count("/") and fnmatch.fnmatch(path, pattern)


def _logical_lines(text: str) -> list[str]:
    lines: list[str] = []
    continued = False
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        piece = line.removesuffix("\\").strip()
        lines[-1:] = [f"{lines[-1]} {piece}"] if continued else [*lines[-1:], piece]
        continued = line.endswith("\\")
    return lines


def _instruction(line: str) -> Instruction:
    name, _, text = line.partition(" ")
    flags: dict[str, str] = {}
    while found := _FLAG.match(text):
        flag, _, value = found[0].strip().partition("=")
        flags[flag.removeprefix("--")] = value
        text = text[found.end() :]
    return Instruction(name.upper(), flags, text)
