"""Migration of the database's tables to the schema of this program.

alembic and SQLAlchemy are imported only if there is a migration to run, because their import takes
longer than most commands.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from .. import hashing
from ..errors import RegistryError
from .connect import engine_of
from .database import Connection, Database
from .errors import DamagedCatalogError
from .sqlite import copy_sqlite

if TYPE_CHECKING:
    import sqlalchemy
    from alembic.config import Config

HEAD = "0001"
SCHEMA_SHA256 = "e80824ca0fdd8ae24bedf54c21099aa3ca5d55d2ac7393f193a39b7085c4281f"
"""The result of `schema_sha256` for the tables of `HEAD` in SQLite."""


def migrations_folder() -> Path:
    """The alembic scripts: inside the installed package, or at the top of a checkout."""
    package = Path(__file__).parent.parent
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def upgrade(
    database: Database, tmp: Path, *, head: str = HEAD, scripts: Path | None = None
) -> None:
    """Migrate the tables to revision `head` if needed; an SQLite file is copied before.

    The copy is `catalog.sqlite.backup-<revision>`, written through the folder `tmp`.
    Raises `RegistryError` if a newer version of the program made the tables,
    `DamagedCatalogError` if they are not those of a catalog, and as `database_errors`.
    """
    with database.reading() as connection:
        if _revision(database, connection) == head:
            return
    with contextlib.closing(engine_of(database)) as engine, engine.writing() as connection:
        found = _revision(engine, connection)  # another process may have been faster
        if found == head:
            return
        _check_known(database, found, scripts or migrations_folder())
        if found is not None and database.path is not None:
            copy = database.path.with_name(f"{database.path.name}.backup-{found}")
            copy_sqlite(database.path, copy, tmp)
        _run(connection.through, scripts or migrations_folder(), head)


def is_at_head(database: Database) -> bool:
    """True if `upgrade` has nothing to do. Raises `DamagedCatalogError` as it does."""
    with database.reading() as connection:
        return _revision(database, connection) == HEAD


def schema_sha256(connection: Connection) -> str:
    """The SHA-256 of the tables, indexes, views and triggers of an SQLite database, and no rows."""
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master")
    # alembic gives the constraints of a table in no order.
    made = sorted((*names, sorted(_parts(str(sql)))) for *names, sql in rows)
    return hashing.sha256(repr(made).encode())


def _parts(sql: str) -> list[str]:
    return re.split(", (?=CONSTRAINT)", " ".join(sql.split()).removesuffix(" )"))


def make_tables(connection: sqlite3.Connection) -> None:
    """Make the tables in an empty database in memory; the connection stays open."""
    from sqlalchemy import create_engine
    from sqlalchemy.pool import StaticPool

    engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)
    with engine.begin() as through:
        _run(through, migrations_folder(), HEAD)


def _revision(database: Database, connection: Connection) -> str | None:
    """The revision of the tables; None for an empty database."""
    tables = database.tables(connection)
    if not tables:
        return None
    if "alembic_version" in tables:
        rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        if len(rows) == 1:
            return str(rows[0][0])
    raise DamagedCatalogError("the database has tables, but not those of a catalog")


def _check_known(database: Database, revision: str | None, scripts: Path) -> None:
    from alembic.script import ScriptDirectory

    known = ScriptDirectory.from_config(_config(scripts)).walk_revisions()
    if revision is not None and revision not in {script.revision for script in known}:
        raise RegistryError(
            f"{database.where} was made by a newer version of dsvd-registry (tables {revision}; "
            f"this program knows up to {HEAD})",
            "Install a newer dsvd-registry.",
        )


def _run(connection: sqlalchemy.Connection, scripts: Path, head: str) -> None:
    from alembic import command

    config = _config(scripts)
    config.attributes["connection"] = connection
    command.upgrade(config, head)


def _config(scripts: Path) -> Config:
    from alembic.config import Config

    config = Config()
    # The option is a template in which % has a meaning.
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    return config
