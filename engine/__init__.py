"""One tenant's engine: the process that owns one customer's SQLite file.

The rest of the system may import only the face of this package: ``engine.protocol``, ``engine.service``,
``engine.client``, ``engine.catalogue``, ``engine.embedder.client``. Everything else is private to the engine's process.
"""
