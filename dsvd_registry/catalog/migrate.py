"""Bringing the database's tables to the form this program knows.

alembic is imported only where there is something to do: importing it takes longer than `dsvd ls`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from ..errors import RegistryError
from .database import Database, copy_sqlite
from .faults import DamagedCatalogError

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0001"


def migrations_folder() -> Path:
    """The alembic scripts: inside the installed package, or at the top of a checkout."""
    package = Path(__file__).parent.parent
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def upgrade(
    database: Database, tmp: Path, *, head: str = HEAD, scripts: Path | None = None
) -> None:
    """Make the tables those of revision `head`, if they are not; SQLite is copied before.

    The copy is `catalog.sqlite.backup-<revision>`, written through the folder `tmp`.
    Raises `RegistryError` if a newer version of the program made the tables,
    `DamagedCatalogError` if they are no catalog's, and as `database_errors`.
    """
    with database.reading() as connection:
        if _revision(connection) == head:
            return
    with database.writing() as connection:
        found = _revision(connection)  # another process may have been faster
        if found == head:
            return
        _check_known(database, found, scripts or migrations_folder())
        if found is not None and database.path is not None:
            copy = database.path.with_name(f"{database.path.name}.backup-{found}")
            copy_sqlite(database.path, copy, tmp)
        _run(connection, scripts or migrations_folder(), head)


def _revision(connection: Connection) -> str | None:
    """The revision of the tables, None for an empty database."""
    tables = inspect(connection).get_table_names()
    if not tables:
        return None
    if "alembic_version" in tables:
        rows = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
        if len(rows) == 1:
            return str(rows[0])
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


def _run(connection: Connection, scripts: Path, head: str) -> None:
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
