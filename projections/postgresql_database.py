"""PostgreSQL under the tables: one schema, named `rekam` unless the URL says `?schema=NAME`.

Rows enter by COPY BINARY and come back through loaders for our column kinds, so both ways skip the objects that
drivers make of uuids, times and numbers. Statements are never prepared on the server: a rebuild exchanges the whole
schema, and a prepared statement would go on with the tables of the old one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg
import sqlalchemy as sa
from psycopg import sql
from psycopg.adapt import Buffer, Loader
from psycopg.pq import Format
from psycopg.types.numeric import NumericBinaryLoader
from psycopg.types.string import BytesBinaryDumper
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect, make_url
from sqlalchemy.exc import ArgumentError

from events.errors import BadConfiguration, Busy, RekamError, TablesDamaged, TablesUnavailable
from projections.columns import Kind, key_columns, kinds
from projections.copy_binary import PG_EPOCH, wire_row, wire_types
from projections.database import MADE_ANEW, column_list
from projections.rows import Key, Row

SCHEMA = "rekam"
CONNECT_SECONDS = 10
LOCK_SECONDS = 20
SILENCE_MILLISECONDS = 30_000
"""How long the server may leave our bytes unanswered before it counts as gone."""
ROWS_AT_ONCE = 2000
MAKING = 7_296_500_101
"""The advisory lock under which tables are made."""
DIALECT: Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped
ARRAYS = {
    Kind.TEXT: "text[]",
    Kind.ID: "uuid[]",
    Kind.INTEGER: "bigint[]",
    Kind.BOOLEAN: "boolean[]",
    Kind.DIGEST: "bytea[]",
}


class _IdLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> bytes:
        return bytes(data)


class _InstantLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> int:
        return int.from_bytes(data, "big", signed=True) + PG_EPOCH


class _DecimalLoader(NumericBinaryLoader):
    def load(self, data: Buffer) -> Any:
        number = super().load(data)
        return f"{number:f}"


def connection_settings(url: str) -> tuple[str, str]:
    """(libpq connection string, schema) of a URL. Raises BadConfiguration."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise BadConfiguration(
            "the tables' URL cannot be read", "postgresql+psycopg://user:password@host:port/database"
        ) from error
    query = dict(parsed.query)
    schema = query.pop("schema", SCHEMA)
    settings: dict[str, Any] = {
        "host": parsed.host,
        "port": parsed.port,
        "user": parsed.username,
        "password": parsed.password,
        "dbname": parsed.database,
        "connect_timeout": CONNECT_SECONDS,
        "tcp_user_timeout": SILENCE_MILLISECONDS,
        "application_name": "rekam",
        **query,
    }
    given = {name: value for name, value in settings.items() if value is not None}
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,50}", str(schema)):
        raise BadConfiguration(
            "the schema of the tables needs a plain name", "lower case letters, digits and _"
        )
    return psycopg.conninfo.make_conninfo("", **given), str(schema)


def as_ours(error: psycopg.Error) -> RekamError:
    """What an error of PostgreSQL's means to us; its text may hold values, so only its code is told."""
    code = error.sqlstate or ""
    if code in ("55P03", "40001", "40P01"):
        return Busy("the tables are being changed by somebody else", "try again in a moment")
    if code.startswith("53"):
        return TablesUnavailable(
            f"PostgreSQL has no room or no connection left ({code})", "nothing was changed"
        )
    if code.startswith("28") or code in ("3D000", "42501"):
        return TablesUnavailable(
            f"PostgreSQL does not let us in ({code})", "check user, password and database"
        )
    if code.startswith("XX00"):
        return TablesDamaged(f"PostgreSQL reports damaged data ({code})", MADE_ANEW)
    if code.startswith(("08", "57P")):
        return TablesUnavailable(
            f"PostgreSQL went away ({code}, {type(error).__name__})", "look whether it runs; try again"
        )
    if code:
        return TablesUnavailable(
            f"PostgreSQL refused a statement ({code}, {type(error).__name__})", "its own log says more"
        )
    return TablesUnavailable("PostgreSQL does not answer", "check that it runs and can be reached")


class PostgresqlDatabase:
    """See database.Database."""

    def __init__(self, conninfo: str, schema: str) -> None:
        self.conninfo = conninfo
        self.schema = schema
        with self._translated():
            self.connection = psycopg.connect(conninfo, autocommit=True, prepare_threshold=None)
        adapters = self.connection.adapters
        adapters.register_loader("uuid", _IdLoader)
        adapters.register_loader("timestamptz", _InstantLoader)
        adapters.register_loader("numeric", _DecimalLoader)
        adapters.register_dumper(None, BytesBinaryDumper)  # compiled; for bytea the driver's choice is not
        with self._translated():
            self._run(sql.SQL("SET search_path TO {}").format(sql.Identifier(schema)))
            self._run(sql.SQL("SET lock_timeout TO {}").format(sql.Literal(f"{LOCK_SECONDS}s")))

    @classmethod
    def at(cls, url: str) -> PostgresqlDatabase:
        return cls(*connection_settings(url))

    @property
    def dialect(self) -> Dialect:
        return DIALECT

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise as_ours(error) from error

    def _run(self, statement: sql.Composed | bytes, parameters: Sequence[Any] = ()) -> psycopg.Cursor[Row]:
        cursor = self.connection.cursor(binary=True)
        return cursor.execute(statement, parameters or None)

    @contextmanager
    def _transaction(self, begin: bytes) -> Iterator[None]:
        with self._translated():
            self._run(begin)
        try:
            yield
            with self._translated():
                self._run(b"COMMIT")
        except BaseException:
            if not self.connection.broken and not self.connection.closed:
                self.connection.rollback()
            raise

    @contextmanager
    def writing(self) -> Iterator[None]:
        with self.writing_beside():
            if self.exists():
                # Writers queue here, so that the cursor that one reads is the one that it moves.
                self.execute("LOCK TABLE cursor IN EXCLUSIVE MODE")
            yield

    @contextmanager
    def writing_beside(self) -> Iterator[None]:
        with self._transaction(b"BEGIN"):
            # Batches look up a few thousand keys: never worth a scan, whatever the planner knows of new tables.
            self.execute("SET LOCAL enable_seqscan = off")
            self.execute("SET LOCAL enable_hashjoin = off")
            self.execute("SET LOCAL enable_mergejoin = off")
            yield

    @contextmanager
    def reading(self) -> Iterator[None]:
        with self._transaction(b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"):
            self.fetch("SELECT 1")
            yield

    def exists(self) -> bool:
        return bool(
            self.fetch("SELECT 1 FROM pg_tables WHERE schemaname = ? AND tablename = 'meta'", (self.schema,))
        )

    def make_place(self) -> None:
        # Two that make it at once would both try: the second waits for the first, and then finds it.
        self.fetch("SELECT 1 FROM (SELECT pg_advisory_xact_lock(?)) AS waited", (MAKING,))
        self.execute(f'CREATE SCHEMA IF NOT EXISTS "{self.schema}"')

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        with self._translated():
            return self._run(_marked(sql), parameters).rowcount

    def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        with self._translated():
            return self._run(_marked(sql), parameters).fetchall()

    def select(self, table: sa.Table, rest: str = "", parameters: Sequence[Any] = ()) -> list[Row]:
        return self.fetch(f"SELECT {column_list(table)} FROM {table.name} {rest}", parameters)

    def iterate(self, table: sa.Table, rest: str = "", parameters: Sequence[Any] = ()) -> Iterator[Row]:
        query = _marked(f"SELECT {column_list(table)} FROM {table.name} {rest}")
        with self._translated(), self.connection.cursor(f"of_{table.name}") as cursor:
            cursor.execute(query, parameters or None, binary=True)
            while batch := cursor.fetchmany(ROWS_AT_ONCE):
                yield from batch

    def find(self, table: sa.Table, columns: Sequence[str], keys: Collection[Key]) -> list[Row]:
        wanted, arrays = _keyed(table, columns, keys)
        names = ", ".join(f"t.{c.name}" for c in table.columns)
        return self.fetch(f"SELECT {names} FROM {wanted} JOIN {table.name} t ON {_joined(columns)}", arrays)

    def insert(self, table: sa.Table, rows: Iterable[Row]) -> None:
        wired = wire_row(table)
        with self._translated():
            self.copy(table, map(wired, rows))

    def copy(self, table: sa.Table, wired: Iterable[Sequence[Any]]) -> None:
        """Rows made by `wire_row`, into the table."""
        statement = f"COPY {table.name} FROM STDIN (FORMAT BINARY)".encode()
        with self.connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types(wire_types(table))
            write = copy.write_row
            for row in wired:
                write(row)

    def delete(self, table: sa.Table, columns: Sequence[str], keys: Collection[Key]) -> None:
        if keys:
            wanted, arrays = _keyed(table, columns, keys)
            self.execute(f"DELETE FROM {table.name} t USING {wanted} WHERE {_joined(columns)}", arrays)

    def replace(self, table: sa.Table, rows: Collection[Row], gone: Collection[Key]) -> None:
        names = [c.name for c in table.columns]
        key = key_columns(table)
        at = [names.index(k) for k in key]
        self.delete(table, key, [*(tuple(row[i] for i in at) for row in rows), *gone])
        if rows:
            self.insert(table, rows)

    def set_verdicts(self, table: sa.Table, verdicts: Collection[tuple[str, str, int]]) -> None:
        if verdicts:
            columns = [list(c) for c in zip(*verdicts, strict=True)]
            self.execute(
                f"UPDATE {table.name} j SET verdict = k.v FROM unnest(?::text[], ?::text[], ?::bigint[]) AS k(v, s, o)"
                " WHERE j.stream = k.s AND j.log_offset = k.o",
                columns,
            )

    def identifier(self, value: bytes) -> UUID:
        return UUID(bytes=value)

    def close(self) -> None:
        self.connection.close()


def _marked(query: str) -> bytes:
    """Our `?` parameters as psycopg's."""
    return query.replace("%", "%%").replace("?", "%s").encode()


def _keyed(table: sa.Table, columns: Sequence[str], keys: Collection[Key]) -> tuple[str, list[list[Any]]]:
    """Keys as a table expression `k(k0, k1, …)` and its parameters."""
    of = dict(zip((c.name for c in table.columns), kinds(table), strict=True))
    arrays: list[list[Any]] = [list(values) for values in zip(*keys, strict=True)] or [[] for _ in columns]
    for i, column in enumerate(columns):
        if of[column] is Kind.ID:
            arrays[i] = [UUID(bytes=value) for value in arrays[i]]
    marks = ", ".join(f"?::{ARRAYS[of[column]]}" for column in columns)
    names = ", ".join(f"k{i}" for i in range(len(columns)))
    return f"unnest({marks}) AS k({names})", arrays


def _joined(columns: Sequence[str]) -> str:
    return " AND ".join(f"t.{column} = k.k{i}" for i, column in enumerate(columns))
