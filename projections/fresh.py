"""Fresh tables beside the live ones: filled without indexes, and put in their place at once when they are complete.

Until then nobody sees them, so a rebuild that is killed leaves the live tables as they were; its leftovers go when the
next one begins. SQLite: a second file, renamed or copied over in one transaction. PostgreSQL: a second schema, renamed
in one transaction, in which writers of the old one have come to rest.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from typing import Protocol, TypeAlias

import sqlalchemy as sa

from events.errors import Busy, TablesUnavailable
from projections.database import Database, index_ddl, table_ddl
from projections.definition import Definition
from projections.postgresql_database import PostgresqlDatabase
from projections.sqlite_database import SqliteDatabase
from projections.store import Tables
from projections.system_tables import SYSTEM_TABLES, view_ddl

OpenWriter: TypeAlias = Callable[[], Database]
"""Opens a connection into the fresh tables, in any process."""
MAINTENANCE_MEMORY = "256MB"


class Fresh(Protocol):
    """Tables in the making."""

    @property
    def database(self) -> Database: ...

    def step(self) -> AbstractContextManager[None]:
        """Around changes of rows that are there already."""
        ...

    def writer(self) -> OpenWriter | None:
        """How another process writes into them; None where only one can."""
        ...

    def index(self, tables: Sequence[sa.Table], workers: int) -> None:
        """Makes the indexes of some tables."""
        ...

    def swap(self) -> None:
        """Puts them in the place of the live ones."""
        ...

    def close(self) -> None:
        """What was not swapped in goes away."""
        ...


@contextmanager
def fresh_beside(tables: Tables) -> Iterator[Fresh]:
    """Empty tables without indexes beside the live ones; gone when this is left, unless they were swapped in."""
    live = tables.database
    fresh: Fresh
    if isinstance(live, SqliteDatabase):
        fresh = SqliteFresh(live, tables.definition)
    elif isinstance(live, PostgresqlDatabase):
        fresh = PostgresqlFresh(live, tables.definition)
    else:
        raise TypeError(f"no way to rebuild {type(live).__name__}")
    try:
        yield fresh
    finally:
        fresh.close()


def _make(database: Database, definition: Definition) -> None:
    for statement in (*table_ddl((*definition.tables, *SYSTEM_TABLES), database.dialect), *view_ddl()):
        database.execute(statement)


class SqliteFresh:
    """A file `<tables>.fresh-<number>` beside the live one."""

    def __init__(self, live: SqliteDatabase, definition: Definition) -> None:
        self._live = live
        for left in live.path.parent.glob(f"{live.path.name}.fresh-*"):
            left.unlink()
        self._path = live.path.with_name(f"{live.path.name}.fresh-{secrets.token_hex(4)}")
        self.database: Database = SqliteDatabase(self._path, fresh=True)
        _make(self.database, definition)
        self.database.execute("BEGIN")  # one transaction to the end: nothing of it needs to be undone

    def step(self) -> AbstractContextManager[None]:
        return nullcontext()

    def writer(self) -> None:
        return None

    def index(self, tables: Sequence[sa.Table], workers: int) -> None:
        for statement in index_ddl(tables, self.database.dialect):
            self.database.execute(statement)

    def swap(self) -> None:
        self.database.execute("COMMIT")
        self.database.close()
        self._live.exchange(self._path)

    def close(self) -> None:
        self.database.close()
        self._path.unlink(missing_ok=True)


class SchemaWriter:
    """Opens a fast connection into a schema whose rows do not count yet. Can be sent to another process."""

    def __init__(self, conninfo: str, schema: str) -> None:
        self._conninfo, self._schema = conninfo, schema

    def __call__(self) -> PostgresqlDatabase:
        database = PostgresqlDatabase(self._conninfo, self._schema)
        # Durable with what makes the rows count: its commit, which waits for the disk, comes after all of these.
        database.execute("SET synchronous_commit TO off")
        database.execute(f"SET maintenance_work_mem TO '{MAINTENANCE_MEMORY}'")
        return database


class PostgresqlFresh:
    """A schema `<schema>_fresh` beside the live one."""

    def __init__(self, live: PostgresqlDatabase, definition: Definition) -> None:
        self._live = live
        self._schema = f"{live.schema}_fresh"
        self._sweep()
        live.execute(f'CREATE SCHEMA "{self._schema}"')
        self._open = SchemaWriter(live.conninfo, self._schema)
        self.database: Database = self._open()
        _make(self.database, definition)

    def _sweep(self) -> None:
        pattern = f"^{self._live.schema}_(fresh|old_[0-9a-f]+)$"
        for (schema,) in self._live.fetch(
            "SELECT nspname::text FROM pg_namespace WHERE nspname ~ ?", (pattern,)
        ):
            self._live.execute(f'DROP SCHEMA "{schema}" CASCADE')

    def step(self) -> AbstractContextManager[None]:
        return self.database.writing()

    def writer(self) -> OpenWriter:
        return self._open

    def index(self, tables: Sequence[sa.Table], workers: int) -> None:
        """Several at a time, the journal's first: they take longest."""
        statements = [s for table in tables for s in index_ddl([table], self.database.dialect)]
        statements.sort(key=lambda s: " ON journal " not in s)
        if workers == 1:
            for statement in statements:
                self.database.execute(statement)
            return
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(self._index, statements))

    def _index(self, statement: str) -> None:
        with closing(self._open()) as database:
            database.execute(statement)

    def swap(self) -> None:
        live = self._live
        old = f"{live.schema}_old_{secrets.token_hex(4)}"
        with live.writing():  # holds the lock of writers; readers go on with the old tables
            live.execute("SET LOCAL synchronous_commit TO on")
            live.execute(f'ALTER SCHEMA "{live.schema}" RENAME TO "{old}"')
            live.execute(f'ALTER SCHEMA "{self._schema}" RENAME TO "{live.schema}"')

    def close(self) -> None:
        self.database.close()
        # Somebody may still read the old tables: then the next rebuild sweeps them.
        with suppress(Busy, TablesUnavailable):
            self._sweep()
