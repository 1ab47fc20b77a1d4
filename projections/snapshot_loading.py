"""The rows of a snapshot into fresh tables: whole tables, in the order of their rows, each with its indexes behind it.

With several workers the process that rebuilds loads tables itself, the smallest first, while the others begin with the
largest: so all are busy from the beginning to the end, whatever the tables' sizes are and however long a process takes
to start. What another process has made is taken in as it is (`Fresh.take_in`), rows and indexes.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain
from typing import NamedTuple, Protocol, TypeAlias

import sqlalchemy as sa

from events.position import Position
from events.rules import Link
from projections.database import Database, index_ddl
from projections.definition import Define
from projections.erasing import without_erased
from projections.fresh import Fresh, Place
from projections.loading import begin_worker
from projections.rows import Row
from projections.system_tables import STREAMS

SHARED_BYTES = 2 * 1024 * 1024
"""Stored bytes of a snapshot below which another process would take longer to start than it saves."""


class Snapshot(Protocol):
    """The tables at an earlier position."""

    @property
    def position(self) -> Position: ...

    @property
    def links(self) -> Sequence[Link]: ...

    def batches(self, table: str) -> Iterable[Sequence[Row]]:
        """The rows of a state table, or of `streams`, in column order, some thousands at a time."""
        ...

    def size_bytes(self, table: str) -> int:
        """How large a table is beside the others."""
        ...


OpenSnapshot: TypeAlias = Callable[[], Snapshot]
"""Opens the same snapshot again; can be sent to another process."""


class Sharing(NamedTuple):
    """What another process needs to know; it can be sent there."""

    open_snapshot: OpenSnapshot
    define: Define
    erased: frozenset[str]


def load_tables(
    snapshot: Snapshot,
    fresh: Fresh,
    tables: Sequence[sa.Table],
    sharing: Sharing | None,
    erased: Collection[str],
    workers: int,
    tell: Callable[[str, int, int], None],
) -> None:
    """Loads and indexes the tables, with `sharing` by as many processes as there are workers."""

    def load_here(table: sa.Table) -> None:
        tell(f"snapshot {table.name}", 0, 1)
        load_table(snapshot, table, fresh.database, erased)
        fresh.index_beside(table)

    sizes = {table: snapshot.size_bytes(table.name) for table in tables} if sharing and workers > 1 else {}
    if sharing is None or sum(sizes.values()) < SHARED_BYTES:
        for table in tables:
            load_here(table)
    else:
        _load_shared(fresh, sorted(tables, key=sizes.__getitem__, reverse=True), sharing, load_here, workers)
    fresh.finish_indexes()


def load_table(snapshot: Snapshot, table: sa.Table, database: Database, erased: Collection[str]) -> None:
    """A table's rows, all by one insert: the database takes rows in while the next ones are decoded."""
    rows = chain.from_iterable(snapshot.batches(table.name))
    database.insert(table, without_erased(table, rows, erased))


def _load_shared(
    fresh: Fresh,
    largest_first: Sequence[sa.Table],
    sharing: Sharing,
    load_here: Callable[[sa.Table], None],
    workers: int,
) -> None:
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers - 1, context, _start_worker, (sharing,))
    try:
        given: list[tuple[sa.Table, Future[None]]] = [
            (table, pool.submit(_load_in_worker, table.name, fresh.place(table))) for table in largest_first
        ]
        for table, future in reversed(given[workers - 1 :]):
            if future.cancel():  # nobody has begun it yet
                load_here(table)
        for table, future in given:
            if not future.cancelled():
                future.result()
                fresh.take_in(table)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class _Worker:
    """A worker process: the snapshot, opened once."""

    def __init__(self, sharing: Sharing) -> None:
        self.snapshot = sharing.open_snapshot()
        self.tables = {table.name: table for table in (*sharing.define().tables, STREAMS)}
        self.erased = sharing.erased


_worker: _Worker | None = None


def _start_worker(sharing: Sharing) -> None:
    global _worker
    begin_worker()
    _worker = _Worker(sharing)


def _load_in_worker(name: str, place: Place) -> None:
    assert _worker is not None
    table = _worker.tables[name]
    with place.opened() as database:
        load_table(_worker.snapshot, table, database, _worker.erased)
        for statement in index_ddl([table], database.dialect):
            database.execute(statement)
