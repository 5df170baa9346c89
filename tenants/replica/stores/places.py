"""Where the content of a key lies beneath a directory store's folder: under the key itself, but for the levels of a history.

Litestream calls them ``ltx/0000`` to ``ltx/0009`` in a bucket, as keys do, and ``ltx/0`` to ``ltx/9`` in a folder. The order of
names is the same either way.
"""

from __future__ import annotations

import re

_LEVEL_IN_KEY = re.compile(r"(^|/)ltx/000([0-9])(/|$)")
_PART_OF_LEVEL = re.compile(r"(^|/)ltx/0{1,3}$")
_LEVEL_IN_PLACE = re.compile(r"(^|/)ltx/([0-9])(/|$)")


def place_of(key: str) -> str:
    """Return where the content of ``key`` lies."""
    return _LEVEL_IN_KEY.sub(r"\1ltx/\2\3", key)


def key_of(place: str) -> str:
    """Return the key whose content lies there."""
    return _LEVEL_IN_PLACE.sub(r"\1ltx/000\2\3", place)


def place_of_prefix(prefix: str) -> str:
    """Return what the places of all keys with this ``prefix`` begin with; others may too."""
    return _PART_OF_LEVEL.sub(r"\1ltx/", place_of(prefix))
