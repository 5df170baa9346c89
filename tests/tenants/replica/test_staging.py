"""Whether a staged database can still be moved to its tenant."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.catalogue.recovery import STAGED_DATABASE, STAGED_NOTE
from tenants.messages.replica import STAGING
from tenants.replica.recovery.staging import Staging


@pytest.mark.parametrize(("left", "holds"), [((STAGED_NOTE, STAGED_DATABASE), True), ((STAGED_DATABASE,), False), ((), False)])
def test_what_was_half_moved_when_somebody_was_killed_is_made_anew(tmp_path: Path, left: tuple[str, ...], holds: bool) -> None:
    """Of a database without its note nobody can take anything in: to offer it again would keep its tenant out."""
    (tmp_path / STAGING).mkdir()
    staging = Staging(tmp_path)
    folder = staging.make()
    for name in left:
        (folder / name).touch()

    assert staging.holds(folder.name) == holds
