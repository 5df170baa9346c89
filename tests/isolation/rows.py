"""What became of each attack, and how it is told."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping

import msgspec

from tests.isolation.attack import CANARY, Attack
from tests.isolation.compromised import Outcome

ABSENT = frozenset({errno.ENOSYS, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT, errno.ENODEV})
"""What the kernel says when it lacks a thing altogether: then there is nothing to refuse."""

_TEXT_CHARACTERS_MAX = 200


class Row(msgspec.Struct, kw_only=True):
    """One attack."""

    attack: str
    family: str
    title: str
    layer: str
    """Which layers refuse it, each by itself; ``together`` when none does alone."""
    control: str
    """``succeeded``, ``refused`` or ``absent`` without the box."""
    result: str
    """``refused`` or ``SUCCEEDED`` in the box."""
    verdict: str
    """``holds``, ``fails``, or why there is nothing to show: ``absent`` from this kernel, ``powerless`` to this user anyway."""
    said: str
    """How it was refused, or what proves that it succeeded."""
    control_said: str


def row(attack: Attack, full: Outcome, control: Outcome, alone: Mapping[str, Outcome], *, is_root: bool) -> Row:
    """Return an attack's row from its outcomes in the box, without it, and behind each layer alone."""
    is_absent = not control.succeeded and control.number in ABSENT
    if full.succeeded:
        verdict = "fails"
    elif control.succeeded:
        verdict = "holds"
    elif is_absent:
        verdict = "absent"
    else:
        verdict = "fails" if is_root else "powerless"
    refusing = ", ".join(layer for layer, outcome in alone.items() if not outcome.succeeded)
    return Row(
        attack=attack.name,
        family=attack.family,
        title=attack.title,
        layer=(attack.layer or refusing or ("together" if alone else "not asked")) if verdict == "holds" else "",
        control="succeeded" if control.succeeded else "absent" if is_absent else "refused",
        result="SUCCEEDED" if full.succeeded else "refused",
        verdict=verdict,
        said=_said(full),
        control_said=_said(control),
    )


def table(rows: Iterable[Row]) -> str:
    """Return the rows for people."""
    lines, family = [], ""
    for each in rows:
        if each.family != family:
            family = each.family
            lines += ["", family]
        marks = {"holds": "refused", "absent": "not in this kernel", "powerless": "not this user's anyway"}
        mark = marks.get(each.verdict) or ("SUCCEEDED" if each.result == "SUCCEEDED" else "CONTROL FAILED")
        lines.append(f"  {each.title:<88.88} {mark:<22} {each.layer}")
        if each.verdict == "fails":
            lines.append(f"      in the box: {each.said}; without it: {each.control_said}")
    return "\n".join(lines)


def _said(outcome: Outcome) -> str:
    stolen = CANARY.search(outcome.proof)
    proof = f"it has {stolen[0].decode()}" if stolen else outcome.proof.decode("utf-8", "replace")
    text = proof if outcome.succeeded else outcome.refusal
    return "".join(character if character.isprintable() else "·" for character in text)[:_TEXT_CHARACTERS_MAX]
