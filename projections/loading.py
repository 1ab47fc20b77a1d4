"""The second pass of a rebuild: one bucket of whole streams into rows.

All of a bucket's streams are here from their beginning, so every verdict and every final row is known when it ends,
without a look into the database: journal rows leave as they are made, state rows when the bucket is done.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from multiprocessing.process import BaseProcess
from typing import NamedTuple, TypeAlias

import sqlalchemy as sa

from events.catalogue import SEALED
from events.codec import Unreadable, decode_events
from events.log import Record, TimeType
from events.position import EVENTS, Partition
from events.rules import Effect, Verdict
from events.sealing import SHUT, Reveal
from projections.definition import Definition
from projections.folding import CompleteRows
from projections.judging import Standing, access_row, journal_row, unreadable_row
from projections.rows import Row
from projections.spill import Bucket, Spilled
from projections.system_tables import ACCESS_LOG, JOURNAL, STREAMS, UNREADABLE

CHUNK_RECORDS = 200
"""Decoded together: few enough to stay in the processor's cache until they are folded and forgotten."""
WRITE_ROWS = 4000
APPLIED = Verdict.APPLIED
VERDICTS = {verdict: verdict.value for verdict in Verdict}
"""Their plain text: drivers look long at a subclass of str, and `value` costs a call."""

Write: TypeAlias = Callable[[sa.Table, Sequence[Row]], None]
"""Adds rows to a fresh table."""


class Loaded(NamedTuple):
    records: int
    applied: int


def load_bucket(
    bucket: Bucket, effect: Effect, definition: Definition | None, write: Write, reveal: Reveal = SHUT
) -> Loaded:
    """Judges, folds and writes a bucket. Without a definition only what is listed is written: the journal's part."""
    reveal.refresh()
    loader = _Loader(effect, definition, write, reveal)
    for partition, records in bucket.chunks():
        for start in range(0, len(records), CHUNK_RECORDS):
            loader.chunk(partition, records[start : start + CHUNK_RECORDS])
    loader.finish()
    reveal.refresh()
    return Loaded(loader.records, loader.applied)


class _Loader:
    def __init__(self, effect: Effect, definition: Definition | None, write: Write, reveal: Reveal) -> None:
        self._reveal = reveal
        self._erased = reveal.erased
        self._outside = cache(effect.within)
        self._write = write
        self._folds = definition.folds if definition is not None else {}
        self._rows = CompleteRows(definition.tables if definition is not None else ())
        self._with_state = definition is not None
        self._standing = {EVENTS: Standing({}, {})}
        self._kept: dict[sa.Table, list[Row]] = {JOURNAL: [], ACCESS_LOG: [], UNREADABLE: []}
        self.records = self.applied = 0

    def chunk(self, partition: Partition, records: list[Spilled]) -> None:
        """The hot loop of a rebuild: a microsecond here is a second in a million events."""
        judged = partition.topic == EVENTS
        keep = journal_row if judged else access_row
        outside, folds, rows = self._outside(partition), self._folds if judged else {}, self._rows
        judge = self._standing.setdefault(partition.topic, Standing({}, {})).judge
        table = JOURNAL if judged else ACCESS_LOG
        kept, unreadable = self._kept[table], self._kept[UNREADABLE]
        reveal, erased = self._reveal, self._erased
        for (offset, time, value), event in zip(records, decode_events([r[2] for r in records]), strict=True):
            if isinstance(event, Unreadable):
                record = Record(offset, time, TimeType.APPEND, None, (), value)
                unreadable.append(unreadable_row(partition, record, event.reason, event.fingerprint))
                continue
            verdict = outside(event[1], offset) if judged else None
            if verdict is None:
                verdict = judge(event)
                if verdict is APPLIED and folds:
                    opened = reveal(event) if event[10][0] == SEALED or event[2] in erased else event
                    fold = folds.get(opened[10][0])
                    if fold is not None:
                        rows.stream = event[2]
                        fold(opened, rows)
                elif event[10][0] == SEALED:
                    reveal.notice(event)
            kept.append(keep(partition, offset, time, value, event, VERDICTS[verdict]))
        if len(kept) >= WRITE_ROWS or len(unreadable) >= WRITE_ROWS:
            self._flush()
        self.records += len(records)

    def _flush(self) -> None:
        for table, rows in self._kept.items():
            self._written(table, rows)
            rows.clear()

    def _written(self, table: sa.Table, rows: list[Row]) -> None:
        if rows:
            self._write(table, rows)

    def finish(self) -> None:
        self._flush()
        if not self._with_state:
            return
        heads = self._standing[EVENTS].heads
        self.applied = sum(head.version for head in heads.values())
        self._written(STREAMS, [(stream, head.version, head.last) for stream, head in heads.items()])
        for table, shelf in self._rows.shelves.items():
            self._written(table, list(shelf.rows.values()))


def begin_worker() -> None:
    """In a process that loads for another one: no collector, and its end when the other one ends, even killed.

    Else what it had been given before would still be written, when the next rebuild has begun.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


@contextmanager
def without_collector() -> Iterator[None]:
    """Nothing made while loading is garbage in cycles: looking for some costs a third of the time.

    Nor is it looked for once before: in a process that has lived a while that takes longer than a small load.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
