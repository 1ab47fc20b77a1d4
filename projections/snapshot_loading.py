"""The rows of a snapshot into fresh tables: whole tables, in the order of their rows, each with its indexes behind it.

With several workers the process that rebuilds loads tables itself, the smallest first, while the others begin with the
largest: so all are busy from the beginning to the end, whatever the tables' sizes are and however long a process takes
to start. What another process has made is taken in as it is (`Fresh.take_in`), rows and indexes.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from itertools import chain
from typing import NamedTuple, Protocol, TypeAlias

import sqlalchemy as sa

from events.position import Position
from events.rules import Link
from projections.database import Database, index_ddl
from projections.definition import Define, Definition
from projections.erasing import without_erased
from projections.fresh import Fresh, Place
from projections.loading import begin_worker
from projections.rows import Row
from projections.system_tables import STREAMS

SHARED_BYTES = 16 * 1024 * 1024
"""Stored bytes of a snapshot below which another process would take longer to start than it saves: about two seconds
of loading. (A clinic of 100,000 events has 4 MB: its tables served in 1.0 s with one process, in 1.3 with two.)"""


class Snapshot(Protocol):
    """The tables at an earlier position."""

    @property
    def position(self) -> Position: ...

    @property
    def links(self) -> Sequence[Link]: ...

    def holds(self, table: str) -> bool:
        """Whether it was taken by a release that had this table."""
        ...

    def batches(self, table: str) -> Iterable[Sequence[Row]]:
        """The rows of a state table, or of `streams`, in column order, some thousands at a time."""
        ...

    def size_bytes(self, table: str) -> int:
        """How large a table is beside the others; 0 where it is not held."""
        ...


OpenSnapshot: TypeAlias = Callable[[], Snapshot]
"""Opens the same snapshot again; can be sent to another process."""


class Sharing(NamedTuple):
    """What another process needs to know; it can be sent there."""

    open_snapshot: OpenSnapshot
    define: Define
    erased: frozenset[str]


@contextmanager
def shared_pool(
    sharing: Sharing | None, snapshot: Snapshot, workers: int
) -> Iterator[ProcessPoolExecutor | None]:
    """The other processes, one less than there are workers; None where one process loads the snapshot alone."""
    if sharing is None or workers == 1:
        yield None
        return
    names = [table.name for table in snapshot_tables(sharing.define())]
    if sum(map(snapshot.size_bytes, names)) < SHARED_BYTES:
        yield None
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers - 1, context, _start_worker, (sharing,))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def snapshot_tables(definition: Definition) -> tuple[sa.Table, ...]:
    """What a snapshot holds."""
    return (*definition.tables, STREAMS)


def load_tables(
    snapshot: Snapshot,
    fresh: Fresh,
    definition: Definition,
    erased: Collection[str],
    pool: Executor | None,
    workers: int,
    tell: Callable[[str, int, int], None],
) -> None:
    """Loads and indexes the tables, with the workers of a pool if there is one."""

    def load_here(table: sa.Table) -> None:
        tell(f"snapshot {table.name}", 0, 1)
        load_table(snapshot, table, fresh.database, erased)
        fresh.index_beside(table)

    tables = snapshot_tables(definition)
    if pool is None:
        for table in tables:
            load_here(table)
    else:
        ordered = sorted(tables, key=lambda table: snapshot.size_bytes(table.name), reverse=True)
        _load_shared(fresh, ordered, pool, load_here, workers - 1)
    fresh.finish_indexes()


def load_table(snapshot: Snapshot, table: sa.Table, database: Database, erased: Collection[str]) -> None:
    """A table's rows, all by one insert: the database takes rows in while the next ones are decoded."""
    if table is not STREAMS and not snapshot.holds(table.name):
        return  # a later release's: nothing before that snapshot could be folded into it
    rows = chain.from_iterable(snapshot.batches(table.name))
    database.insert(table, without_erased(table, rows, erased))


def _load_shared(
    fresh: Fresh,
    largest_first: Sequence[sa.Table],
    pool: Executor,
    load_here: Callable[[sa.Table], None],
    others: int,
) -> None:
    given: list[tuple[sa.Table, Future[None]]] = [
        (table, pool.submit(_load_in_worker, table.name, fresh.place(table))) for table in largest_first
    ]
    for table, future in reversed(given[others:]):
        if future.cancel():  # nobody has begun it yet
            load_here(table)
    for table, future in given:
        if not future.cancelled():
            future.result()
            fresh.take_in(table)


class _Worker:
    """A worker process: the snapshot, opened once."""

    def __init__(self, sharing: Sharing) -> None:
        self.snapshot = sharing.open_snapshot()
        self.tables = {table.name: table for table in snapshot_tables(sharing.define())}
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
