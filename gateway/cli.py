"""The command ``engram``: run a node, and carry memories between one and a file."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from engine import VERSION
from gateway import transfer_client, up

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


@main.command("export")
@_url
@_key
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="File to write.")
def export_command(url: str, key: str, output: Path) -> None:
    """Write all memories to a JSON file."""
    try:
        transfer_client.export(url, key, output)
    except transfer_client.TransferFailed as error:
        raise click.ClickException(str(error)) from error


@main.command("import")
@_url
@_key
@click.option(
    "--input", "source", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=True, help="File to read."
)
@click.option("--no-wait", is_flag=True, help="Don't wait until the memories can be found by meaning.")
def import_command(url: str, key: str, source: Path, *, no_wait: bool) -> None:
    """Read memories from a JSON file. All of it is taken, or nothing."""
    try:
        transfer_client.import_file(url, key, source, wait=not no_wait)
    except transfer_client.TransferFailed as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
