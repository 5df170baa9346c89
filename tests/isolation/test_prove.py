"""The box keeps what attacks it: all attacks, by ``scripts/prove-isolation``'s own program, and what its rows mean."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from engine.sandbox.confinement import LAYERS
from engine.sandbox.users import OUTBOX
from tests.isolation.attack import CATALOGUE, Attack
from tests.isolation.compromised import Outcome
from tests.isolation.outbox_attacks import NAME, sound_file
from tests.isolation.prove import NOT_PROVEN, NOT_WHOLE, PROVEN
from tests.isolation.rows import Row, row
from tests.isolation.strangers import FRAMES, carry_away
from tests.service import ROOT

ATTACKS_MIN = 27
"""So many at least must be shown to fail because of the box: those that it was first measured with."""

WITHOUT_USERS = {"read_through_planted_hard_link"}
"""What only a user for each tenant refuses."""


@dataclass
class Run:
    """One run of the program."""

    rows: dict[str, Row]
    status: int
    said: str


def prove(*arguments: str, python: str = sys.executable, user: str | None = None) -> Run:
    command = [python, "-m", "tests.isolation.prove", "--json", *arguments]
    outcome = subprocess.run(command, cwd=ROOT, user=user, capture_output=True, check=False, timeout=280)
    assert outcome.stdout, outcome.stderr.decode()
    rows = msgspec.json.decode(outcome.stdout, type=list[Row])
    return Run({each.attack: each for each in rows}, outcome.returncode, outcome.stderr.decode())


@pytest.fixture(scope="module")
def run() -> Run:
    """Every attack, in the box and without it."""
    return prove("--quick")


def test_no_attack_succeeds(run: Run) -> None:
    left = set() if os.geteuid() == 0 else WITHOUT_USERS
    succeeded = {each.attack: each.said for each in run.rows.values() if each.result == "SUCCEEDED" and each.attack not in left}

    assert succeeded == {}


def test_every_attack_succeeds_without_the_box(run: Run) -> None:
    assert {
        each.attack: each.control_said for each in run.rows.values() if each.control == "refused"
    } == {} or os.geteuid() != 0
    assert sum(each.verdict == "holds" for each in run.rows.values()) >= ATTACKS_MIN


def test_every_attack_was_tried(run: Run) -> None:
    assert run.rows.keys() > CATALOGUE.attacks.keys()
    assert run.rows.keys() > set(FRAMES)
    assert {each.family for each in run.rows.values()} > {attack.family for attack in CATALOGUE.attacks.values()}


def test_the_neighbour_and_the_attackers_database_live_through_it(run: Run) -> None:
    assert "did not live" not in run.said
    assert "is damaged" not in run.said


@pytest.mark.skipif(os.geteuid() != 0, reason="the whole box needs root")
def test_the_exit_status_says_whether_it_is_proven(run: Run) -> None:
    assert "Isolation: full" in run.said
    assert run.status == (NOT_PROVEN if any(each.verdict == "fails" for each in run.rows.values()) else PROVEN)


@pytest.mark.skipif(os.geteuid() != 0, reason="layers are told apart as root")
def test_each_layer_refuses_something_by_itself() -> None:
    names = [
        "take_more_than_its_share",
        "read_by_absolute_path",
        "read_through_planted_hard_link",
        "use_bpf",
        "run_mapped_bytes",
    ]
    rows = prove(*names).rows
    refusing = {name: set(rows[name].layer.split(", ")) for name in names}

    assert refusing == {
        "take_more_than_its_share": {"limits"},
        "read_by_absolute_path": {"root", "user", "landlock"},
        "read_through_planted_hard_link": {"user"},
        "use_bpf": {"user", "privileges", "seccomp"},
        "run_mapped_bytes": {"seccomp"},
    }
    assert set().union(*refusing.values()) == set(LAYERS)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_an_ordinary_user_is_told_that_the_level_is_partial(run: Run) -> None:
    user = "nobody"
    if not can_run(user):
        pytest.skip(f"{user} can't reach this Python")
    names = ["read_by_absolute_path", "read_through_planted_hard_link", "become_root", "open_tcp_socket"]
    ordinary = prove("--quick", *names, user=user)

    assert "Isolation: partial" in ordinary.said
    assert "missing: user (only root gives users of their own)" in ordinary.said
    assert {name: each.verdict for name, each in ordinary.rows.items()} == {
        "read_by_absolute_path": "holds",
        "read_through_planted_hard_link": "fails",
        "become_root": "powerless",
        "open_tcp_socket": "holds",
    }
    assert ordinary.status == NOT_PROVEN
    assert prove("--quick", "open_tcp_socket", user=user).status == NOT_WHOLE


def can_run(user: str) -> bool:
    """Whether that user may start this Python and read our code."""
    try:
        command = [sys.executable, "-c", "import msgspec, tests.isolation.prove"]
        return subprocess.run(command, cwd=ROOT, user=user, capture_output=True, check=False).returncode == 0
    except PermissionError:
        return False


ATTACK = Attack(name="any", family="files", title="Any", run=lambda _: None)
STOLEN, REFUSED, LACKING = Outcome(True, b"it"), Outcome(False, refusal="no", number=1), Outcome(False, refusal="no", number=38)


@pytest.mark.parametrize(
    ("full", "control", "is_root", "verdict"),
    [
        (REFUSED, STOLEN, True, "holds"),
        (STOLEN, STOLEN, True, "fails"),
        (STOLEN, REFUSED, True, "fails"),
        (REFUSED, REFUSED, True, "fails"),
        (REFUSED, REFUSED, False, "powerless"),
        (REFUSED, LACKING, True, "absent"),
        (STOLEN, LACKING, True, "fails"),
    ],
)
def test_a_row_holds_only_if_the_control_succeeds(full: Outcome, control: Outcome, is_root: bool, verdict: str) -> None:
    assert row(ATTACK, full, control, {}, is_root=is_root).verdict == verdict


def test_the_layers_that_refuse_alone_are_named() -> None:
    alone = {"root": REFUSED, "user": STOLEN, "seccomp": REFUSED}

    assert row(ATTACK, REFUSED, STOLEN, alone, is_root=True).layer == "root, seccomp"
    assert row(ATTACK, REFUSED, STOLEN, {"user": STOLEN}, is_root=True).layer == "together"


def test_our_reader_does_not_refuse_everything(tmp_path: Path) -> None:
    (tmp_path / OUTBOX).mkdir()

    assert carry_away(tmp_path) == ""
    (tmp_path / OUTBOX / NAME).write_bytes(sound_file())
    assert carry_away(tmp_path) == "it would be carried away"


def test_an_unknown_attack_is_refused() -> None:
    command = [sys.executable, "-m", "tests.isolation.prove", "sorcery"]
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert outcome.returncode == 2
    assert "there is no attack sorcery" in outcome.stderr


def test_the_script_is_executable() -> None:
    assert os.access(Path(ROOT, "scripts", "prove-isolation"), os.X_OK)
