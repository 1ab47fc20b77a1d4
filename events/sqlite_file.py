"""The file of the SQLite log: its layout, how it is made and opened, and what SQLite's errors mean to us.

Layout. `meta` holds the log's id and format; `partitions` numbers each (topic, number); the records of partition
number n stand in `records_<n>` by offset, so that appending fills pages to the brim and reading is sequential.
`headers` is null for none, else for each header a 4-byte length and the name, a 4-byte length (-1: null) and the value.
`ordered_from`: from this offset on times never decrease (only a restored log may hold others), so they are bisected.

A log is made under another name and renamed when it is complete, so a log is never half made; the lock of its folder
keeps two makers apart. Files that a lost log left behind (`-wal`, `-shm`) are removed first: SQLite would
take an old write-ahead log for part of the new file.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import events.sqlite_values  # noqa: F401  (its adapters)
from events.durable import sync
from events.errors import Busy, Corrupt, LogMissing, LogUnavailable, Refused, RekamError
from events.partitioning import all_partitions
from events.position import Partition

FORMAT = 1
BUSY_SECONDS = 10.0
"""How long another process may keep us from writing before we say so."""

_LAYOUT = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE partitions (
    id INTEGER PRIMARY KEY, topic TEXT NOT NULL, number INTEGER NOT NULL,
    ordered_from INTEGER NOT NULL DEFAULT 0, UNIQUE (topic, number));
"""
_RECORDS = """
CREATE TABLE records_{id} (
    "offset" INTEGER PRIMARY KEY, time INTEGER NOT NULL, time_type INTEGER NOT NULL,
    key BLOB, headers BLOB, value BLOB);
"""
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
DAMAGED_HINT = (
    "move it away with its -wal and -shm, and keep them: they may hold what was not shipped; "
    "then 'rekam recover --to latest'"
)
_HINTS = {
    sqlite3.SQLITE_FULL: "the disk is full: free some space; nothing was half written",
    sqlite3.SQLITE_IOERR: "the disk refuses: look for space, quotas and faults; nothing was half written",
    sqlite3.SQLITE_BUSY: "another process holds the log; try again",
    sqlite3.SQLITE_LOCKED: "another process holds the log; try again",
    sqlite3.SQLITE_READONLY: "the log's file or folder cannot be written by this user",
    sqlite3.SQLITE_CANTOPEN: "look whether the folder exists and this user may write in it",
}


class Shape(NamedTuple):
    """What a log's file says of itself."""

    log_id: str
    ids: dict[Partition, int]
    ordered_from: dict[Partition, int]
    restored_from: str

    @property
    def counts(self) -> dict[str, int]:
        """topic -> number of partitions."""
        topics = [p.topic for p in self.ids]
        return {topic: topics.count(topic) for topic in dict.fromkeys(topics)}


def failure(error: sqlite3.Error, path: Path) -> RekamError:
    """What an error of SQLite's means. Codes carry details in their upper bytes."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _DAMAGED:
        return Corrupt(f"{path}: not a log, or damaged: {error}", DAMAGED_HINT)
    return LogUnavailable(f"{path}: {error}", _HINTS.get(code, "try again"))


@contextmanager
def failures_of(path: Path) -> Iterator[None]:
    """Turns SQLite's errors into ours."""
    try:
        yield
    except sqlite3.Error as error:
        raise failure(error, path) from error
    except OSError as error:
        raise LogUnavailable(f"{path}: {error.strerror}", "look at the folder's disk and rights") from error


def connect(
    path: Path, *, busy_seconds: float = BUSY_SECONDS, synchronous: str = "FULL"
) -> sqlite3.Connection:
    """A connection to an existing file; transactions are ours to begin and end. Raises sqlite3.Error."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=busy_seconds,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={synchronous}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def read_shape(connection: sqlite3.Connection, path: Path) -> Shape:
    """Raises Corrupt if the database is not a log, Refused if it is one of a later format."""
    try:
        meta = dict(connection.execute("SELECT name, value FROM meta"))
        rows = list(connection.execute("SELECT id, topic, number, ordered_from FROM partitions ORDER BY id"))
    except sqlite3.OperationalError as error:
        if (error.sqlite_errorcode & 0xFF) != sqlite3.SQLITE_ERROR:
            raise
        raise Corrupt(f"{path}: a database, but not a log", "name the log's own file") from error
    if json.loads(meta.get("format", "0")) != FORMAT:
        raise Refused(
            f"{path}: a log of format {meta.get('format')}, not {FORMAT}", "use the program that made it"
        )
    partitions = {Partition(topic, number): id_ for id_, topic, number, _ in rows}
    return Shape(meta["id"], partitions, {Partition(t, n): o for _, t, n, o in rows}, meta.get("source", ""))


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Keeps those apart who put a file in place in one folder; let go of when the process dies."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


class Turn:
    """A lock that one process at a time holds, from `take` to `give_back` or its death."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None

    def take(self) -> None:
        """Raises Busy where somebody else holds it; OSError."""
        self.give_back()
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise Busy(
                f"{self._path.parent}: the log is being restored by somebody else",
                "let that one finish, or stop it first",
            ) from None
        self._handle = handle

    def give_back(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def end(self) -> None:
        """What it was for is done, and nobody needs it again: its file goes too."""
        self._path.unlink(missing_ok=True)
        self.give_back()


def make(path: Path, counts: Mapping[str, int], log_id: str, source: str = "") -> None:
    """A new empty log at `path`, where no file may be. Raises sqlite3.Error, OSError.

    `source` says what it is restored from, so that only the same restore is resumed.
    """
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("BEGIN")
        for statement in _LAYOUT.split(";\n"):
            connection.execute(statement)
        for id_, partition in enumerate(all_partitions(counts), start=1):
            connection.execute(
                "INSERT INTO partitions (id, topic, number) VALUES (?, ?, ?)", (id_, *partition)
            )
            connection.execute(_RECORDS.format(id=id_))
        meta = {"id": log_id, "format": str(FORMAT), "source": source}
        connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()


def put_in_place(made: Path, path: Path) -> None:
    """Gives a complete log its name, durably. Raises Refused if a log has that name already."""
    with folder_lock(path.parent):
        if path.exists():
            raise Refused(f"{path}: a log is there already", "nothing was written over it")
        _remove(companions(path))
        sync(made)
        made.rename(path)
        sync(path.parent)


def create(path: Path, counts: Mapping[str, int], log_id: str) -> None:
    """A new empty log at `path`. Raises Refused if one is there, LogUnavailable if the folder is not."""
    if not path.parent.is_dir():
        raise LogUnavailable(f"{path.parent}: no such folder", "make the folder first")
    made = path.with_name(f"{path.name}.new-{os.getpid()}-{log_id}")
    try:
        make(made, counts, log_id)
        put_in_place(made, path)
    finally:
        _remove([made, *companions(made)])


def missing(path: Path) -> LogMissing:
    return LogMissing(
        f"{path}: there is no log",
        "'rekam recover --to latest' brings a lost one back; for a new clinic 'rekam init' makes one",
    )


def companions(path: Path) -> list[Path]:
    """The files that SQLite keeps beside a database."""
    return [path.with_name(path.name + ending) for ending in ("-wal", "-shm", "-journal")]


def _remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


_LENGTH = struct.Struct(">i")


def pack_headers(headers: Sequence[tuple[str, bytes | None]]) -> bytes | None:
    """The stored form of a record's headers; None for none."""
    if not headers:
        return None
    parts = []
    for key, value in headers:
        name = key.encode()
        parts += [
            _LENGTH.pack(len(name)),
            name,
            _LENGTH.pack(-1 if value is None else len(value)),
            value or b"",
        ]
    return b"".join(parts)


def unpack_headers(stored: bytes | None) -> tuple[tuple[str, bytes | None], ...]:
    """The headers of a stored record. Raises struct.error, UnicodeDecodeError where they were not written by us."""
    headers: list[tuple[str, bytes | None]] = []
    at = 0
    while stored and at < len(stored):
        name, at = _chunk(stored, at)
        value, at = _chunk(stored, at)
        headers.append(((name or b"").decode(), value))
    return tuple(headers)


def _chunk(stored: bytes, at: int) -> tuple[bytes | None, int]:
    (length,) = _LENGTH.unpack_from(stored, at)
    at += _LENGTH.size
    return (None, at) if length < 0 else (stored[at : at + length], at + length)
