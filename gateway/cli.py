"""The command ``engram``: run a node, and carry memories between one and a file."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from engine import VERSION
from gateway import doctor, transfer_client, up

_url = click.option(
    "--url", envvar="ENGRAM_URL", default="http://127.0.0.1:8080", show_default=True, help="Address of the service."
)
_key = click.option("--key", envvar="ENGRAM_KEY", required=True, help="An API key, ek_live_…; better kept in ENGRAM_KEY.")


@click.group()
@click.version_option(VERSION, prog_name="engram")
def main() -> None:
    """Run Engram Cloud, and move memories in and out of it."""


@main.command("up")
@click.option("--logs", is_flag=True, help="Write the programs' logs to the terminal instead of a file.")
def up_command(*, logs: bool) -> None:
    """Run a whole node until Ctrl-C."""
    sys.exit(up.run(os.environ, log_to_terminal=logs))


@main.command("doctor")
@click.argument("databases", nargs=-1, metavar="[DATABASE]...")
@click.option("--data-dir", envvar="ENGRAM_DATA_DIR", default="var", type=click.Path(path_type=Path), help="The node's folder.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array instead of lines.")
@click.option("--release", is_flag=True, help="Serve a database in quarantine again if it is found sound.")
def doctor_command(databases: tuple[str, ...], data_dir: Path, *, as_json: bool, release: bool) -> None:
    """Check databases: all of a node's, or those named. The node may be running."""
    sys.exit(doctor.run(data_dir.resolve(), databases, as_json=as_json, release=release))


@main.command("export")
@_url
@_key
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="File to write.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["json", "jsonl", "markdown", "sqlite"]),
    help="What to write; by default what the file's name ends with says, or else json.",
)
@click.option("--workspace", help="Only this workspace.")
def export_command(url: str, key: str, output: Path, form: str | None, workspace: str | None) -> None:
    """Write all memories, with their links and versions, to a file."""
    form = form or transfer_client.ENDINGS.get(output.suffix.lower(), "json")
    try:
        transfer_client.export(url, key, output, form=form, workspace=workspace)
    except transfer_client.TransferFailed as error:
        raise click.ClickException(str(error)) from error


@main.command("import")
@_url
@_key
@click.option(
    "--input", "source", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=True, help="File to read."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["json", "jsonl", "markdown"]),
    help="What it is; seen from its beginning if not given.",
)
@click.option("--no-wait", is_flag=True, help="Don't wait until the memories can be found by meaning.")
def import_command(url: str, key: str, source: Path, form: str | None, *, no_wait: bool) -> None:
    """Read memories from an export. All of it is taken, or nothing."""
    try:
        transfer_client.import_file(url, key, source, form=form, wait=not no_wait)
    except transfer_client.TransferFailed as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
