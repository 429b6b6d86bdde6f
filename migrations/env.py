"""The entry of alembic. The program passes its connection, inside a transaction of its own.

To write a migration after changing `dsvd_registry/catalog/schema.py`:

    alembic -c migrations/alembic.ini upgrade head
    alembic -c migrations/alembic.ini revision --autogenerate -m "what changes"

then set `HEAD` in `dsvd_registry/catalog/migrate.py`; a test compares the two.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine

from dsvd_registry.catalog.schema import Table

config = context.config
connection = config.attributes.get("connection")


def run(connection) -> None:
    # Batch mode: SQLite cannot alter a table in place.
    context.configure(connection=connection, target_metadata=Table.metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


if connection is not None:
    run(connection)
else:
    engine = create_engine(config.get_main_option("sqlalchemy.url"))
    with engine.begin() as connection:
        run(connection)
    engine.dispose()
