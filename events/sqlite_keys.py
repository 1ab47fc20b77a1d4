"""The keys of patients in a SQLite file, each wrapped under a key that lies in a file beside it.

The file's transactions are durable when they return (synchronous=FULL) and one at a time (BEGIN IMMEDIATE), so of two
processes that want a key for one stream the second finds the first one's. Wrapping is AES-256-GCM bound to key and
stream: a row that was moved to another stream does not unwrap. What is destroyed is overwritten in the file
(secure_delete) and taken out of the write-ahead log at once.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from events.clock import Clock, wall_millis
from events.errors import BadConfiguration, Corrupt, KeysUnavailable
from events.patient_keys import (
    ERASED,
    KEY_ID_BYTES,
    SECRET_BYTES,
    Changes,
    KeptKey,
    Key,
    Mark,
    refuse_erased,
)

BUSY_SECONDS = 10.0
NONCE_BYTES = 12
AT_ONCE = 500
"""Streams asked for in one statement."""
_LAYOUT = """
CREATE TABLE IF NOT EXISTS keys (
    id TEXT PRIMARY KEY, stream TEXT NOT NULL, made_at INTEGER NOT NULL, wrapped BLOB, changed INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS keys_stream ON keys (stream);
CREATE INDEX IF NOT EXISTS keys_changed ON keys (changed);
CREATE TABLE IF NOT EXISTS marks (
    stream TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, changed INTEGER NOT NULL,
    PRIMARY KEY (stream, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS missing (id TEXT PRIMARY KEY, stream TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS places (place TEXT PRIMARY KEY, through INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS numbers (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO numbers VALUES ('changes', 0);
"""
_HINT = "the keys folder must be there, have room, and be writable by this user"
_LOST = "put the file back from its copy, or move both away: 'rekam recover --to latest' brings the keys back"


class SqliteKeys:
    """`KeyStore` in the file at `path`, made when it is first written to. Can be sent to another process."""

    def __init__(
        self,
        path: Path,
        wrapping: Path,
        clock: Clock = wall_millis,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """`wrapping`: the file of the wrapping key, 64 hex digits."""
        self._path, self._wrapping_file = path, wrapping
        self._clock, self._random = clock, random
        self._lock = threading.RLock()
        self._opened: sqlite3.Connection | None = None
        self._file = 0
        self._cipher: AESGCM | None = None
        self._written = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return SqliteKeys, (self._path, self._wrapping_file)

    # -- the file ------------------------------------------------------------------------------------------------

    def _connection(self) -> sqlite3.Connection:
        if self._opened is not None and self._inode() != self._file:
            self.close()  # another file lies there now: what ours held is what somebody lost or replaced
        if self._opened is None:
            new = not self._path.exists()
            connection = sqlite3.connect(
                self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                if new:
                    self._path.chmod(0o600)
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=FULL")
                connection.execute("PRAGMA secure_delete=ON")
                connection.executescript(f"BEGIN IMMEDIATE; {_LAYOUT} COMMIT;")
            except BaseException:
                connection.close()
                raise
            self._opened, self._file = connection, self._inode()
        return self._opened

    def _inode(self) -> int:
        try:
            return self._path.stat().st_ino
        except FileNotFoundError:
            if self._opened is None:
                raise
            raise KeysUnavailable(
                f"{self._path}: the store of keys was moved or deleted while it was open", _LOST
            ) from None

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            with self._lock:
                yield
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in (
                sqlite3.SQLITE_CORRUPT,
                sqlite3.SQLITE_NOTADB,
            ):
                raise Corrupt(f"{self._path}: not a store of keys, or damaged", _LOST) from None
            raise KeysUnavailable(f"{self._path}: {error}", _HINT) from None
        except OSError as error:
            raise KeysUnavailable(f"{self._path}: {error.strerror}", _HINT) from None

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._failures():
            connection = self._connection()
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # Ctrl-C may come between a statement and what follows it
                    connection.execute("ROLLBACK")
                raise
            self._written += 1
            if self._inode() != self._file:
                raise KeysUnavailable(
                    f"{self._path}: the store of keys was replaced while it was written to", _LOST
                )

    def _read(self, sql: str, parameters: Collection[Any] = ()) -> list[Any]:
        with self._failures():
            return self._connection().execute(sql, tuple(parameters)).fetchall()

    # -- wrapping ------------------------------------------------------------------------------------------------

    def _wrapper(self) -> AESGCM:
        if self._cipher is None:
            try:
                raw = bytes.fromhex(self._wrapping_file.read_text("ascii").strip())
            except (OSError, ValueError) as error:
                raise BadConfiguration(
                    f"{self._wrapping_file} cannot be read ({type(error).__name__})", _LOST
                ) from None
            if len(raw) != SECRET_BYTES:
                raise BadConfiguration(f"{self._wrapping_file} holds no key", _LOST)
            self._cipher = AESGCM(raw)
        return self._cipher

    def _wrap(self, key: KeptKey) -> bytes | None:
        if key.secret is None:
            return None
        nonce = self._random(NONCE_BYTES)
        return nonce + self._wrapper().encrypt(nonce, key.secret, f"{key.id} {key.stream}".encode())

    def _unwrap(self, key_id: str, stream: str, wrapped: bytes | None) -> bytes | None:
        if wrapped is None:
            return None
        try:
            bound = f"{key_id} {stream}".encode()
            return self._wrapper().decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], bound)
        except (InvalidTag, ValueError):
            raise Corrupt(f"{self._path}: a key does not unwrap with {self._wrapping_file}", _LOST) from None

    # -- keys ----------------------------------------------------------------------------------------------------

    def make(self, streams: Collection[str]) -> dict[str, Key]:
        wanted = sorted(set(streams))
        found = self._standing(wanted)
        lacking = [stream for stream in wanted if stream not in found]
        if lacking:
            with self._writing() as connection:
                found |= self._standing(lacking)  # another process may have been faster
                made = [
                    KeptKey(self._random(KEY_ID_BYTES).hex(), s, self._clock(), self._random(SECRET_BYTES))
                    for s in lacking
                    if s not in found
                ]
                self._put(connection, made)
            found |= {key.stream: Key(key.id, key.secret) for key in made if key.secret is not None}
        return found

    def _standing(self, streams: list[str]) -> dict[str, Key]:
        found = {}
        for start in range(0, len(streams), AT_ONCE):
            some = streams[start : start + AT_ONCE]
            marks = ", ".join("?" * len(some))
            erased = f"SELECT stream FROM marks WHERE name = '{ERASED}' AND stream IN ({marks})"
            refuse_erased(self._read(erased, some))
            standing = f"wrapped IS NOT NULL AND stream IN ({marks})"
            sql = f"SELECT id, stream, wrapped FROM keys WHERE {standing} ORDER BY rowid"
            for key_id, stream, wrapped in self._read(sql, some):
                secret = self._unwrap(key_id, stream, wrapped)
                assert secret is not None, "only those that stand were asked for"
                found[stream] = Key(key_id, secret)
        return found

    def _put(self, connection: sqlite3.Connection, keys: Iterable[KeptKey]) -> None:
        for key in keys:
            row = (key.id, key.stream, key.made_at, self._wrap(key), self._next(connection))
            connection.execute("INSERT INTO keys VALUES (?, ?, ?, ?, ?)", row)

    def _next(self, connection: sqlite3.Connection) -> int:
        sql = "UPDATE numbers SET value = value + 1 WHERE name = 'changes' RETURNING value"
        [(number,)] = connection.execute(sql).fetchall()
        return int(number)

    def find(self, key_id: str) -> bytes | None:
        for stream, wrapped in self._read("SELECT stream, wrapped FROM keys WHERE id = ?", (key_id,)):
            return self._unwrap(key_id, stream, wrapped)
        return None

    def keys_of(self, stream: str) -> list[KeptKey]:
        sql = "SELECT id, stream, made_at, wrapped FROM keys WHERE stream = ? ORDER BY rowid"
        return [self._kept(row) for row in self._read(sql, (stream,))]

    def _kept(self, row: tuple[Any, ...]) -> KeptKey:
        key_id, stream, made_at, wrapped = row
        return KeptKey(key_id, stream, made_at, self._unwrap(key_id, stream, wrapped))

    # -- destroying ----------------------------------------------------------------------------------------------

    def destroy(self, stream: str, mark: Mark) -> list[str]:
        with self._writing() as connection:
            ids = self._destroy(connection, stream, mark)
        self._scrub()
        return ids

    def _destroy(self, connection: sqlite3.Connection, stream: str, mark: Mark) -> list[str]:
        sql = "SELECT id, wrapped FROM keys WHERE stream = ? ORDER BY rowid"
        held = connection.execute(sql, (stream,)).fetchall()
        if not held:
            nothing = KeptKey(self._random(KEY_ID_BYTES).hex(), stream, self._clock(), None)
            self._put(connection, [nothing])
            held = [(nothing.id, None)]
        for key_id, wrapped in held:
            if wrapped is not None:
                self._wipe(connection, key_id)
        self._mark(connection, mark)
        return [key_id for key_id, _ in held]

    def _wipe(self, connection: sqlite3.Connection, key_id: str) -> None:
        number = self._next(connection)
        connection.execute("UPDATE keys SET wrapped = NULL, changed = ? WHERE id = ?", (number, key_id))

    def _scrub(self) -> None:
        """The old page goes out of the write-ahead log; where a reader holds it, with the next one that succeeds."""
        self._read("PRAGMA wal_checkpoint(TRUNCATE)")

    def destroy_keys(self, key_ids: Collection[str], body: Mapping[str, Any]) -> list[str]:
        changed = []
        with self._writing() as connection:
            for key_id in sorted(set(key_ids)):
                for (stream,) in connection.execute(
                    "SELECT stream FROM keys WHERE id = ?", (key_id,)
                ).fetchall():
                    if self._to_destroy(connection, stream):
                        self._destroy(connection, stream, Mark(stream, ERASED, body))
                        changed.append(stream)
        if changed:
            self._scrub()
        return sorted(set(changed))

    @staticmethod
    def _to_destroy(connection: sqlite3.Connection, stream: str) -> bool:
        stands = "SELECT 1 FROM keys WHERE stream = ? AND wrapped IS NOT NULL"
        marked = "SELECT 1 FROM marks WHERE stream = ? AND name = ?"
        return bool(
            connection.execute(stands, (stream,)).fetchone()
            or not connection.execute(marked, (stream, ERASED)).fetchone()
        )

    # -- marks ---------------------------------------------------------------------------------------------------

    def marks(self, name: str) -> dict[str, Mark]:
        if self._opened is None and not self._path.exists():
            return {}
        rows = self._read("SELECT stream, body FROM marks WHERE name = ?", (name,))
        return {stream: Mark(stream, name, json.loads(body)) for stream, body in rows}

    def put_mark(self, mark: Mark) -> None:
        with self._writing() as connection:
            self._mark(connection, mark)

    def _mark(self, connection: sqlite3.Connection, mark: Mark) -> None:
        place = (mark.stream, mark.name)
        held = connection.execute("SELECT body FROM marks WHERE stream = ? AND name = ?", place).fetchone()
        if held is not None:
            before = json.loads(held[0])
            if before["at"] > mark.body["at"] or before == mark.body:
                return
        body = json.dumps(dict(mark.body), ensure_ascii=False, sort_keys=True)
        connection.execute(
            "INSERT OR REPLACE INTO marks VALUES (?, ?, ?, ?)", (*place, body, self._next(connection))
        )

    # -- what is not here ----------------------------------------------------------------------------------------

    def missed(self, keys: Mapping[str, str]) -> None:
        with self._writing() as connection:
            connection.executemany("INSERT OR IGNORE INTO missing VALUES (?, ?)", keys.items())

    def missing(self) -> dict[str, str]:
        return dict(self._read("SELECT id, stream FROM missing WHERE id NOT IN (SELECT id FROM keys)"))

    def returned(self) -> dict[str, str]:
        return dict(self._read("SELECT id, stream FROM missing WHERE id IN (SELECT id FROM keys)"))

    def forget_missed(self, key_ids: Collection[str]) -> None:
        with self._writing() as connection:
            connection.executemany("DELETE FROM missing WHERE id = ?", [(key_id,) for key_id in key_ids])

    # -- for caches and backups ----------------------------------------------------------------------------------

    def version(self) -> object:
        if self._opened is None and not self._path.exists():
            return None
        [(others,)] = self._read("PRAGMA data_version")
        return self._file, others, self._written

    def changes(self, after: int) -> Changes:
        with self._failures():
            connection = self._connection()
            connection.execute("BEGIN")
            try:
                [(through,)] = connection.execute("SELECT value FROM numbers WHERE name = 'changes'")
                sql = "SELECT id, stream, made_at, wrapped FROM keys WHERE changed > ? ORDER BY changed"
                keys = [self._kept(row) for row in connection.execute(sql, (after,))]
                sql = "SELECT stream, name, body FROM marks WHERE changed > ? ORDER BY changed"
                marks = [Mark(s, n, json.loads(body)) for s, n, body in connection.execute(sql, (after,))]
                count = "SELECT (SELECT count(*) FROM keys) + (SELECT count(*) FROM marks)"
                [(total,)] = connection.execute(count)
            finally:
                if connection.in_transaction:
                    connection.execute("COMMIT")
        return Changes(keys, marks, through, total)

    def merge(self, keys: Iterable[KeptKey], marks: Iterable[Mark]) -> list[str]:
        back: set[str] = set()
        with self._writing() as connection:
            for mark in marks:
                self._mark(connection, mark)
            erased = {s for (s,) in connection.execute("SELECT stream FROM marks WHERE name = ?", (ERASED,))}
            for key in keys:
                sql = "SELECT wrapped FROM keys WHERE id = ?"
                held = connection.execute(sql, (key.id,)).fetchone()
                key = key._replace(secret=None) if key.stream in erased else key
                if held is None:
                    self._put(connection, [key])
                    back |= {key.stream} if key.secret is not None else set()
                elif held[0] is not None and key.secret is None:
                    self._wipe(connection, key.id)
        return sorted(back)

    def backed_up(self, place: str) -> int:
        found = self._read("SELECT through FROM places WHERE place = ?", (place,))
        return int(found[0][0]) if found else 0

    def set_backed_up(self, place: str, through: int) -> None:
        sql = (
            "INSERT INTO places VALUES (?, ?)"
            " ON CONFLICT (place) DO UPDATE SET through = max(through, excluded.through)"
        )
        with self._writing() as connection:
            connection.execute(sql, (place, through))

    def close(self) -> None:
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None
