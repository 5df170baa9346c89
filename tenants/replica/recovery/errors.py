"""What whoever asks for a database is told when it can't be brought back: each failure as an error of the protocol."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import structlog

from engine.protocol import ErrorCode, RemoteError
from engine.protocol.errors import DATABASE_CORRUPT_RETRY_S, invalid, moved
from tenants.replica.history.failures import BrokenHistory, NothingToRestore
from tenants.replica.objects import StoreRefused, StoreUnavailable
from tenants.replica.ownership.owner import Erased, Moved
from tenants.untrusted import Refused

_log = structlog.get_logger()

_STORE_RETRY_S = 5
"""A store that is down is probed that often for all tenants."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def told(tenant: str) -> Iterator[None]:
    """Turn what goes wrong inside into ``RemoteError``; what nobody foresaw goes on as it is."""
    try:
        yield
    except Moved as error:
        raise moved() from error
    except Erased as error:
        raise RemoteError(ErrorCode.NOT_FOUND, "this database has been erased") from error
    except (StoreUnavailable, StoreRefused) as error:
        _log.warning("store_not_reached", tenant=tenant, error=type(error).__name__, reason=str(error)[:200])
        message = "the object store can't be reached; nothing was changed"
        raise RemoteError(ErrorCode.UNAVAILABLE, message, retry_after=_STORE_RETRY_S) from error
    except NothingToRestore as error:
        raise _too_early(error) from error
    except BrokenHistory as error:
        _log.error("history_broken", tenant=tenant, reason=str(error)[:500])
        message = "what the object store holds of this database is damaged; nothing was changed"
        raise RemoteError(ErrorCode.DATABASE_CORRUPT, message, retry_after=DATABASE_CORRUPT_RETRY_S) from error
    except Refused as error:
        _log.error("folder_not_read", tenant=tenant, reason=error.reason)
        raise RemoteError(ErrorCode.UNAVAILABLE, "the database's folder can't be read", retry_after=_STORE_RETRY_S) from error
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        message = "the node's disk has no room for a restored copy of this database; nothing was changed"
        raise RemoteError(ErrorCode.DISK_FULL, message) from error


def _too_early(error: NothingToRestore) -> RemoteError:
    if error.earliest_ms is None:
        return invalid("at", "nothing of this database is in the object store yet")
    earliest = datetime.fromtimestamp(error.earliest_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return invalid("at", f"the earliest moment that can be restored is {earliest.replace('+00:00', 'Z')}")
