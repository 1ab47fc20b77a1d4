"""The database under the tables, as the projections see it: typed rows in and out, and transactions.

`SqliteDatabase` and `PostgresqlDatabase` pass one contract suite (tests/contract/test_tables_database.py). SQL that
both run is written with `?` for parameters. Rows have the Python forms of columns.py on both. Not safe to use from
two threads at once; open one for each.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import CreateIndex, CreateTable

from projections.columns import key_columns
from projections.rows import Key, Row
from projections.system_tables import SYSTEM_TABLES, view_ddl

MADE_ANEW = "'rekam recover --to latest' makes them anew from the log; nothing else is lost"
"""The hint of whatever is wrong with the tables alone."""


class Database(Protocol):
    """One connection. Every method raises TablesUnavailable when the database does not answer or is full."""

    @property
    def dialect(self) -> Dialect: ...

    def writing(self) -> AbstractContextManager[None]:
        """One write transaction: durable and visible when it is left, undone when an error leaves it.

        Waits for another writer for a bounded time, then raises Busy.
        """
        ...

    def writing_beside(self) -> AbstractContextManager[None]:
        """As `writing`, but beside others where the database can: whoever else writes changes other rows."""
        ...

    def reading(self) -> AbstractContextManager[None]:
        """One repeatable-read transaction: everything inside is read as of one moment."""
        ...

    def exists(self) -> bool:
        """Whether tables of ours are there (whatever their layout)."""
        ...

    def make_place(self) -> None:
        """Makes the schema that the tables are to stand in, where the database has schemas."""
        ...

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Runs one statement; the number of rows that it changed."""
        ...

    def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """All rows of a query whose columns need no conversion (text and whole numbers)."""
        ...

    def select(self, table: sa.Table, rest: str = "", parameters: Sequence[Any] = ()) -> list[Row]:
        """Typed rows of `SELECT * FROM table <rest>`, all at once."""
        ...

    def iterate(self, table: sa.Table, rest: str = "", parameters: Sequence[Any] = ()) -> Iterator[Row]:
        """As `select`, in bounded memory. Inside `reading` only."""
        ...

    def find(self, table: sa.Table, columns: Sequence[str], keys: Collection[Key]) -> list[Row]:
        """The typed rows whose `columns` equal one of `keys`. An index on the columns is used."""
        ...

    def insert(self, table: sa.Table, rows: Iterable[Row]) -> None:
        """Adds rows whose keys are not in the table yet."""
        ...

    def replace(self, table: sa.Table, rows: Collection[Row], gone: Collection[Key]) -> None:
        """Puts rows, whether or not their keys are there, and takes away those whose full keys are `gone`."""
        ...

    def delete(self, table: sa.Table, columns: Sequence[str], keys: Collection[Key]) -> None:
        """Takes away the rows whose `columns` equal one of `keys`."""
        ...

    def set_verdicts(self, table: sa.Table, verdicts: Collection[tuple[str, str, int]]) -> None:
        """(verdict, stream, log offset): what events in the journal or the access log are from now on."""
        ...

    def identifier(self, value: bytes) -> Any:
        """16 bytes as a parameter to compare an Id column with."""
        ...

    def close(self) -> None: ...


@cache
def column_list(table: sa.Table) -> str:
    return ", ".join(c.name for c in table.columns)


def key_match(columns: Sequence[str], mark: str = "?") -> str:
    return " AND ".join(f"{name} = {mark}" for name in columns)


@cache
def key_order(table: sa.Table) -> str:
    """The ORDER BY of the table's key, which is the order of its index `key_<table>`."""
    return ", ".join(key_columns(table))


@cache
def _create_table(table: sa.Table, dialect: Dialect) -> str:
    """Cached: every opening of tables compares their layout with this, and compiling takes tens of milliseconds."""
    return str(CreateTable(table).compile(dialect=dialect)).strip()


@cache
def _create_index(index: sa.Index, dialect: Dialect) -> str:
    return str(CreateIndex(index).compile(dialect=dialect)).strip()


def table_ddl(tables: Sequence[sa.Table], dialect: Dialect) -> list[str]:
    return [_create_table(t, dialect) for t in tables]


def index_ddl(tables: Sequence[sa.Table], dialect: Dialect) -> list[str]:
    indexes = [i for t in tables for i in sorted(t.indexes, key=lambda i: str(i.name))]
    return [_create_index(i, dialect) for i in indexes]


def ddl(state_tables: Sequence[sa.Table], dialect: Dialect) -> list[str]:
    """Everything that an empty database needs."""
    tables = (*state_tables, *SYSTEM_TABLES)
    return [*table_ddl(tables, dialect), *index_ddl(tables, dialect), *view_ddl()]
