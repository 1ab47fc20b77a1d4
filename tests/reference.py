"""The tables of a position as the laws define them: fold(effective(events up to it)), slow and plain. An oracle."""

from __future__ import annotations

from typing import Any, NamedTuple

from events.codec import Unreadable, decode_event, decode_events
from events.control import read_rewinds
from events.envelope import Event
from events.log import LogReader
from events.partitioning import partition_number
from events.position import EVENTS, Partition, Position
from events.rules import EMPTY, Effect, Head, Verdict, judge_version
from projections.definition import Definition


class Judged(NamedTuple):
    partition: Partition
    offset: int
    event: Event
    verdict: Verdict


def _records(log: LogReader, position: Position, topic: str):
    for partition, stop in position.of(topic).items():
        for batch in log.read(partition, 0, stop):
            for record in batch:
                yield partition, record


def judged(
    log: LogReader, position: Position, topic: str = EVENTS
) -> tuple[list[Judged], list[tuple[str, int, int]]]:
    """(events with verdicts, places of what is no event of ours)."""
    effect = Effect(read_rewinds(log, position.control), position)
    count = len(log.end().of(topic))
    applied: dict[str, list[bytes]] = {}
    found: list[Judged] = []
    foreign: list[tuple[str, int, int]] = []
    for partition, record in _records(log, position, topic):
        event = decode_events([record.value])[0]
        if (
            isinstance(event, Unreadable)
            or record.key != event.stream.encode()
            or partition_number(record.key, count) != partition.number
        ):
            foreign.append((partition.topic, partition.number, record.offset))
            continue
        outside = effect.judge(event.epoch, partition, record.offset) if topic == EVENTS else None
        ids = applied.setdefault(event.stream, [])
        head = Head(len(ids), ids[-1]) if ids else EMPTY
        before = 0 < event.version <= len(ids) and ids[event.version - 1] == event.event_id
        verdict = outside or judge_version(head, event, before)
        if verdict is Verdict.APPLIED:
            ids.append(event.event_id)
        found.append(Judged(partition, record.offset, event, verdict))
    return found, foreign


def applied_ids(log: LogReader, position: Position) -> dict[str, list[bytes]]:
    ids: dict[str, list[bytes]] = {}
    for one in judged(log, position)[0]:
        if one.verdict is Verdict.APPLIED:
            ids.setdefault(one.event.stream, []).append(one.event.event_id)
    return ids


class PlainRows:
    """Rows as a dictionary, nothing else."""

    def __init__(self) -> None:
        self.all: dict[str, dict[tuple[Any, ...], tuple[Any, ...]]] = {}
        self.stream = ""

    def get(self, table, key):
        return self.all.get(table.name, {}).get((self.stream, *key))

    def put(self, table, row):
        names = [c.name for c in table.columns]
        key = tuple(row[names.index(k)] for k in table.info["key"])
        self.all.setdefault(table.name, {})[key] = row

    def delete(self, table, key):
        self.all.get(table.name, {}).pop((self.stream, *key), None)


def state(log: LogReader, position: Position, definition: Definition) -> dict[str, list[tuple[Any, ...]]]:
    """table -> its rows in key order, by bytes."""
    rows = PlainRows()
    for one in judged(log, position)[0]:
        fold = definition.folds.get(one.event.payload[0])
        if one.verdict is Verdict.APPLIED and fold is not None:
            rows.stream = one.event.stream
            fold(one.event, rows)
    ordered = {}
    for table in definition.tables:
        of = rows.all.get(table.name, {})
        keys = sorted(of, key=lambda key: tuple(v.encode() if isinstance(v, str) else v for v in key))
        ordered[table.name] = [of[key] for key in keys]
    return ordered


def event_of(value: bytes) -> Event:
    return decode_event(value)
