"""The second pass of a rebuild: one bucket of whole streams into rows.

All of a bucket's streams are here from their beginning, so every verdict and every final row is known when it ends,
without a look into the database: journal rows leave as they are made, state rows when the bucket is done.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeAlias

import sqlalchemy as sa

from events.codec import Unreadable, decode_events
from events.log import Record, TimeType
from events.position import EVENTS, Partition
from events.rules import Effect, Verdict
from projections.definition import Definition
from projections.folding import CompleteRows
from projections.judging import Read, Standing, access_row, journal_row, unreadable_row
from projections.rows import Row
from projections.spill import Bucket, Spilled
from projections.system_tables import ACCESS_LOG, JOURNAL, STREAMS, UNREADABLE

CHUNK_RECORDS = 4000

Write: TypeAlias = Callable[[sa.Table, Sequence[Row]], None]
"""Adds rows to a fresh table."""


class Loaded(NamedTuple):
    records: int
    applied: int


def load_bucket(bucket: Bucket, effect: Effect, definition: Definition | None, write: Write) -> Loaded:
    """Judges, folds and writes a bucket. Without a definition only what is listed is written: the journal's part."""
    loader = _Loader(effect, definition, write)
    for partition, records in bucket.chunks():
        for start in range(0, len(records), CHUNK_RECORDS):
            loader.chunk(partition, records[start : start + CHUNK_RECORDS])
    loader.finish()
    return Loaded(loader.records, loader.applied)


class _Loader:
    def __init__(self, effect: Effect, definition: Definition | None, write: Write) -> None:
        self._effect = effect
        self._write = write
        self._folds = definition.folds if definition is not None else {}
        self._rows = CompleteRows(definition.tables if definition is not None else ())
        self._with_state = definition is not None
        self._standing = {EVENTS: Standing({}, {})}
        self.records = self.applied = 0

    def chunk(self, partition: Partition, records: list[Spilled]) -> None:
        judged = partition.topic == EVENTS
        outside, folds, rows = self._effect.judge, self._folds, self._rows
        standing = self._standing.setdefault(partition.topic, Standing({}, {}))
        kept: list[Row] = []
        unreadable: list[Row] = []
        applied = Verdict.APPLIED
        keep = journal_row if judged else access_row
        for (offset, time, value), event in zip(records, decode_events([r[2] for r in records]), strict=True):
            if isinstance(event, Unreadable):
                record = Record(offset, time, TimeType.APPEND, None, (), value)
                unreadable.append(unreadable_row(partition, record, event.reason, event.fingerprint))
                continue
            verdict = (outside(event.epoch, partition, offset) if judged else None) or standing.judge(event)
            kept.append(keep(Read(partition, offset, time, value, event), verdict.value))
            if verdict is applied and judged:
                self.applied += 1
                fold = folds.get(event.payload[0])
                if fold is not None:
                    rows.stream = event.stream
                    fold(event, rows)
        self.records += len(records)
        if kept:
            self._write(JOURNAL if judged else ACCESS_LOG, kept)
        if unreadable:
            self._write(UNREADABLE, unreadable)

    def finish(self) -> None:
        if not self._with_state:
            return
        heads = self._standing[EVENTS].heads
        if heads:
            self._write(STREAMS, [(stream, head.version, head.last) for stream, head in heads.items()])
        for table, shelf in self._rows.shelves.items():
            if shelf.rows:
                self._write(table, list(shelf.rows.values()))


def stop_collector() -> None:
    """For the rest of a worker process."""
    gc.collect()
    gc.freeze()
    gc.disable()


@contextmanager
def without_collector() -> Iterator[None]:
    """Nothing made while loading is garbage in cycles: looking for some costs a third of the time."""
    was = gc.isenabled()
    stop_collector()
    try:
        yield
    finally:
        gc.unfreeze()
        if was:
            gc.enable()
