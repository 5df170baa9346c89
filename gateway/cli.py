"""The command ``engram``: run a node, and carry memories between one and a file."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from engine import VERSION
from gateway import doctor, restore_client, transfer_client, up
from gateway.http_client import CallFailed

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
    except CallFailed as error:
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
    except CallFailed as error:
        raise click.ClickException(str(error)) from error


@main.command("backups")
@_url
@_key
def backups_command(url: str, key: str) -> None:
    """Show how far the database's backups reach."""
    try:
        restore_client.show_backups(url, key)
    except CallFailed as error:
        raise click.ClickException(str(error)) from error


@main.command("restore")
@_url
@_key
@click.option("--at", required=True, help="The moment, such as 2026-03-21T12:52:55.123456Z.")
@click.option(
    "--mode",
    type=click.Choice(["preview", "fork", "in-place"]),
    default="preview",
    show_default=True,
    help="Show what would change; make a new database of it; replace today's state by it.",
)
@click.option("--name", help="Of the fork.")
@click.option("--yes", is_flag=True, help="Don't ask before a restore in place.")
def restore_command(url: str, key: str, at: str, mode: str, name: str | None, *, yes: bool) -> None:
    """Restore the database to what it was at a moment. A large one takes minutes."""
    if mode == "in-place" and not yes:
        click.confirm(f"Replace the database by what it was at {at}? (This can be taken back.)", abort=True)
    try:
        restore_client.restore(url, key, at=at, mode=mode.replace("-", "_"), name=name)
    except CallFailed as error:
        raise click.ClickException(str(error)) from error


@main.group("admin")
def admin() -> None:
    """Work on the object store alone: ENGRAM_REPLICA_URL, AWS_* and ENGRAM_MASTER_KEY say which and how."""


@admin.command("restore")
@click.argument("database")
@click.option("--at", help="The moment, such as 2026-03-21T12:52:55Z; by default the newest there is.")
@click.option(
    "--to", type=click.Path(path_type=Path, dir_okay=False), required=True, help="A new file for the SQLite database."
)
def admin_restore_command(database: str, at: str | None, to: Path) -> None:
    """Write a database to a file, from the object store alone."""
    from gateway import bucket_restore

    with _of_the_bucket():
        bucket_restore.restore(os.environ, database, at=at, to=to)


@admin.command("rotate-keys")
@click.argument("databases", nargs=-1, metavar="[DATABASE]...")
def rotate_keys_command(databases: tuple[str, ...]) -> None:
    """Give the databases named, or all, new keys for the backups made from now on."""
    from gateway import bucket_keys

    with _of_the_bucket():
        bucket_keys.rotate(os.environ, databases)


@admin.command("rewrap")
@click.argument("databases", nargs=-1, metavar="[DATABASE]...")
def rewrap_command(databases: tuple[str, ...]) -> None:
    """Wrap the backup keys of the databases named, or of all, with ENGRAM_NEW_MASTER_KEY. Stop the node first."""
    from gateway import bucket_keys

    with _of_the_bucket():
        bucket_keys.rewrap(os.environ, databases)


@contextlib.contextmanager
def _of_the_bucket() -> Iterator[None]:
    """Show in a line what went wrong. What works on the bucket is loaded only for that: it takes a third of a second."""
    from gateway.bucket import Failed

    try:
        yield
    except Failed as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
