"""The log in one SQLite file: the embedded default, durable on return, shared by any number of processes.

- One append is one transaction in WAL mode with synchronous=FULL: on return it is on the disk, after a failure none
  of it is. Threads that append at the same time share a transaction (group_commit.py); processes take turns.
- A record's time is the machine's clock, or the newest of the partitions' last times where the clock stands behind.
- A file that was moved, deleted or replaced while it is open is an error at once: what is appended to an unlinked
  file would be acknowledged and lost.
- A reader holds no transaction between batches, so it never keeps the write-ahead log from being folded in.
"""

from __future__ import annotations

import sqlite3
import uuid
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

from events import sqlite_file
from events.clock import Clock, wall_millis
from events.errors import BadInput, Corrupt, LogGap, LogRecreated, Refused
from events.group_commit import GroupCommit
from events.log import Entry, Placed, Record, TimeType, refuse_discontinuous, refuse_unfit
from events.partitioning import partition_counts, partition_number, refuse_changed_counts
from events.position import Partition, Position
from events.sqlite_file import BUSY_SECONDS, DAMAGED_HINT, failures_of

BATCH_BYTES = 1024 * 1024
BATCH_RECORDS = 128
"""So few that a batch and what it is decoded to stay in the processor's cache: larger ones are read more slowly."""
_IDLE_READERS = 8

Row = tuple[bytes | None, bytes | None, bytes | None]
"""key, headers, value"""


class Appending(NamedTuple):
    """One caller's entries as rows, each with the id of its partition, in order."""

    ids: list[int]
    rows: list[Row]


class _Tails:
    """Next offsets by partition id and the newest time, as long as nobody else commits."""

    __slots__ = ("data_version", "ends", "newest")

    def __init__(self, data_version: int, ends: dict[int, int], newest: int) -> None:
        self.data_version = data_version
        self.ends = ends
        self.newest = newest


class SqliteLog:
    """The log in the file at `path`. `clock` gives milliseconds.

    Without `create`, raises LogMissing where there is no file. Raises BadConfiguration if `partitions` are not those
    that the log was made with, Corrupt if the file is not a log, LogUnavailable if it cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        *,
        create: bool = False,
        partitions: Mapping[str, int] | None = None,
        clock: Clock = wall_millis,
        busy_seconds: float = BUSY_SECONDS,
        log_id: str | None = None,
    ) -> None:
        self.path = path
        self._clock = clock
        self._busy_seconds = busy_seconds
        with failures_of(path):
            if not path.exists():
                _make(path, create, partitions, log_id or uuid.uuid4().hex)
            self._inode = path.stat().st_ino
            self._writer = sqlite_file.connect(path, busy_seconds=busy_seconds)
            self._shape = _shape(self._writer, path)
        self.partitions: Mapping[str, int] = self._shape.counts
        refuse_changed_counts(str(path), self.partitions, partitions)
        self._named = {id_: partition for partition, id_ in self._shape.ids.items()}
        self._tails = _Tails(-1, {}, 0)
        self._readers: list[sqlite3.Connection] = []
        self._group = GroupCommit(self._commit, busy_seconds * 2)

    def append(self, topic: str, entries: Sequence[Entry]) -> list[Placed]:
        refuse_unfit(entries)
        if topic not in self.partitions:
            raise BadInput(f"{self.path}: the log has no topic {topic}")
        if not entries:
            return []
        count, ids = self.partitions[topic], self._shape.ids
        return self._group.submit(
            Appending(
                [ids[Partition(topic, partition_number(e.key, count))] for e in entries],
                [(e.key, sqlite_file.pack_headers(e.headers), e.value) for e in entries],
            )
        )

    def _commit(self, group: Sequence[Appending]) -> list[list[Placed]]:
        """One transaction for a group. Only one thread is here at a time."""
        with failures_of(self.path):
            writer = self._writer
            writer.execute("BEGIN IMMEDIATE")
            try:
                tails = self._current_tails(writer)
                ends, now = dict(tails.ends), max(self._clock(), tails.newest)
                rows, placed = self._place(group, ends, now)
                for id_, flat in rows.items():
                    _insert(writer, id_, flat)
                writer.execute("COMMIT")
            except BaseException:
                self._tails.data_version = -1
                if writer.in_transaction:
                    writer.execute("ROLLBACK")
                raise
            self._tails = _Tails(tails.data_version, ends, now)
            self._refuse_replaced()
        return placed

    def _place(
        self, group: Sequence[Appending], ends: dict[int, int], now: int
    ) -> tuple[dict[int, list[object]], list[list[Placed]]]:
        """Gives every row its offset and time: (values by partition id, row after row; each caller's result)."""
        rows: dict[int, list[object]] = {}
        placed = []
        named, new = self._named, tuple.__new__  # which takes a third of what Placed(…) does
        for ids, appended in group:
            result = []
            for id_, row in zip(ids, appended, strict=True):
                offset = ends[id_]
                ends[id_] = offset + 1
                rows.setdefault(id_, []).extend((offset, now, *row))
                result.append(new(Placed, (named[id_], offset, now)))
            placed.append(result)
        return rows, placed

    def _current_tails(self, writer: sqlite3.Connection) -> _Tails:
        """Inside a write transaction: the ends that we left, unless another connection has committed since."""
        (version,) = writer.execute("PRAGMA data_version").fetchone()
        if version == self._tails.data_version:
            return self._tails
        ends, newest = {}, 0
        for id_ in self._named:
            last = writer.execute(
                f'SELECT "offset", time FROM records_{id_} ORDER BY "offset" DESC LIMIT 1'
            ).fetchone()
            ends[id_] = last[0] + 1 if last else 0
            newest = max(newest, last[1] if last else 0)
        return _Tails(version, ends, newest)

    def _refuse_replaced(self) -> None:
        try:
            same = self.path.stat().st_ino == self._inode
        except FileNotFoundError:
            same = False
        if not same:
            raise LogRecreated(
                f"{self.path}: the log's file was moved, deleted or replaced while it was open",
                "stop whatever uses it; put the file back, or recover",
            )

    def read(self, partition: Partition, start: int, stop: int) -> Iterator[Sequence[Record]]:
        id_ = self._id(partition)
        while start < stop:
            with self._reading() as reader:
                batch = _read_batch(reader, id_, start, stop)
            if not batch or batch[0].offset != start or batch[-1].offset - start + 1 != len(batch):
                raise _gap(partition, start, stop, batch)
            yield batch
            start += len(batch)

    def first_later(self, partition: Partition, start: int, stop: int, time: int) -> int | None:
        id_ = self._id(partition)
        bend = min(max(self._shape.ordered_from[partition], start), stop)
        with self._reading() as reader:
            if start < bend:
                found = reader.execute(
                    f'SELECT "offset" FROM records_{id_} WHERE "offset" >= ? AND "offset" < ? AND time > ? '
                    'ORDER BY "offset" LIMIT 1',
                    (start, bend, time),
                ).fetchone()
                if found:
                    return int(found[0])
            (end,) = reader.execute(f'SELECT coalesce(max("offset") + 1, 0) FROM records_{id_}').fetchone()
            stop = min(stop, end)
            times = _Times(reader, id_)
            offset = bisect_right(times, time, bend, max(bend, stop))
            return offset if offset < stop else None

    def start(self) -> Position:
        return self._outermost('coalesce(min("offset"), 0)')

    def end(self) -> Position:
        return self._outermost('coalesce(max("offset") + 1, 0)')

    def _outermost(self, expression: str) -> Position:
        columns = ", ".join(f"(SELECT {expression} FROM records_{id_})" for id_ in self._named)
        with self._reading() as reader:
            row = reader.execute(f"SELECT {columns}").fetchone()
        return Position(dict(zip(self._named.values(), row, strict=True)))

    def identity(self) -> Mapping[str, str]:
        with failures_of(self.path):
            self._refuse_replaced()
        return dict.fromkeys(self.partitions, self._shape.log_id)

    def close(self) -> None:
        for connection in [self._writer, *self._readers]:
            connection.close()
        self._readers.clear()

    def _id(self, partition: Partition) -> int:
        if partition not in self._shape.ids:
            raise BadInput(f"{self.path}: the log has no partition {partition}")
        return self._shape.ids[partition]

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that no other thread uses meanwhile."""
        with failures_of(self.path):
            self._refuse_replaced()
            try:
                reader = self._readers.pop()
            except IndexError:
                reader = sqlite_file.connect(self.path, busy_seconds=self._busy_seconds)
                reader.execute("PRAGMA query_only=ON")
            try:
                yield reader
            except BaseException:
                reader.close()
                raise
            if len(self._readers) < _IDLE_READERS:
                self._readers.append(reader)
            else:
                reader.close()


class _Times(Sequence[int]):
    """The times of a partition by offset, read one by one: what bisecting needs."""

    def __init__(self, reader: sqlite3.Connection, id_: int) -> None:
        self._reader = reader
        self._statement = f'SELECT time FROM records_{id_} WHERE "offset" >= ? ORDER BY "offset" LIMIT 1'

    def __getitem__(self, offset: int) -> int:  # type: ignore[override]  # bisect never asks for a slice
        return int(self._reader.execute(self._statement, (offset,)).fetchone()[0])

    def __len__(self) -> int:
        raise NotImplementedError("bisected with explicit bounds only")


def _make(path: Path, create: bool, partitions: Mapping[str, int] | None, log_id: str) -> None:
    if not create:
        raise sqlite_file.missing(path)
    counts = partition_counts(partitions)
    try:
        sqlite_file.create(path, counts, log_id)
    except Refused:
        if not path.exists():
            raise  # else another process made it first, and it is the log


def _shape(writer: sqlite3.Connection, path: Path) -> sqlite_file.Shape:
    try:
        return sqlite_file.read_shape(writer, path)
    except BaseException:
        writer.close()
        raise


_ROW_VALUES = 5
_MANY, _FEW = 256, 16
"""Rows a statement: so many at once, or any number up to the other. Python's interpreter lock changes hands at every
statement, which is what many threads wait for."""


@cache
def _insert_statement(id_: int, size: int) -> str:
    row = f"(?, ?, {int(TimeType.APPEND)}, ?, ?, ?)"
    return f"INSERT INTO records_{id_} VALUES {', '.join([row] * size)}"


def _insert(writer: sqlite3.Connection, id_: int, values: list[object]) -> None:
    """Rows of (offset, time, key, headers, value), one after the other, in as few statements as can be."""
    at, left = 0, len(values) // _ROW_VALUES
    while left:
        size = _MANY if left >= _MANY else min(left, _FEW)
        writer.execute(_insert_statement(id_, size), values[at : at + size * _ROW_VALUES])
        at += size * _ROW_VALUES
        left -= size


def _read_batch(reader: sqlite3.Connection, id_: int, start: int, stop: int) -> list[Record]:
    """The records from `start` on, up to a bound in bytes and records."""
    batch: list[Record] = []
    size_bytes = 0
    add, new, unpack = batch.append, tuple.__new__, sqlite_file.unpack_headers
    rows = reader.execute(
        f'SELECT "offset", time, time_type, key, headers, value FROM records_{id_} '
        'WHERE "offset" >= ? AND "offset" < ? ORDER BY "offset"',
        (start, min(stop, start + BATCH_RECORDS)),
    )
    for offset, time, time_type, key, headers, value in rows:
        unpacked = () if headers is None else unpack(headers)
        add(new(Record, (offset, time, time_type, key, unpacked, value)))  # a third of what Record(…) takes
        if value is not None:
            size_bytes += len(value)
            if size_bytes >= BATCH_BYTES:
                break
    rows.close()
    return batch


def _gap(partition: Partition, start: int, stop: int, found: Sequence[Record]) -> LogGap:
    expected = start
    for record in found:
        if record.offset != expected:
            stop = record.offset
            break
        expected += 1
    return LogGap(
        f"{partition}: offsets {expected} to {stop - 1} are not on the log",
        f"the log is damaged: {DAMAGED_HINT}",
    )


class SqliteRestorer:
    """Brings a lost log back into the file at `path`: written beside it, renamed when complete. See `LogRestorer`.

    Of two at once the second is Busy: it would write into the first one's file, or throw it away.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._half = path.with_name(path.name + ".restoring")
        self._turn = sqlite_file.Turn(path.with_name(path.name + ".restoring.lock"))
        self._writer: sqlite3.Connection | None = None
        self._ids: dict[Partition, int] = {}
        self._ends: dict[Partition, int] = {}
        self._newest: dict[Partition, int] = {}

    def begin(self, partitions: Mapping[str, int], source: str = "") -> Position:
        counts = partition_counts(partitions)
        with failures_of(self._path):
            self._refuse_standing()
            self._turn.take()
            self._refuse_standing()
            if not self._resumable(counts, source):
                for path in [self._half, *sqlite_file.companions(self._half)]:
                    path.unlink(missing_ok=True)
                sqlite_file.make(self._half, counts, uuid.uuid4().hex, source)
            # NORMAL: a power cut may take the last writes, never the order of them, and `begin` says how far it got.
            self._writer = sqlite_file.connect(self._half, synchronous="NORMAL")
            shape = sqlite_file.read_shape(self._writer, self._half)
            self._ids = shape.ids
            for partition, id_ in shape.ids.items():
                end, newest = self._writer.execute(
                    f'SELECT coalesce(max("offset") + 1, 0), coalesce(max(time), 0) FROM records_{id_}'
                ).fetchone()
                self._ends[partition], self._newest[partition] = end, newest
        return Position(self._ends)

    def _refuse_standing(self) -> None:
        if self._path.exists():
            raise Refused(f"{self._path}: a log is there already", "a restore never writes over a log")

    def _resumable(self, counts: Mapping[str, int], source: str) -> bool:
        """Whether a restore from this source with these partitions was left half done here."""
        if not self._half.exists():
            return False
        try:
            connection = sqlite_file.connect(self._half)
            try:
                shape = sqlite_file.read_shape(connection, self._half)
                return (shape.counts, shape.restored_from) == (counts, source)
            finally:
                connection.close()
        except (sqlite3.Error, Refused, Corrupt):
            return False

    def write(self, partition: Partition, records: Sequence[Record]) -> None:
        if not records:
            return
        writer, id_ = self._open(), self._ids[partition]
        refuse_discontinuous(partition, self._ends[partition], records)
        bend, newest = _bend(records, self._newest[partition])
        with failures_of(self._half):
            writer.execute("BEGIN IMMEDIATE")
            try:
                writer.executemany(
                    f"INSERT INTO records_{id_} VALUES (?, ?, ?, ?, ?, ?)",
                    [
                        (r.offset, r.time, r.time_type, r.key, sqlite_file.pack_headers(r.headers), r.value)
                        for r in records
                    ],
                )
                if bend is not None:
                    writer.execute("UPDATE partitions SET ordered_from = ? WHERE id = ?", (bend, id_))
                writer.execute("COMMIT")
            except BaseException:
                if writer.in_transaction:
                    writer.execute("ROLLBACK")
                raise
        self._ends[partition] = records[-1].offset + 1
        self._newest[partition] = newest

    def finish(self) -> None:
        writer = self._open()
        with failures_of(self._half):
            writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            writer.close()
            self._writer = None
            sqlite_file.put_in_place(self._half, self._path)
            self._turn.end()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._turn.give_back()

    def _open(self) -> sqlite3.Connection:
        if self._writer is None:
            raise Refused(f"{self._path}: no restore was begun")
        return self._writer


def _bend(records: Sequence[Record], newest: int) -> tuple[int | None, int]:
    """(the offset from which times are in order again, None where they never ran back; the newest time)."""
    bend = None
    for record in records:
        if record.time < newest:
            bend = record.offset + 1
        newest = max(newest, record.time)
    return bend, newest
