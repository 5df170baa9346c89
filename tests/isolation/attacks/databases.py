"""What SQL reaches: other files, and libraries that SQLite would load."""

from __future__ import annotations

import apsw

from tests.isolation.attack import CATALOGUE, Targets
from tests.isolation.attacks.code import LIBRARY_BYTES
from tests.isolation.attacks.files import own_folder

attack = CATALOGUE.family("databases")


@attack(steals="neighbour")
def attach_neighbour(targets: Targets) -> str:
    """ATTACH the neighbour's database and select its memories."""
    return _first(f"{targets.neighbour_folder}/memory.db", "SELECT content FROM other.memories")


@attack(steals="control")
def attach_control_plane(targets: Targets) -> str:
    """ATTACH the control plane's database and select its keys."""
    return _first(targets.path("control.db"), "SELECT secret FROM other.keys")


@attack(seen=lambda scene: "a copy lies there" if (scene.folder / "run" / "copy.db").exists() else "")
def vacuum_into_another_folder(targets: Targets) -> None:
    """VACUUM INTO a file outside its folder."""
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE TABLE anything (at_all)")
    connection.execute("VACUUM INTO ?", (targets.path("run", "copy.db"),))


@attack()
def load_foreign_extension(targets: Targets) -> str:
    """Have SQLite load a library from outside its folder."""
    return _load(targets.library)


@attack()
def load_own_extension(targets: Targets) -> str:
    """Have SQLite load a library that it has written itself."""
    path = f"{own_folder(targets)}/own-extension.so"
    with open(path, "wb") as file:
        file.write(LIBRARY_BYTES)
    return _load(path)


def _load(path: str) -> str:
    """Load a library that is no extension: SQLite says that its entry point is missing when it has been loaded."""
    connection = apsw.Connection(":memory:")
    connection.enable_load_extension(True)
    try:
        connection.load_extension(path)
    except apsw.ExtensionLoadingError as error:
        if "undefined symbol" not in str(error):
            raise
    return "it was loaded"


def _first(path: str, query: str) -> str:
    connection = apsw.Connection(":memory:")
    connection.execute("ATTACH ? AS other", (path,))
    return str(connection.execute(query).get)
