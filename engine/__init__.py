"""One tenant's engine: the process that owns one customer's SQLite file.

The rest of the system may import only the face of this package: ``engine.protocol``, ``engine.service``,
``engine.client``, ``engine.link``, ``engine.address``, ``engine.process``, ``engine.log``, ``engine.catalogue``,
``engine.embedder.client``. Everything else is private to the engine's process.
"""

VERSION = "0.1.0"
"""The distribution's version; a test compares it with pyproject.toml."""
