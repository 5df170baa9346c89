"""What a tenant's own disk is worth, beside what the store has. Pure: the rule alone.

One rule carries the rest: a file leaves the outbox only when it is in the store. So the transaction before the first one that
waits, the *shipped* one, was in the store once; with an empty outbox that is the engine's position. Numbers prove nothing
beyond that: after a takeover the same numbers name other transactions. What proves that the disk goes on from the store's head
is that the head is the shipped one; or that the file which waits under the head's number is the very same (the answer to a PUT
was lost); or that the database at the head has the shipped one's checksum (nothing but fences was put since).

| database here | store's head | is the head in our past? | does the outbox go on from it? | outcome |
|---|---|---|---|---|
| no | none | | | ``new`` |
| no | some | | | ``restore`` |
| yes, nothing captured yet | none | | | ``here``: its history begins with a whole file |
| yes | none | | yes, from the first transaction | ``here``: it could not be shipped yet |
| yes | none | | no: another bucket, or it was emptied | ``rebase``: history begins anew |
| yes | the shipped transaction, same database | yes | yes | ``here``: the usual case |
| yes | a file that waits, the same one | yes | yes | ``here``: the answer to its PUT was lost |
| yes | the shipped transaction, and the next file is to be whole | yes | yes | ``here``: a rebase or restore under way |
| yes | the shipped transaction, another database | no | | ``restore`` |
| yes | a file that waits, another one | no, unless only fences follow on the shipped one | | ``restore`` |
| yes | only fences behind the shipped transaction | yes | no, they have its numbers | ``rebase``: nobody wrote but us |
| yes | before the shipped transaction | yes: the store has lost its newest files | no | ``rebase`` |
| yes | behind all that, written by another | no | | ``restore``: this disk is older |
| yes, its position lost or never there, files wait | any of those that are in our past | yes | it can't tell | ``rebase`` |
| yes, its position lost or never there, none wait | some | nobody knows: it may have been copied here | | ``restore`` |

``restore`` gives up what this disk has and the store has not, where another node has written since: at most what was
acknowledged without being replicated. ``rebase`` gives up nothing: what the store has stays in its history, before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import msgspec

from engine.captured import Position
from tenants.replica.ownership.head import Head

Outcome = Literal["new", "here", "restore", "rebase"]
"""Nothing is anywhere yet; the disk goes on as it is; the disk takes the store's state; the store takes the disk's, whole."""


def _unknown(_: int) -> str | None:
    return None


@dataclass(frozen=True, kw_only=True)
class Local:
    """What this node's disk holds of a tenant: read ``position`` first, an engine may be at work."""

    position: Position | None
    """``captured``; ``None`` where there is none."""
    has_database: bool
    outbox: tuple[int, int] | None
    """First and last transaction of the files that wait. A draft that has the position's number is one of them: the engine was
    ended before it could give it its name, and will do so. Taken for shipped, it would make another's file pass for ours."""
    batch: Callable[[int], str | None] = _unknown
    """Returns the SHA-256, in hex, of the file with this transaction that waits; ``None`` when it can't be read."""


def decide(local: Local, head: Head, checksum_at: Callable[[int], int | None]) -> Outcome:
    """Return what is to be done.

    ``checksum_at`` asks the store for the database's checksum after a transaction, ``None`` if it has no such file; it is asked
    at most once, and only where files of others are in the way.
    """
    if not local.has_database:
        return "restore" if head.txid else "new"
    if local.position is not None and local.position.rebasing:
        # What lies in the outbox is of another history, and about to go. Until it has gone nothing may be shipped, so what was
        # decided is decided again, whether an engine is about to do it or was killed at that.
        outcome = decide(
            replace(local, outbox=None, position=msgspec.structs.replace(local.position, rebasing=False)), head, checksum_at
        )
        return "rebase" if outcome == "here" else outcome
    if not head.txid:
        return _first_time(local)
    assert head.info is not None
    shipped = _shipped(local)
    if shipped is None or not _is_past(local, head, shipped, checksum_at):
        return "restore"
    return "here" if _goes_on(local, head, shipped) else "rebase"


def _first_time(local: Local) -> Outcome:
    """There is a database here and nothing in the store."""
    nothing_captured = local.position is None or not local.position.txid
    if local.outbox is None:
        return "here" if nothing_captured else "rebase"
    return "here" if local.outbox[0] == 1 and _is_continuous(local) else "rebase"


def _shipped(local: Local) -> int | None:
    """Return the last transaction that was in the store once, ``None`` when nothing says so."""
    if local.outbox is not None:
        return local.outbox[0] - 1
    return local.position.txid if local.position is not None else None


def _is_past(local: Local, head: Head, shipped: int, checksum_at: Callable[[int], int | None]) -> bool:
    """Whether the store's head is a state from which this disk went on."""
    assert head.info is not None
    if shipped > head.txid:
        return True  # it was in the store and isn't any more; what is left was before it
    if shipped == head.txid:
        # What waits was captured on top of it. With nothing waiting, the database says so itself, unless it is to replace it.
        return local.outbox is not None or _is_whole_next(local) or _checksum(local) == head.info.checksum
    if _waits(local, head.txid) and local.batch(head.txid) == head.info.batch:
        return True
    return shipped > 0 and checksum_at(shipped) == head.info.checksum


def _goes_on(local: Local, head: Head, shipped: int) -> bool:
    """Whether the engine's next file, or the next that waits, follows on the store's head."""
    if local.position is None:
        return False
    if shipped == head.txid:
        return local.outbox is None or _is_continuous(local)
    assert head.info is not None
    return _waits(local, head.txid) and local.batch(head.txid) == head.info.batch and _is_continuous(local)


def _is_continuous(local: Local) -> bool:
    """Whether the engine will go on behind the last file that waits: its position is that one, or one being written.

    It notes the position before a file gets its name. A position behind the last file was read before that was written.
    """
    return local.position is not None and local.outbox is not None and local.position.txid <= local.outbox[1] + 1


def _waits(local: Local, txid: int) -> bool:
    return local.outbox is not None and local.outbox[0] <= txid <= local.outbox[1]


def _is_whole_next(local: Local) -> bool:
    return local.position is not None and local.position.whole_next


def _checksum(local: Local) -> int | None:
    return local.position.checksum if local.position is not None else None
