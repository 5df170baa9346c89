"""The object store as an operator has it: an address, credentials and the master key, without a node or the control plane.

What it holds is trusted no more than the node trusts it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from engine.layout import TENANT
from tenants.replica.history.failures import BrokenHistory
from tenants.replica.objects import ObjectStore, StoreRefused, StoreUnavailable
from tenants.replica.sealing import KeyUnavailable
from tenants.replica.settings import ReplicatorSettings, SettingsFault
from tenants.replica.stores import StoreUrlError, open_store
from tenants.replica.tree import NotOurs


class Failed(Exception):
    """It was not done, or not to its end; the message says why. It may be repeated."""


@contextlib.contextmanager
def opened(environment: Mapping[str, str]) -> Iterator[tuple[ObjectStore, bytes | None]]:
    """Yield the store that the environment names and the master key; ``Failed`` for whatever goes wrong with it meanwhile."""
    try:
        settings = ReplicatorSettings.from_environment(environment)
        if not settings.replicates:
            raise Failed("ENGRAM_REPLICA_URL says where the object store is")
        with contextlib.closing(open_store(settings.url, environment)) as store:
            yield store, settings.master_key
    except (SettingsFault, StoreUrlError, KeyUnavailable, NotOurs, BrokenHistory) as error:
        raise Failed(str(error) or type(error).__name__) from error
    except StoreUnavailable as error:
        raise Failed(f"the object store can't be reached: {str(error) or type(error).__name__}") from error
    except StoreRefused as error:
        raise Failed(f"the object store refuses us: {str(error) or type(error).__name__}") from error


def check_database(name: str) -> None:
    """``Failed`` for what is no database's name."""
    if not TENANT.fullmatch(name):
        raise Failed(f"{name} is not a database's name, such as db_ and 20 characters")
