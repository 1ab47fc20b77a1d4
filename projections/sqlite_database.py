"""SQLite under the tables: one file in WAL mode, so that readers never wait for the projector.

A commit is durable when it returns (synchronous=FULL). A writer waits for another one for WAIT_SECONDS.
"""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from functools import cache
from itertools import chain, islice
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Dialect

import events.sqlite_values  # noqa: F401  (its adapters)
from events.durable import sync
from events.errors import Busy, RekamError, TablesDamaged, TablesUnavailable
from projections.columns import Kind, key_columns, kinds
from projections.database import MADE_ANEW, column_list, key_match
from projections.rows import Key, Row

WAIT_SECONDS = 20.0
PAGE_BYTES = 8192
"""Fixed: a fresh file is copied page by page over a live one, whose pages must be as large."""
CACHE_KIBIBYTES = 64 * 1024
ROWS_AT_ONCE = 2000
ROWS_A_STATEMENT = 50
LIVE_PRAGMAS = ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON")
"""What is deleted is overwritten, whatever SQLite was built with: an erased patient's rows leave nothing behind."""
FRESH_PRAGMAS = ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE")
DIALECT: Dialect = sqlite.dialect()


def connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=512
    )
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIBIBYTES}")
    return connection


def as_ours(error: sqlite3.Error, path: Path) -> RekamError:
    """What an error of SQLite's means to us. Its text names tables and columns, never values."""
    code = getattr(error, "sqlite_errorcode", None) or 0
    if code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Busy(f"{path.name} is being written to by somebody else", "try again in a moment")
    if code & 0xFF == sqlite3.SQLITE_FULL:
        return TablesUnavailable(f"no room on the disk of {path}", "free some space; nothing was changed")
    if code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return TablesDamaged(f"{path} is damaged: {error}", MADE_ANEW)
    if code & 0xFF == sqlite3.SQLITE_IOERR:
        return TablesUnavailable(
            f"{path}: {error}",
            "the disk refuses: look for space, quotas and faults; nothing was half written",
        )
    return TablesUnavailable(f"{path}: {error}", "check that the file and its folder can be read and written")


@cache
def _placeholders(table: sa.Table) -> str:
    return ", ".join("?" * len(table.columns))


@cache
def _booleans(table: sa.Table) -> tuple[int, ...]:
    return tuple(i for i, kind in enumerate(kinds(table)) if kind is Kind.BOOLEAN)


def _typed(rows: list[Row], table: sa.Table) -> list[Row]:
    booleans = _booleans(table)
    if not booleans:
        return rows
    return [
        tuple(bool(v) if i in booleans and v is not None else v for i, v in enumerate(row)) for row in rows
    ]


class SqliteDatabase:
    """See database.Database."""

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        """Opens the file, which must exist or whose folder must. `fresh`: nobody else knows it, fast, not durable."""
        self.path = path
        self._fresh = fresh
        self._guard = None if fresh else _Guard(path)
        try:
            self._connect()
        except BaseException:
            self._let_go()
            raise

    def _connect(self) -> None:
        with self._translated():
            self.connection = connect(self.path)
        self._variables = self.connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
        self._inode = self.path.stat().st_ino
        try:
            with self._translated():
                for pragma in FRESH_PRAGMAS if self._fresh else LIVE_PRAGMAS:
                    self.connection.execute(f"PRAGMA {pragma}")
        except RekamError:
            self.connection.close()
            raise

    def _let_go(self) -> None:
        if self._guard is not None:
            self._guard.close()

    @property
    def dialect(self) -> Dialect:
        return DIALECT

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise as_ours(error, self.path) from error

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[None]:
        with self._translated():
            self.connection.execute(begin)
        try:
            self._refuse_moved()
            yield
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise
        with self._translated():
            try:
                self.connection.execute("COMMIT")
            except sqlite3.Error:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    def _refuse_moved(self) -> None:
        """What is written to a file that was deleted or replaced while it is open would be seen by nobody."""
        try:
            here = self.path.stat().st_ino
        except FileNotFoundError:
            here = None
        if here != self._inode:
            raise TablesUnavailable(f"{self.path} was deleted or replaced while it was open", "open it again")

    def writing(self) -> AbstractContextManager[None]:
        return self._transaction("BEGIN IMMEDIATE")

    def writing_beside(self) -> AbstractContextManager[None]:
        return self.writing()

    @contextmanager
    def reading(self) -> Iterator[None]:
        with self._transaction("BEGIN"):
            # A deferred transaction begins with its first read.
            self.fetch("SELECT count(*) FROM sqlite_master")
            yield

    def exists(self) -> bool:
        return bool(self.fetch("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'meta'"))

    def make_place(self) -> None:
        """The file is the place."""

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        with self._translated():
            return self.connection.execute(sql, parameters).rowcount

    def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        with self._translated():
            return self.connection.execute(sql, parameters).fetchall()

    def select(self, table: sa.Table, rest: str = "", parameters: Sequence[Any] = ()) -> list[Row]:
        sql = f"SELECT {column_list(table)} FROM {table.name} {rest}"
        return _typed(self.fetch(sql, parameters), table)

    def iterate(self, table: sa.Table, rest: str = "", parameters: Sequence[Any] = ()) -> Iterator[Row]:
        with self._translated():
            cursor = self.connection.execute(
                f"SELECT {column_list(table)} FROM {table.name} {rest}", parameters
            )
            while batch := cursor.fetchmany(ROWS_AT_ONCE):
                yield from _typed(batch, table)

    def find(self, table: sa.Table, columns: Sequence[str], keys: Collection[Key]) -> list[Row]:
        sql = f"SELECT {column_list(table)} FROM {table.name} WHERE {key_match(columns)}"
        found: list[Row] = []
        with self._translated():
            execute = self.connection.execute
            for key in keys:
                found.extend(execute(sql, key))
        return _typed(found, table)

    def insert(self, table: sa.Table, rows: Iterable[Row]) -> None:
        """Many rows a statement: starting a statement costs as much as binding ten values."""
        one = f"({_placeholders(table)})"
        many = max(1, min(ROWS_A_STATEMENT, self._variables // len(table.columns)))
        statement = f"INSERT INTO {table.name} VALUES {', '.join([one] * many)}"
        waiting = iter(rows)
        with self._translated():
            while len(chunk := list(islice(waiting, many))) == many:
                self.connection.execute(statement, list(chain.from_iterable(chunk)))
            self.connection.executemany(f"INSERT INTO {table.name} VALUES {one}", chunk)

    def delete(self, table: sa.Table, columns: Sequence[str], keys: Collection[Key]) -> None:
        with self._translated():
            self.connection.executemany(f"DELETE FROM {table.name} WHERE {key_match(columns)}", keys)

    def set_verdicts(self, table: sa.Table, verdicts: Collection[tuple[str, str, int]]) -> None:
        sql = f"UPDATE {table.name} SET verdict = ? WHERE stream = ? AND log_offset = ?"
        with self._translated():
            self.connection.executemany(sql, verdicts)

    def replace(self, table: sa.Table, rows: Collection[Row], gone: Collection[Key]) -> None:
        with self._translated():
            if gone:
                self.delete(table, key_columns(table), gone)
            if rows:
                sql = f"INSERT OR REPLACE INTO {table.name} VALUES ({_placeholders(table)})"
                self.connection.executemany(sql, rows)

    def identifier(self, value: bytes) -> bytes:
        return value

    def exchange(self, fresh: Path) -> None:
        """Puts a complete file in this one's place, at once: who reads sees all of the old or all of the new.

        Nobody else has this file open: it is renamed. Else it is copied over, page by page in one transaction, since
        a file must not be renamed under a connection (its -wal belongs to the name).
        """
        sync(fresh)
        if not self._renamed(fresh):
            with self._translated(), closing(connect(fresh)) as source:
                source.backup(self.connection)
            fresh.unlink()

    def _renamed(self, fresh: Path) -> bool:
        if self._guard is None or not self._guard.alone():
            return False
        try:
            self.connection.close()
            if any(self.path.with_name(self.path.name + end).exists() for end in ("-wal", "-journal")):
                return False  # a program that is not ours has it open
            fresh.replace(self.path)
            sync(self.path.parent)
            return True
        finally:
            self._connect()
            self._guard.share()

    def close(self) -> None:
        with self._translated():
            self.connection.close()
        self._let_go()


class _Guard:
    """A lock beside the file that whoever of ours has it open shares; who is alone may rename it."""

    def __init__(self, path: Path) -> None:
        self._file = path.with_name(path.name + ".lock").open("ab")
        self.share()

    def share(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_SH)

    def alone(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.share()  # a failed change of a lock may have let it go
            return False
        return True

    def close(self) -> None:
        self._file.close()
