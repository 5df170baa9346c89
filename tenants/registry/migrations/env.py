"""Alembic's entry: runs on the connection that ``tenants.registry.database`` passes in."""

from alembic import context

from tenants.registry.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite alters a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
