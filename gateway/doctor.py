"""``engram doctor``: checks the databases of a node, one after another, whether it runs or not.

A database that is served is checked by its own engine, beside its work. One that nobody serves, because the node is stopped or
because it is in quarantine, is checked by a process that holds its lock. Only that one compares the word index with the texts.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import click
import msgspec

from engine.catalogue.lifecycle import DATABASE_CHECK, CheckReport, DatabaseCheck
from engine.client import Client
from engine.protocol import ErrorCode, RemoteError
from engine.protocol.limits import DEADLINE_MAX_MS
from tenants.host.last_words import is_quarantined, tenants_on_disk
from tenants.messages.host import Ensure, Ensured

_HOST_ANSWERS_S = 2.0
_SAID_CHARACTERS_MAX = 500


class Finding(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What is known of one database after its check."""

    database: str
    sound: bool = False
    quarantined: bool = False
    """Nobody is served from it."""
    released: bool = False
    error: str = ""
    """Why it could not be checked."""
    report: CheckReport | None = None


def run(data_folder: Path, databases: Sequence[str], *, as_json: bool, release: bool) -> int:
    """Check, print, and return the exit status: 0 when all are sound, 1 when one is not, 2 when one is unknown."""
    folders = dict(sorted(tenants_on_disk(data_folder)))
    if unknown := [name for name in databases if name not in folders]:
        click.echo(f"engram doctor: there is no database {unknown[0]} in {data_folder}.", err=True)
        return 2
    wanted = {name: folders[name] for name in databases or folders}
    return asyncio.run(_run(data_folder, wanted, as_json=as_json, release=release))


async def _run(data_folder: Path, folders: dict[str, Path], *, as_json: bool, release: bool) -> int:
    findings = []
    async for finding in _findings(data_folder, folders, release=release):
        findings.append(finding)
        if not as_json:
            click.echo(_lines(finding))
    unsound = sum(not finding.sound for finding in findings)
    if as_json:
        click.echo(msgspec.json.encode(findings))
    else:
        click.echo(f"{len(findings)} databases, {unsound or 'none'} of them not sound.")
        for text in sorted({text for finding in findings if finding.report for text in finding.report.left_out}):
            click.echo(f"Left out: {_in_one_line(text)}.")
    return 1 if unsound else 0


async def _findings(data_folder: Path, folders: dict[str, Path], *, release: bool) -> AsyncIterator[Finding]:
    host_socket = data_folder / "run" / "host.sock"
    node_runs = await _answers(host_socket)
    for name, folder in folders.items():
        was_quarantined = is_quarantined(folder)
        finding = Finding(database=name)
        try:
            if node_runs and not was_quarantined:
                finding.report = await _ask_engine(host_socket, name)
            else:
                finding.report = await _check_alone(folder, release=release)
        except RemoteError as error:
            finding.error = "damaged, and now in quarantine" if error.code == ErrorCode.DATABASE_CORRUPT else error.message
        except _NotChecked as error:
            finding.error = str(error)
        finding.quarantined = is_quarantined(folder)
        finding.released = was_quarantined and not finding.quarantined
        finding.sound = finding.report is not None and not finding.report.problems and not finding.quarantined
        yield finding


class _NotChecked(Exception):
    """The check did not come to its end; the message says why."""


async def _answers(host_socket: Path) -> bool:
    try:
        async with await Client.connect(host_socket, timeout_s=_HOST_ANSWERS_S):
            return True
    except RemoteError:
        return False


async def _ask_engine(host_socket: Path, tenant: str) -> CheckReport:
    async with await Client.connect(host_socket) as host:
        ensured = await host.call("ensure", Ensure(tenant, briefly=True), result_type=Ensured)
    async with await Client.connect(Path(ensured.socket)) as engine:
        return await engine.call(
            DATABASE_CHECK.name, DatabaseCheck(), result_type=DATABASE_CHECK.result, deadline_ms=DEADLINE_MAX_MS
        )


async def _check_alone(folder: Path, *, release: bool) -> CheckReport:
    """Check in a process of its own, which confines itself as an engine is."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "engine.check", str(folder), *(["--release"] if release else [])),
        env={"OPENBLAS_NUM_THREADS": "1", "PYTHONUTF8": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd="/",
    )
    output, errors = await process.communicate()
    try:
        return msgspec.json.decode(output.splitlines()[-1] if output else b"", type=CheckReport)
    except msgspec.DecodeError as error:
        said = (output + errors).decode(errors="replace").strip().splitlines()
        raise _NotChecked(said[-1] if said else f"the check ended with status {process.returncode}") from error


def _lines(finding: Finding) -> str:
    report = finding.report
    state = "sound" if finding.sound else "NOT SOUND"
    if finding.quarantined:
        state += ", in quarantine"
        if report is not None and not report.problems:
            state = "sound, but in quarantine: --release serves it again"
    if finding.released:
        state += ", released from quarantine"
    size = "" if report is None else f"  {report.memories:,} memories, {report.bytes / 1_000_000:,.1f} MB"
    lines = [f"{finding.database}  {state}{size}"]
    if finding.error:
        lines.append(f"    could not be checked: {_in_one_line(finding.error)}")
    if report is not None:
        lines += [f"    {_in_one_line(problem)}" for problem in report.problems]
    return "\n".join(lines)


def _in_one_line(text: str) -> str:
    """Return what an engine said as it may stand on a terminal, which obeys some characters. An engine may be hostile."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:_SAID_CHARACTERS_MAX])
