"""Export and import as a client: files on one side, the HTTP interface on the other, progress in between."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import httpx

from gateway.http_client import CallFailed, connect, explain

_PIECE_BYTES = 256 * 1024
_POLL_S = 0.5


ENDINGS = {".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".md": "markdown", ".sqlite": "sqlite", ".db": "sqlite"}
"""What the end of a file's name says of its format."""


def export(url: str, key: str, output: Path, *, form: str, workspace: str | None = None) -> None:
    """Write the export to ``output``, which appears only when it is complete."""
    parameters = {"format": form} | ({} if workspace is None else {"workspace": workspace})
    partial = output.with_name(output.name + ".part")
    try:
        with connect(url, key) as client, client.stream("GET", "/v1/export", params=parameters) as response:
            if response.is_error:
                response.read()
                raise CallFailed(explain(response))
            with partial.open("wb") as file:
                for piece in response.iter_bytes():
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
        partial.replace(output)
    except OSError as error:
        raise CallFailed(f"{output} can't be written: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
    click.echo(f"Exported to {output} ({output.stat().st_size:,} bytes).")


def import_file(url: str, key: str, source: Path, *, form: str | None = None, wait: bool) -> None:
    """Send ``source`` and, with ``wait``, show how its memories become findable by meaning.

    Without ``form``, the service sees by itself what the file is.
    """
    parameters = {} if form is None else {"format": form}
    size = source.stat().st_size
    with connect(url, key) as client:
        with click.progressbar(length=size, label="Sending ") as bar:
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
            response = client.post("/v1/import", params=parameters, content=_pieces(source, bar), headers=headers)
        if response.is_error:
            raise CallFailed(explain(response))
        outcome = response.json()
        click.echo(f"Imported {outcome['imported']:,}, skipped {outcome['skipped']:,} that were there already.")
        if outcome["id_map"]:
            click.echo(f"{len(outcome['id_map']):,} ids were taken and have changed.")
        if wait:
            _await_embeddings(client)


def _await_embeddings(client: httpx.Client) -> None:
    pending = total = _pending(client)
    if not total:
        return
    with click.progressbar(length=total, label="Learning the meaning") as bar:
        while pending:
            time.sleep(_POLL_S)
            remaining = _pending(client)
            bar.update(max(0, pending - remaining))
            pending = remaining


def _pending(client: httpx.Client) -> int:
    while True:
        response = client.get("/v1/stats")
        if response.status_code in (429, 503):
            time.sleep(float(response.headers.get("Retry-After", "1")))
            continue
        if response.is_error:
            raise CallFailed(explain(response))
        return int(response.json()["pending_embeddings"])


def _pieces(source: Path, bar: Any) -> Iterator[bytes]:
    with source.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece
            bar.update(len(piece))
