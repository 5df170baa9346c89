"""Backups and restores as a client: what the service says, in lines for a person."""

from __future__ import annotations

from typing import Any

import click
import httpx

from gateway.http_client import check, connect

_SIGNS = {"added": "+", "changed": "~", "deleted": "-"}
_EXCERPT_CHARACTERS = 72


def show_backups(url: str, key: str) -> None:
    """Print how far the backups reach."""
    with connect(url, key) as client:
        state = check(client.get("/v1/backups")).json()
    if not state["replicating"]:
        click.echo("Nothing is replicated: the node's disk holds the only copy.")
        return
    kind = f"{state['store']}, {'encrypted' if state['encrypted'] else 'not encrypted'}"
    backlog = state["backlog"]
    waiting = f"{backlog['files']} files ({backlog['bytes']:,} bytes) wait, the oldest for {state['lag_ms'] / 1000:.1f} s"
    lines = {
        "Replicated to": f"{_moment(state['replicated_to'])} ({kind})",
        "Backlog": waiting if backlog["files"] else "none",
        "Restorable": f"from {_moment(state['earliest'])} to {_moment(state['latest'])}",
        "Kept for": _duration(state["retention_seconds"]),
        "Last snapshot": _moment(state["last_snapshot_at"]),
        "Last verified": _moment(state["last_verified_at"]),
    }
    if error := state.get("verification_error"):
        lines["NOT VERIFIED"] = error
    for name, text in lines.items():
        click.echo(f"{name:<14} {_in_one_line(text)}")


def restore(url: str, key: str, *, at: str, mode: str, name: str | None) -> None:
    """Restore, and print what came of it."""
    wanted = {"at": at, "mode": mode} | ({} if name is None else {"name": name})
    with connect(url, key) as client:
        done = _result(client, wanted)
    if mode == "preview":
        _show_difference(done)
    elif mode == "fork":
        click.echo(f"Made database {done['database']} of the state of {done['restored_to']}. Its key, shown this once:")
        click.echo(done["api_key"])
    else:
        click.echo(f"The database is what it was at {done['restored_to']}.")
        if done["undo_at"] is not None:
            click.echo(f"To take that back: engram restore --mode in-place --at {done['undo_at']}")


def _result(client: httpx.Client, wanted: dict[str, str]) -> dict[str, Any]:
    answer: dict[str, Any] = check(client.post("/v1/restore", json=wanted)).json()
    return answer


def _show_difference(done: dict[str, Any]) -> None:
    click.echo(f"Restored to {done['restored_to']}, the database would differ from today's:")
    click.echo(f"  + {done['added']:,} memories would be there again")
    click.echo(f"  ~ {done['changed']:,} would have another version")
    click.echo(f"  - {done['deleted']:,} made since would be gone")
    for example in done["examples"]:
        excerpt = _in_one_line(example.get("content", ""))[:_EXCERPT_CHARACTERS]
        click.echo(f"{_SIGNS[example['change']]} {example['id']:>8}  {excerpt}")


def _duration(seconds: int) -> str:
    hours = seconds // 3600
    return f"{hours} hours" if hours % 24 or hours == 24 else f"{hours // 24} days"


def _moment(text: str | None) -> str:
    return "nothing yet" if text is None else text


def _in_one_line(text: str) -> str:
    """Return a text as it may stand on a terminal, which obeys some characters."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
