"""Embedded append: one event durable on return, and what concurrent writers gain from sharing commits."""

from __future__ import annotations

import sqlite3
import statistics
import threading
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import (
    Bench,
    Figure,
    at_least,
    at_most,
    calls_in_turns,
    p50_milliseconds,
    timed,
)
from benchmarks.inputs import entries_sample
from events.log import Entry, TimeType
from events.position import EVENTS
from events.sqlite_log import SqliteLog

COMMITS = 300
WRITERS = 16
EACH = 100
"""Events that each of the writers appends in a round: enough that all of them are at it most of the time."""
ROUNDS = 5
"""Rounds of one and of all a run: short ones in turns, so that a slow moment of the disk hits both."""


def run(bench: Bench) -> list[Figure]:
    entries = entries_sample(bench)
    log = SqliteLog(bench.scratch("append") / "log.db", create=True)
    bare = BareCommits(bench.scratch("bare") / "bare.db")
    try:
        return [*_against_bare(bench, log, bare, entries), *_writers(bench, log, entries)]
    finally:
        bare.close()
        log.close()


class BareCommits:
    """The least that any durable append on SQLite does: the same file settings, one row, one commit."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute(
            'CREATE TABLE records ("offset" INTEGER PRIMARY KEY, time INTEGER NOT NULL, '
            "time_type INTEGER NOT NULL, key BLOB, headers BLOB, value BLOB)"
        )
        self._offset = 0

    def append(self, entry: Entry) -> None:
        self.append_all([entry])

    def append_all(self, entries: Sequence[Entry]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        for entry in entries:
            row = (self._offset, 1, int(TimeType.APPEND), entry.key, None, entry.value)
            self._connection.execute("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)", row)
            self._offset += 1
        self._connection.execute("COMMIT")

    def close(self) -> None:
        self._connection.close()


def _against_bare(bench: Bench, log: SqliteLog, bare: BareCommits, entries: Sequence[Entry]) -> list[Figure]:
    count = len(entries)
    # Until a write-ahead log has its full length once, every commit also pays for making the file longer.
    bare.append_all(entries)
    log.append(EVENTS, entries)
    ours, theirs = calls_in_turns(
        COMMITS * bench.runs,
        lambda number: log.append(EVENTS, [entries[number % count]]),
        lambda number: bare.append(entries[number % count]),
    )
    mine, least = p50_milliseconds(ours), p50_milliseconds(theirs)
    return [
        Figure("bare SQLite commit, p50", least, "ms"),
        Figure("append of one event, durable, p50", mine, "ms"),
        Figure("append against the bare commit", mine / least, "x", at_most(1.5)),
    ]


def _writers(bench: Bench, log: SqliteLog, entries: Sequence[Entry]) -> list[Figure]:
    alone: list[float] = []
    together: list[float] = []
    for _ in range(ROUNDS * bench.runs):
        alone.append(WRITERS * EACH / _append_seconds(log, entries, 1, WRITERS * EACH))
        together.append(WRITERS * EACH / _append_seconds(log, entries, WRITERS, EACH))
    one, many = statistics.median(alone), statistics.median(together)
    return [
        Figure("one writer", one, "events/s"),
        Figure(f"{WRITERS} writers at once", many, "events/s", note="threads of one process"),
        Figure(f"{WRITERS} writers against one", many / one, "x", at_least(3.5)),
    ]


def _append_seconds(log: SqliteLog, entries: Sequence[Entry], writers: int, each: int) -> float:
    """From when every writer is there until the last one is done: starting threads is not appending."""
    ready = threading.Barrier(writers + 1)

    def write(writer: int) -> None:
        ready.wait()
        for number in range(each):
            log.append(EVENTS, [entries[(writer * each + number) % len(entries)]])

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(writers)]
    for thread in threads:
        thread.start()

    def until_done() -> None:
        ready.wait()
        for thread in threads:
            thread.join()

    return timed(until_done)
