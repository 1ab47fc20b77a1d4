"""Fresh tables beside the live ones: filled without indexes, and put in their place at once when they are complete.

Until then nobody sees them, so a rebuild that is killed leaves the live tables as they were; its leftovers go when the
next one begins. SQLite: a second file, renamed or copied over in one transaction. PostgreSQL: a second schema, renamed
in one transaction, in which writers of the old one have come to rest.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from pathlib import Path
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


class Place(Protocol):
    """Where another process makes one of the fresh tables. Can be sent to it."""

    def opened(self) -> AbstractContextManager[Database]:
        """The database that holds the table, empty and without indexes; what was written is kept when this is left."""
        ...


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

    def index_beside(self, table: sa.Table) -> None:
        """Makes the indexes of a table whose rows are all there, while other tables are filled if that is possible."""
        ...

    def finish_indexes(self) -> None:
        """Returns when all indexes that were begun are made. Raises what stopped one."""
        ...

    def place(self, table: sa.Table) -> Place:
        """Where another process makes this table, rows and indexes."""
        ...

    def take_in(self, table: sa.Table) -> None:
        """Takes in what another process has made in the table's place."""
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

    def index_beside(self, table: sa.Table) -> None:
        self.index([table], 1)

    def finish_indexes(self) -> None:
        """They are made at once."""

    def place(self, table: sa.Table) -> TableFile:
        return TableFile(self._path_of(table), table_ddl([table], self.database.dialect))

    def take_in(self, table: sa.Table) -> None:
        """Between two tables that are alike, indexes included, SQLite copies rows as they are, without reading them."""
        self.index([table], 1)
        path, database = self._path_of(table), self.database
        database.execute("COMMIT")  # a file comes and goes outside of transactions alone
        database.execute("ATTACH ? AS made", (str(path),))
        database.execute("BEGIN")
        database.execute(f"INSERT INTO main.{table.name} SELECT * FROM made.{table.name}")
        database.execute("COMMIT")
        database.execute("DETACH made")
        database.execute("BEGIN")
        path.unlink()

    def _path_of(self, table: sa.Table) -> Path:
        """Swept with the fresh file's leftovers, as its name begins like theirs."""
        return self._path.with_name(f"{self._path.name}-{table.name}")

    def swap(self) -> None:
        self.database.execute("COMMIT")
        self.database.close()
        self._live.exchange(self._path)

    def close(self) -> None:
        self.database.close()
        for path in self._path.parent.glob(f"{self._path.name}*"):
            path.unlink(missing_ok=True)


class TableFile:
    """A file beside the fresh one that holds one table of it. See Place."""

    def __init__(self, path: Path, ddl: Sequence[str]) -> None:
        self._path, self._ddl = path, ddl

    @contextmanager
    def opened(self) -> Iterator[Database]:
        with closing(SqliteDatabase(self._path, fresh=True)) as database:
            for statement in (*self._ddl, "BEGIN"):
                database.execute(statement)
            yield database
            database.execute("COMMIT")


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

    def opened(self) -> AbstractContextManager[Database]:
        """See Place: every table of the schema is there."""
        return closing(self())


class PostgresqlFresh:
    """A schema `<schema>_fresh` beside the live one."""

    def __init__(self, live: PostgresqlDatabase, definition: Definition) -> None:
        self._live = live
        self._schema = f"{live.schema}_fresh"
        self._sweep()
        live.execute(f'CREATE SCHEMA "{self._schema}"')
        self._open = SchemaWriter(live.conninfo, self._schema)
        self.database: Database = self._open()
        self._beside = self._open()
        """Used by the indexer's thread alone."""
        self._indexer = ThreadPoolExecutor(1)
        self._begun: list[Future[int]] = []
        _make(self.database, definition)

    def _sweep(self) -> None:
        pattern = f"^{self._live.schema}_(fresh|old_[0-9a-f]+)$"
        for (schema,) in self._live.fetch(
            "SELECT nspname::text FROM pg_namespace WHERE nspname ~ ?", (pattern,)
        ):
            self._live.execute(f'DROP SCHEMA "{schema}" CASCADE')

    def step(self) -> AbstractContextManager[None]:
        return self.database.writing_beside()

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

    def index_beside(self, table: sa.Table) -> None:
        """On a connection of its own: the server indexes while the next table is sent to it."""
        for statement in index_ddl([table], self.database.dialect):
            self._begun.append(self._indexer.submit(self._beside.execute, statement))

    def finish_indexes(self) -> None:
        for begun in self._begun:
            begun.result()
        self._begun.clear()

    def place(self, table: sa.Table) -> SchemaWriter:
        return self._open

    def take_in(self, table: sa.Table) -> None:
        """It was made where it stays."""

    def swap(self) -> None:
        live = self._live
        old = f"{live.schema}_old_{secrets.token_hex(4)}"
        with live.writing():  # holds the lock of writers; readers go on with the old tables
            live.execute("SET LOCAL synchronous_commit TO on")
            live.execute(f'ALTER SCHEMA "{live.schema}" RENAME TO "{old}"')
            live.execute(f'ALTER SCHEMA "{self._schema}" RENAME TO "{live.schema}"')

    def close(self) -> None:
        self._indexer.shutdown(wait=True, cancel_futures=True)
        self._beside.close()
        self.database.close()
        # Somebody may still read the old tables: then the next rebuild sweeps them.
        with suppress(Busy, TablesUnavailable):
            self._sweep()
