"""Alembic's entry: runs on the connection it is handed, which holds the migration lock."""

from alembic import context

from model_service.db.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
