"""Reading the control topic, and looking times up on a live log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from events.codec import Control, as_rewind, decode_control, peek_epoch
from events.envelope import Epoch
from events.log import EventLog, LogReader
from events.position import CONTROL_PARTITION, Partition, Position
from events.rules import Rewind


def read_control(reader: LogReader, start: int, stop: int) -> Iterator[tuple[int, Control]]:
    """(offset, control record) of what is readable on control in [start, stop); foreign records are passed over."""
    for batch in reader.read(CONTROL_PARTITION, start, stop):
        for record in batch:
            control = decode_control(record.value) if record.value is not None else None
            if isinstance(control, Control):
                yield record.offset, control


def read_rewinds(reader: LogReader, stop: int, start: int = 0) -> list[tuple[int, Rewind]]:
    """(offset, rewind) of every rewind record in [start, stop), in effect or not, in order."""
    found = ((offset, as_rewind(control)) for offset, control in read_control(reader, start, stop))
    return [(offset, rewind) for offset, rewind in found if rewind is not None]


class Known(NamedTuple):
    """The rewinds of a log's control prefix, from whoever has read it already: control itself is mostly heartbeats."""

    rewinds: Sequence[tuple[int, Rewind]] = ()
    """(offset, rewind) of every one before `stop`, in effect or not, in order."""
    stop: int = 0


NOTHING_KNOWN = Known()


def rewinds_upto(reader: LogReader, stop: int, known: Known = NOTHING_KNOWN) -> list[tuple[int, Rewind]]:
    """As read_rewinds from the first record on, but only what is not `known` is read."""
    before = [(offset, rewind) for offset, rewind in known.rewinds if offset < stop]
    return before + read_rewinds(reader, stop, min(stop, known.stop))


class LiveTimes:
    """A time index (effective.TimeIndex) over a log that stands, up to where it ended when this was made."""

    def __init__(self, log: EventLog, known: Known = NOTHING_KNOWN) -> None:
        self._log = log
        self._end = log.end()
        self.control = rewinds_upto(log, self._end.control, known)

    def end(self) -> Position:
        return self._end

    def first_later(self, partition: Partition, start: int, stop: int, time: int) -> int | None:
        return self._log.first_later(partition, start, stop, time)

    def first_naming(
        self, partition: Partition, start: int, stop: int, epochs: frozenset[Epoch]
    ) -> int | None:
        if start >= stop:
            return None
        for batch in self._log.read(partition, start, stop):
            for record in batch:
                if record.value is not None and peek_epoch(record.value) in epochs:
                    return record.offset
        return None

    def rewinds(self) -> Mapping[Epoch, int]:
        first: dict[Epoch, int] = {}
        for offset, rewind in self.control:
            first.setdefault(rewind.epoch, offset)
        return first
