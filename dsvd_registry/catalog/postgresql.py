"""A catalog in PostgreSQL, by psycopg and SQLAlchemy.

The write lock is an advisory lock of the database, which ends with the transaction, or with the
connection. Its key has the name of the schema, so that the registries that share a database, each in a
schema of its own, do not wait for each other. Nothing rests on the lock being kept: the event log gives
each number once, and who lost its connection unawares loses the race for the number.

Commits are not waited for until they are on the server's disk. The event is durable by then, and a
catalog that has forgotten the last of them catches up.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.errors import (
    AdminShutdown,
    CannotConnectNow,
    CrashShutdown,
    DiskFull,
    IdleInTransactionSessionTimeout,
    InsufficientPrivilege,
    LockNotAvailable,
    ReadOnlySqlTransaction,
    TransactionRollback,
    UndefinedColumn,
    UndefinedTable,
)
from sqlalchemy import URL, create_engine, event
from sqlalchemy.exc import DBAPIError

from ..errors import DsvdError, InvalidArgument, RegistryError, StorageError
from .database import Connection, Rows
from .engine import EngineConnection, EngineDatabase
from .errors import BUSY_SECONDS, DamagedCatalogError, LostConnection, Unreachable, locked

DRIVER = "postgresql+psycopg"
IDLE_SECONDS = 5 * BUSY_SECONDS
"""The time a writer may do nothing while it has the lock: a suspended machine loses it."""

_LOCK = (
    "SELECT pg_advisory_xact_lock(hashtext('dsvd-registry catalog'), hashtext(current_schema()))"
)
_SETTINGS = """
    SELECT current_schema(), current_setting('server_encoding'),
        set_config('lock_timeout', %s, false),
        set_config('idle_in_transaction_session_timeout', %s, false),
        set_config('synchronous_commit', 'off', false)
"""
_CONNECTING = {  # unless the URL says otherwise; seconds
    "application_name": "dsvd-registry",
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}
_GONE = (
    AdminShutdown,
    CannotConnectNow,
    CrashShutdown,
    IdleInTransactionSessionTimeout,
    TransactionRollback,  # a standby that could not keep what was being read
)


@dataclass(frozen=True)
class PostgresqlConnection(EngineConnection):
    """A connection whose statements go to psycopg itself: SQLAlchemy takes four times as long."""

    driver: psycopg.Connection

    def execute(self, statement: str, parameters: Mapping[str, Any] | None = None, /) -> Rows:
        return self.driver.execute(_in_psycopgs_words(statement), parameters or {})


class PostgresqlDatabase(EngineDatabase):
    """A schema of a PostgreSQL database: the first one of the search path."""

    path = None

    def __init__(self, address: URL) -> None:
        self.url = address.render_as_string(hide_password=False)
        chosen = {key: value for key, value in _CONNECTING.items() if key not in address.query}
        self.engine = create_engine(
            address.set(drivername=DRIVER),
            connect_args={**chosen, "client_encoding": "utf8"},
            pool_pre_ping=True,  # the server may have restarted since the last transaction
        )
        event.listen(self.engine, "connect", self._set_up)
        self._to_read = self.engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        self._to_write = self.engine.execution_options(isolation_level="READ COMMITTED")
        # Without its query, in which a password may stand too.
        shown = address.set(query={}).render_as_string(hide_password=True)
        self.where = f"catalog {shown}"

    def tables(self, connection: Connection) -> set[str]:
        found = connection.execute(
            "SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = current_schema()"
        )
        return {name for (name,) in found}

    def check(self, connection: Connection) -> None:
        pass  # the server looks after its files

    @contextlib.contextmanager
    def _begun(self, writes: bool) -> Iterator[EngineConnection]:
        with (self._to_write if writes else self._to_read).begin() as through:
            driver = through.connection.driver_connection
            assert isinstance(driver, psycopg.Connection)
            try:
                if writes:
                    driver.execute(_LOCK)
                yield PostgresqlConnection(through, driver)
            except psycopg.Error as error:
                if driver.closed:
                    through.invalidate(error)
                raise self._of_psycopg(error, driver.closed) from error

    def _set_up(self, connection: psycopg.Connection, _record: object) -> None:
        """Set up a new connection. Raises `InvalidArgument` for a database that cannot be used."""
        try:
            schema, encoding, *_ = connection.execute(
                _SETTINGS, (f"{BUSY_SECONDS}s", f"{IDLE_SECONDS}s")
            ).fetchone() or (None, "")
            connection.commit()
        except psycopg.Error as error:
            raise self._of_psycopg(error, connection.closed) from error
        if schema is None:
            raise InvalidArgument(
                f"{self.where}: no schema of its search path exists",
                "Make the schema with CREATE SCHEMA, or name another one.",
            )
        if encoding != "UTF8":
            raise InvalidArgument(
                f"{self.where}: its encoding is {encoding}, which cannot hold every text",
                "Make a database with CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0.",
            )

    def _error(self, error: DBAPIError) -> DsvdError:
        return self._of_psycopg(error.orig, error.connection_invalidated)

    def _of_psycopg(self, cause: BaseException | None, is_lost: bool) -> DsvdError:
        reason = f"{self.where}: {' '.join(str(cause).split())}"
        if is_lost or isinstance(cause, _GONE):
            return LostConnection(reason)
        if isinstance(cause, psycopg.OperationalError) and cause.sqlstate is None:
            return Unreachable(reason)  # what keeps a connection from being made has no code
        match cause:
            case LockNotAvailable():
                return locked(self.where)
            case DiskFull():
                return StorageError(reason, "Free some space there and try again.")
            case InsufficientPrivilege() | ReadOnlySqlTransaction():
                return StorageError(
                    reason, "Give this user the right to write there (GRANT), or use another one."
                )
            case UndefinedTable() | UndefinedColumn():
                return DamagedCatalogError(reason)
            case psycopg.DataError():  # a text to look up that no database can hold
                return InvalidArgument(reason)
        return RegistryError(reason, "Check the database and its log.")


@functools.lru_cache
def _in_psycopgs_words(statement: str) -> str:
    """The statement with parameters such as `%(name)s` in the place of `:name`."""
    return re.sub(r":([a-z_]+[0-9]*)", r"%(\1)s", statement.replace("%", "%%"))
