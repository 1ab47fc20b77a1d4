"""A rewind, projected: only the streams of which events change effect are judged and folded anew.

Whether an event is in effect depends on the control prefix and on its own epoch, partition and offset, so two
control prefixes differ in effect on a few spans of (epoch, partition, offsets). Every stream with an event in one of
them is folded from its beginning out of the journal, in the transaction that moves the cursor. This works in both
directions: a rewind to before an earlier rewind brings back what that one set aside. Memory holds the names of those
streams and the rows of FLUSH_EVENTS events or of the largest stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from events.codec import Unreadable, decode_events
from events.envelope import Epoch, Event
from events.errors import Corrupt
from events.position import EVENTS, Partition
from events.rules import EMPTY, Effect, Verdict
from events.sealing import Reveal
from projections.database import Database
from projections.definition import Definition
from projections.folding import CompleteRows, fold_all
from projections.judging import Standing
from projections.store import JournalRow, JournalValue, journal_values, set_heads
from projections.system_tables import JOURNAL

Kept = TypeVar("Kept", JournalRow, JournalValue)

PAGE_EVENTS = 2000
FLUSH_EVENTS = 5000


class Span(NamedTuple):
    """Events of one epoch in one partition whose effect changes: offsets from `start` up to, not including, `stop`."""

    epoch: Epoch | None
    partition: Partition
    start: int
    stop: int


def changed_spans(old: Effect, new: Effect) -> list[Span]:
    """Where two chains over the same data judge differently. Both effects stand at the same data offsets."""
    spans: list[Span] = []
    fresh = new.known - old.known
    for epoch in {*old.stops, *new.stops, *fresh}:
        before, after = old.stops.get(epoch), new.stops.get(epoch)
        for partition, end in new.position.of(EVENTS).items():
            a = before[partition] if before is not None else 0
            b = after[partition] if after is not None else 0
            if epoch in fresh:  # from unknown to known: set aside or in effect, each is another verdict
                a, b = 0, end
            if a != b:
                spans.append(Span(epoch, partition, min(a, b), max(a, b)))
    return spans


def streams_in(database: Database, spans: Iterable[Span]) -> list[str]:
    """The streams with an event in one of the spans, in order."""
    found: set[str] = set()
    for span in spans:
        where, parameters = within(database, span)
        rows = database.fetch(f"SELECT DISTINCT stream FROM journal {where}", parameters)
        found.update(row[0] for row in rows)
    return sorted(found)


def within(database: Database, span: Span) -> tuple[str, list[Any]]:
    """The journal's rows of a span: the rest of a SELECT, and its parameters."""
    epoch, partition, start, stop = span
    named, given = ("epoch IS NULL", []) if epoch is None else ("epoch = ?", [database.identifier(epoch)])
    where = f"WHERE {named} AND log_partition = ? AND log_offset >= ? AND log_offset < ?"
    return where, [*given, partition.number, start, stop]


def journal_pages(database: Database, stream: str) -> Iterator[list[JournalValue]]:
    """A stream's journal in log order, a page at a time."""
    after = -1
    rest = f"WHERE stream = ? AND log_offset > ? ORDER BY log_offset LIMIT {PAGE_EVENTS}"
    while page := journal_values(database, rest, (stream, after)):
        yield page
        after = page[-1].log_offset
        if len(page) < PAGE_EVENTS:
            return


def judge_again(
    rows: Sequence[Kept], effect: Effect, standing: Standing
) -> Iterator[tuple[Kept, Verdict, Event]]:
    """(row, its verdict now, its event) for a page of one stream's journal."""
    for row, event in zip(rows, decode_events([row.value for row in rows]), strict=True):
        if isinstance(event, Unreadable):
            raise Corrupt(
                f"the journal's value at {row.partition} offset {row.log_offset} reads no more: {event.reason}",
                "rebuild the tables from the log",
            )
        outside = effect.judge(event.epoch, row.partition, row.log_offset)
        yield row, outside or standing.judge(event), event


def refold(
    database: Database, definition: Definition, effect: Effect, streams: Iterable[str], reveal: Reveal
) -> int:
    """Judges and folds the streams anew under `effect`. Inside `writing`. The number of verdicts that changed."""
    work = _Refolding(database, definition, effect, reveal)
    for stream in streams:
        work.stream(stream)
    work.flush()
    return work.changed


class _Refolding:
    """Streams folded from their beginning, written together every FLUSH_EVENTS events."""

    def __init__(self, database: Database, definition: Definition, effect: Effect, reveal: Reveal) -> None:
        self._reveal = reveal
        self._database = database
        self._definition = definition
        self._effect = effect
        self._rows = CompleteRows(definition.tables)
        self._standing = Standing({}, {})
        self._streams: list[str] = []
        self._events = 0
        self.changed = 0

    def stream(self, stream: str) -> None:
        for page in journal_pages(self._database, stream):
            verdicts: list[tuple[str, str, int]] = []
            applied: list[Event] = []
            for row, verdict, event in judge_again(page, self._effect, self._standing):
                if verdict.value != row.verdict:
                    verdicts.append((verdict.value, stream, row.log_offset))
                if verdict is Verdict.APPLIED:
                    applied.append(self._reveal(event))
            fold_all(applied, self._rows, self._definition.folds)
            self._database.set_verdicts(JOURNAL, verdicts)
            self.changed += len(verdicts)
            self._events += len(page)
        self._streams.append(stream)
        if self._events >= FLUSH_EVENTS:
            self.flush()

    def flush(self) -> None:
        names = [(stream,) for stream in self._streams]
        for table, shelf in self._rows.shelves.items():
            self._database.delete(table, ["stream"], names)
            if shelf.rows:
                self._database.insert(table, shelf.rows.values())
        heads = self._standing.heads
        set_heads(self._database, {s: heads.get(s, EMPTY) for s in self._streams})
        self._rows.clear()
        self._standing = Standing({}, {})
        self._streams, self._events = [], 0
