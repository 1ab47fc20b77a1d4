"""The log: ordered records in topics and partitions, and the port that every log keeps.

Adapters (`memory_log`, `sqlite_log`, `kafka_log`) pass one contract suite, tests/contract/test_event_log.py.
The archive reads like a log too (`LogReader`), so whatever replays can replay from either.

Times are the log's own (LogAppendTime), in milliseconds since 1970 UTC.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple, Protocol

from events.errors import BadInput, Refused, TooLarge
from events.position import Partition, Position

MAX_VALUE_BYTES = 8 * 1024 * 1024 - 64 * 1024
"""The largest value that a log takes: Kafka's max.message.bytes of 8 MiB, less room for its batch overhead."""

MAX_LABEL_BYTES = 32 * 1024
"""The most that a record's key and headers take together: half of that room."""


class TimeType(IntEnum):
    """Who gave a record its time, in Kafka's numbering."""

    CREATE = 0
    APPEND = 1


class Record(NamedTuple):
    """One record of one partition, as the log and a segment hold it: bytes untouched."""

    offset: int
    time: int
    """Milliseconds since 1970 UTC."""
    time_type: int
    key: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    value: bytes | None


class Entry(NamedTuple):
    """What an append is given: the key (the stream's name in UTF-8) decides the partition."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


def refuse_unfit(entries: Sequence[Entry]) -> None:
    """Raises BadInput (TooLarge over a limit) so that nothing is written of a batch that holds an unfit entry.

    Not every client can write a header without a value, or a record with neither key nor value. Foreign records may
    have them: they are read, archived and restored.
    """
    for index, entry in enumerate(entries):
        if entry.key is None and entry.value is None:
            raise BadInput(f"entry {index}: it has neither key nor value")
        size_bytes = len(entry.value or b"")
        if size_bytes > MAX_VALUE_BYTES:
            raise TooLarge(
                f"entry {index}: a value of {size_bytes} bytes is over the log's {MAX_VALUE_BYTES}",
                "keep large content as an attachment and name it in the event",
            )
        label_bytes = len(entry.key or b"")
        if entry.headers:
            if any(value is None for _, value in entry.headers):
                raise BadInput(f"entry {index}: a header has no value")
            label_bytes += sum(len(k) + len(v) for k, v in entry.headers)
        if label_bytes > MAX_LABEL_BYTES:
            raise TooLarge(
                f"entry {index}: key and headers of {label_bytes} bytes are over the log's {MAX_LABEL_BYTES}"
            )


class Placed(NamedTuple):
    """Where an appended entry stands."""

    partition: Partition
    offset: int
    time: int


class LogReader(Protocol):
    """Reading ordered records. Safe to use from one thread at a time; any number of readers may be open."""

    def read(self, partition: Partition, start: int, stop: int) -> Iterator[Sequence[Record]]:
        """Batches of the records with start <= offset < stop: in offset order, without a hole.

        A batch is not empty, and bounded in bytes.

        Ends at `stop`. Raises LogGap (a log) or ArchiveGap (an archive) naming the range where an offset in
        [start, stop) is missing, also when the log ends before `stop`; Unavailable where nobody answers.
        """
        ...

    def start(self) -> Position:
        """The first offset held of every partition (0 unless something was lost)."""
        ...

    def end(self) -> Position:
        """The next offset of every partition, control's read after the data's.

        Whatever was acknowledged before the call is covered by it.
        """
        ...

    def identity(self) -> Mapping[str, str]:
        """topic -> an id that changes when the topic is deleted and made again. Raises as `read`."""
        ...

    def close(self) -> None: ...


class EventLog(LogReader, Protocol):
    """A log that can be appended to."""

    @property
    def partitions(self) -> Mapping[str, int]:
        """topic -> number of partitions, fixed when the log was made."""
        ...

    def append(self, topic: str, entries: Sequence[Entry]) -> list[Placed]:
        """Appends in the order given; durable (see law 4) on return; one result for each entry.

        Entries of one partition keep their order. Not idempotent by itself: appending again adds records,
        which readers judge to be duplicates (rules.py). Raises TooLarge before anything is written when a
        value is over MAX_VALUE_BYTES; LogUnavailable when the outcome is unknown (entries may or may not
        stand); never blocks longer than the adapter's deadline.
        """
        ...

    def first_later(self, partition: Partition, start: int, stop: int, time: int) -> int | None:
        """The lowest offset in [start, stop) whose time is greater than `time`; also where times run back.

        Raises as `read`.
        """
        ...


class LogRestorer(Protocol):
    """Makes a lost log anew with the records as they were: offsets, times, keys, headers and order.

    Usable only where no log is: `begin` raises Refused when one is there. Until `finish` the new log cannot
    be opened as a log (it does not exist yet for anybody else), so a restore that was killed is just begun
    again: `begin` returns how far each partition got (Position, all 0 if it starts over).
    """

    def begin(self, partitions: Mapping[str, int], source: str = "") -> Position:
        """`source` names what is restored (archive and checkpoint): another one's half-done restore starts over."""
        ...

    def write(self, partition: Partition, records: Sequence[Record]) -> None:
        """The next records of a partition, contiguous from what `begin` returned. LogAppendTime is kept."""
        ...

    def finish(self) -> None:
        """Durable and open to everybody; new records get the log's own time again."""
        ...

    def close(self) -> None: ...


def refuse_discontinuous(partition: Partition, end: int, records: Sequence[Record]) -> None:
    """Raises Refused unless the records continue a partition that ends at `end`."""
    expected = range(end, end + len(records))
    if any(record.offset != offset for record, offset in zip(records, expected, strict=True)):
        raise Refused(f"{partition}: the next offset to restore is {end}, and records must follow each other")
