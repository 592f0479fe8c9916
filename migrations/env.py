"""Alembic's entry: runs the migrations on the connection that `pix migrate` opened."""

from alembic import context
from pixload.migrations import distribution
from pixload.migrations.tables import SCHEMA, metadata

connection = context.config.attributes["connection"]
distribution.detect(connection)
context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table_schema=SCHEMA,
    include_schemas=True,
)
with context.begin_transaction():
    context.run_migrations()
