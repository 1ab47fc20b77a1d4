"""From records to judged events: what both the projector and the bulk loader make of one record.

A record is an event of ours only if its key is its event's stream and it stands in that stream's partition; in
another one its place among its stream's other events would depend on who reads in which order. What is no event
of ours is listed in `unreadable` with the reason and stops nobody. Which event took effect is decided by
events/rules.py alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from events.avro_schema import FIRST_MICROS, KEY_BYTES, LAST_MICROS
from events.catalogue import SEALED
from events.codec import Unreadable, decode_events
from events.envelope import Event, EventId, short_type
from events.log import Record
from events.partitioning import partition_number
from events.position import Partition, Position
from events.rules import EMPTY, Head, Verdict, applies, judge_version
from projections.rows import Row

MICROS = 1000
"""Microseconds in a millisecond: log times are milliseconds, Instants microseconds."""

NO_VALUE = "no value"
WRONG_KEY = "its key is not its stream"
WRONG_PARTITION = "not its stream's partition"
BAD_STREAM = "not a stream's name"


class Read(NamedTuple):
    """An event of ours and where it stands. `time`: the log's, in milliseconds."""

    partition: Partition
    offset: int
    time: int
    value: bytes
    event: Event


class Homes:
    """Which partition a stream lives in, remembered. None where the name is none that tables can hold."""

    def __init__(self, topic: str, end: Position) -> None:
        """`end`: a position that names every partition of the topic, such as a log's end."""
        self._count = max(1, len(end.of(topic)))
        self._homes: dict[str, int | None] = {}

    def __call__(self, stream: str) -> int | None:
        if stream in self._homes:
            return self._homes[stream]
        raw = stream.encode()
        home = partition_number(raw, self._count) if 0 < len(raw) <= KEY_BYTES else None
        self._homes[stream] = home
        return home


def refusal(homes: Homes, partition: Partition, key: bytes | None, event: Event) -> str | None:
    """None for an event of ours, else why it is none."""
    if key != event.stream.encode():
        return WRONG_KEY
    home = homes(event.stream)
    if home != partition.number:
        return BAD_STREAM if home is None else WRONG_PARTITION
    return None


def sort_out(partition: Partition, records: Sequence[Record], homes: Homes) -> tuple[list[Read], list[Row]]:
    """The events of ours among the records of a partition, in order, and the `unreadable` rows of the others."""
    reads: list[Read] = []
    unreadable: list[Row] = []
    for record, event in zip(records, decode_events([r.value for r in records]), strict=True):
        if isinstance(event, Unreadable):
            reason = NO_VALUE if record.value is None else event.reason
            unreadable.append(unreadable_row(partition, record, reason, event.fingerprint))
            continue
        value = record.value or b""
        reason_ = refusal(homes, partition, record.key, event)
        if reason_ is None:
            reads.append(Read(partition, record.offset, record.time, value, event))
        else:
            unreadable.append(unreadable_row(partition, record, reason_, value[2:10]))
    return reads, unreadable


class Standing:
    """Where streams stand while their events are judged from the beginning of each, or from a known head on."""

    def __init__(self, heads: Mapping[str, Head], applied: Mapping[tuple[str, int], EventId]) -> None:
        """`applied`: (stream, version) -> event, as far as duplicates before the heads are to be told."""
        self.heads = dict(heads)
        self._before = applied
        self._since: defaultdict[str, list[EventId]] = defaultdict(list)

    def judge(self, event: Event) -> Verdict:
        """The version rule; an event that applies moves its stream on."""
        # By place, not by name: every event of a replay comes here.
        event_id, stream, version = event[0], event[2], event[3]
        head = self.heads.get(stream, EMPTY)
        if not applies(head, version, event[4]):
            return judge_version(head, event, version <= head.version and self._was_applied(event, head))
        self.heads[stream] = Head(version, event_id)
        self._since[stream].append(event_id)
        return Verdict.APPLIED

    def _was_applied(self, event: Event, head: Head) -> bool:
        """Whether this very event is the one applied at its version; asked only for versions up to the head's."""
        since = self._since.get(event.stream, ())
        index = event.version - 1 - (head.version - len(since))
        if index >= 0:
            return since[index] == event.event_id
        return self._before.get((event.stream, event.version)) == event.event_id


def logged_at(time: int) -> int:
    """A log time (milliseconds) as an Instant, held inside the calendar: a foreign producer may set any."""
    return min(max(time * MICROS, FIRST_MICROS), LAST_MICROS)


def unreadable_row(
    partition: Partition, record: Record, reason: str, fingerprint: bytes | None = None
) -> Row:
    size = len(record.value) if record.value is not None else 0
    at = logged_at(record.time)
    return (partition.topic, partition.number, record.offset, at, reason, fingerprint, size)


class _TypeNames(dict[str, str]):
    """Full Avro name -> the event type's name as the tables show it."""

    def __missing__(self, name: str) -> str:
        short = self[name] = short_type(name)
        return short


_type_names = _TypeNames()


def _sealed_type(fields: Mapping[str, Any]) -> str:
    """The type inside, which stands in the clear. What a foreign writer calls it is not remembered."""
    kind: str = fields["type"]
    return _type_names.get(kind) or short_type(kind)


def journal_row(
    partition: Partition, offset: int, time: int, value: bytes, event: Event, verdict: str
) -> Row:
    event_id, epoch, stream, version, _, occurred_at, recorded_at, actor, _, _, (kind, fields) = event
    return (
        stream,
        partition[1],
        offset,
        time * MICROS if 0 <= time <= LAST_MICROS // MICROS else logged_at(time),
        version,
        event_id,
        epoch,
        _type_names[kind] if kind != SEALED else _sealed_type(fields),
        occurred_at,
        recorded_at,
        actor["id"],
        actor["role"],
        actor["system"],
        verdict,
        value,
    )


def access_row(partition: Partition, offset: int, time: int, value: bytes, event: Event, verdict: str) -> Row:
    actor = event.actor
    patient = event.payload[1].get("patient")
    return (
        event.stream,
        partition.number,
        offset,
        logged_at(time),
        event.version,
        event.event_id,
        _type_names[event.payload[0]],
        patient if isinstance(patient, str) and len(patient.encode()) <= KEY_BYTES else None,
        event.occurred_at,
        event.recorded_at,
        actor["id"],
        actor["role"],
        actor["system"],
        verdict,
        value,
    )
