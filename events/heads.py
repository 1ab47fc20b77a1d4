"""Where streams stand, followed on the log: what a writer must know before it decides, and after it appended.

`LogHeads` reads what is new on the log, keeps the events of each stream in an overlay over a `Base` (the tables, or
nothing, which is the log's beginning), and judges them with events/rules.py. It is exact at its position: data's ends
are read first, control's last, so every rewind that an event names is known with the event.

A rewind gives history another chain. What the overlay holds is judged anew, stream by stream, when it is next asked
for; a base that has not seen the rewind says nothing about a chain that does not continue its own, and until it does,
commands on its streams are refused as unavailable: a wrong head would only make events without effect, but a command
looked up in a base that is behind could take effect twice.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from events.avro_schema import KEY_BYTES
from events.codec import Unreadable, as_rewind, decode_control, decode_events
from events.envelope import Epoch, EventId
from events.errors import LogRecreated, TablesUnavailable
from events.log import LogReader, Record
from events.partitioning import partition_number
from events.position import CONTROL_PARTITION, EVENTS, Partition, Position
from events.rules import EMPTY, Effect, Head, Rewind, Verdict, chain, judge_version, usable, valid_rewinds

PRUNE_EVENTS = 10_000
"""How many events are followed before what the base has come to know is dropped from the overlay."""
MAX_OVERLAY_EVENTS = 500_000
"""With a base this far behind, writing stops: memory is bounded."""


class Known(NamedTuple):
    """An event that was found by its id, and what became of it."""

    partition: Partition
    offset: int
    version: int
    verdict: Verdict


class View(NamedTuple):
    """What a writer decides on."""

    head: Head
    epoch: Epoch | None
    """The newest rewind in effect: the epoch to write in."""
    epochs: tuple[Epoch | None, ...]
    """Every epoch that was ever in effect, oldest first, on the chain or not."""


class Base(Protocol):
    """What is known of streams up to a position: the tables. Each answer is of one moment."""

    def position(self) -> Position: ...

    def head(self, stream: str) -> tuple[Head, Position]:
        """Where a stream stands, and the position at which it does."""
        ...

    def find(self, stream: str, event_id: EventId) -> Known | None:
        """The event's record that applied, or else the newest; None if none stands before the base's position."""
        ...


class Heads(Protocol):
    """What a client asks. Safe for concurrent threads. Raises LogUnavailable, LostData, TablesUnavailable."""

    def look(self, stream: str) -> View:
        """Everything that was acknowledged before the call is in it."""
        ...

    def find(self, stream: str, event_id: EventId) -> Known | None:
        """An event by its id, as far as this has followed: applied if it ever did and still does."""
        ...

    def settle(self, stream: str, partition: Partition, offset: int, event_id: EventId) -> Verdict:
        """The verdict on an event that stands at an offset, read back and judged with control's end read after it."""
        ...

    def set_aside_by(self, epoch: Epoch | None) -> Epoch | None:
        """The rewind that ended what counts of an epoch."""
        ...


class Nothing:
    """The base of a log that is followed from its beginning. Memory grows with the log: for tools and tests."""

    def position(self) -> Position:
        return Position()

    def head(self, stream: str) -> tuple[Head, Position]:
        return EMPTY, Position()

    def find(self, stream: str, event_id: EventId) -> Known | None:
        return None


class _Seen(NamedTuple):
    """What judging needs of an event."""

    offset: int
    event_id: EventId
    epoch: Epoch | None
    version: int
    previous: EventId | None


class _Stream:
    """The events of one stream in the overlay, and what has been made of the first `judged` of them."""

    __slots__ = ("applied", "events", "generation", "head", "judged", "partition")

    def __init__(self, partition: Partition) -> None:
        self.partition = partition
        self.events: list[_Seen] = []
        self.generation = -1
        self.judged = 0
        self.head = EMPTY
        self.applied: dict[EventId, _Seen] = {}


class LogHeads:
    """`Heads` over a log's events. `base` is asked for what stands before the overlay."""

    def __init__(self, log: LogReader, base: Base | None = None, *, topic: str = EVENTS) -> None:
        self._log = log
        self._bounded = base is not None
        self._base: Base = base or Nothing()
        self._topic = topic
        self._lock = threading.RLock()
        self._begun = self._done = 0
        self._rewinds: list[tuple[int, Rewind]] = []
        self._streams: dict[str, _Stream] = {}
        self._generation = 0
        self._since_pruning = self._held = 0
        self._count = len(log.end().of(topic))
        self._position = self._start = self._base.position().replace({CONTROL_PARTITION: 0})
        self._effect = Effect([], self._position)

    # ---- following

    def follow(self) -> None:
        """Reads on to the log's end as it is after the call began."""
        asked = self._begun
        with self._lock:
            if self._done <= asked:  # else another thread has begun to read since, and that will do for us
                self._cycle()

    def _cycle(self) -> None:
        self._begun += 1
        end = self._log.end()
        if not end.covers(self._position):
            raise LogRecreated(
                "the log ends before what was read of it: records were lost, or it was made anew",
                "recover it from the archive, then start again",
            )
        for partition, stop in end.of(self._topic).items():
            for batch in self._log.read(partition, self._position[partition], stop):
                self._take(partition, batch)
        self._read_control(end.control)
        self._position = end
        self._effect = Effect(self._rewinds, end)
        self._done = self._begun
        self._prune()

    def _take(self, partition: Partition, records: Sequence[Record]) -> None:
        """Keeps the events of ours; whatever else stands there has no effect on any stream."""
        for record, event in zip(records, decode_events([r.value for r in records]), strict=True):
            if isinstance(event, Unreadable) or not self._at_home(partition, record.key, event.stream):
                continue
            stream = self._streams.get(event.stream)
            if stream is None:
                stream = self._streams[event.stream] = _Stream(partition)
            stream.events.append(
                _Seen(record.offset, event.event_id, event.epoch, event.version, event.previous)
            )
            self._held += 1
        self._since_pruning += len(records)
        self._position = self._position.replace({partition: records[-1].offset + 1})

    def _at_home(self, partition: Partition, key: bytes | None, stream: str) -> bool:
        """Whether a record is an event of its stream: its key says so, and it stands in its stream's partition."""
        name = stream.encode()
        return (
            key == name
            and 0 < len(name) <= KEY_BYTES
            and partition_number(name, self._count) == partition.number
        )

    def _read_control(self, stop: int) -> None:
        found = []
        for batch in self._log.read(CONTROL_PARTITION, self._position.control, stop):
            for record in batch:
                control = decode_control(record.value)
                rewind = None if isinstance(control, Unreadable) else as_rewind(control)
                if rewind is not None:
                    found.append((record.offset, rewind))
        if found:
            self._rewinds += found
            self._generation += 1

    def _prune(self) -> None:
        """Drops what the base knows by now."""
        full = self._held > MAX_OVERLAY_EVENTS
        if not self._bounded or not (full or self._since_pruning >= PRUNE_EVENTS):
            return
        self._since_pruning = 0
        covered = self._base.position().clamped(self._position).replace({CONTROL_PARTITION: 0})
        if covered != self._start:
            self._start = covered
            for name, stream in list(self._streams.items()):
                self._drop(name, stream, covered[stream.partition])
        if self._held > MAX_OVERLAY_EVENTS:
            raise TablesUnavailable(
                f"the tables are {self._held} events behind the log",
                "let the projector catch up, then try again",
            )

    def _drop(self, name: str, stream: _Stream, start: int) -> None:
        kept = [seen for seen in stream.events if seen.offset >= start]
        self._held -= len(stream.events) - len(kept)
        stream.events, stream.generation = kept, -1
        if not kept:
            del self._streams[name]

    # ---- answering

    def look(self, stream: str) -> View:
        self.follow()
        with self._lock:
            head = self._judged(stream).head
            epochs = (None, *(rewind.epoch for _, rewind in valid_rewinds(self._rewinds)))
            return View(head, self._effect.newest, epochs)

    def find(self, stream: str, event_id: EventId) -> Known | None:
        with self._lock:
            judged = self._judged(stream)
            applied = judged.applied.get(event_id)
            if applied is not None:
                return Known(judged.partition, applied.offset, applied.version, Verdict.APPLIED)
            based = self._base.find(stream, event_id)
            if based is not None and based.verdict is Verdict.APPLIED:
                return based
            for seen in reversed(judged.events):
                if seen.event_id == event_id:
                    verdict = (
                        self._effect.judge(seen.epoch, judged.partition, seen.offset) or Verdict.CONFLICT
                    )
                    return Known(judged.partition, seen.offset, seen.version, verdict)
            return based

    def settle(self, stream: str, partition: Partition, offset: int, event_id: EventId) -> Verdict:
        with self._lock:
            if self._position[partition] <= offset:
                self._cycle()
            known = self.find(stream, event_id)
            if known is None:
                raise LogRecreated(
                    f"{partition}: the event just written is not at offset {offset}",
                    "the log was made anew behind our back: recover",
                )
            if known.verdict is not Verdict.APPLIED or (known.partition, known.offset) == (partition, offset):
                return known.verdict
            return Verdict.DUPLICATE

    def set_aside_by(self, epoch: Epoch | None) -> Epoch | None:
        with self._lock:
            links = self._effect.links
            after = [n + 1 for n, link in enumerate(links) if link.epoch == epoch and n + 1 < len(links)]
            return links[after[0]].epoch if after else self._effect.newest

    def _judged(self, name: str) -> _Stream:
        """The stream with all that is known of it judged."""
        stream = self._streams.get(name)
        if stream is None or stream.generation != self._generation:
            stream = self._from_base(name)
        for seen in stream.events[stream.judged :]:
            in_effect = self._effect.judge(seen.epoch, stream.partition, seen.offset) is None
            if in_effect and judge_version(stream.head, seen, False) is Verdict.APPLIED:
                stream.head = Head(seen.version, seen.event_id)
                stream.applied[seen.event_id] = seen
        stream.judged = len(stream.events)
        return stream

    def _from_base(self, name: str) -> _Stream:
        """The stream as the base has it, the overlay's events yet to be judged."""
        head, position = self._base.head(name)
        if not self._position.covers(position):
            self._cycle()
        self._refuse_unusable(position)
        home = Partition(self._topic, partition_number(name.encode(), self._count))
        stream = self._streams.setdefault(name, _Stream(home))
        self._since_pruning += 1
        stream.head, stream.applied = head, {}
        stream.judged = sum(seen.offset < position[home] for seen in stream.events)
        stream.generation = self._generation
        return stream

    def _refuse_unusable(self, position: Position) -> None:
        """Raises TablesUnavailable unless history up to the base's position is still history."""
        held = chain(valid_rewinds(self._rewinds), position)
        if not position.covers(self._start) or not usable(held, self._effect.links):
            raise TablesUnavailable(
                "the tables have not followed the last recovery yet",
                "let the projector catch up, then try again",
            )
