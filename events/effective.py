"""Effective time, and the position of a moment: one pure function, used live and offline.

Effective time of a record: the running maximum over its partition of its log time, raised to just after the
newest checkpoint that does not cover it (it was written after it), then, on data only, lowered to the first
checkpoint that covers it, then raised to the effective time of the rewind that its epoch names. A moment T cuts
each partition at the first record with a later effective time.

Because that is a running maximum, the cut is the lowest offset whose own time exceeds T, and only one checkpoint
interval has to be looked at: what a checkpoint of time <= T covers is early enough, and what the first checkpoint
of time >= T does not cover is too late. tests/model.py computes the same record by record.

Times are milliseconds since 1970 UTC.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, overload

from events.envelope import Epoch
from events.position import CONTROL, CONTROL_PARTITION, Partition, Position


class Mark(NamedTuple):
    """What a checkpoint says about time: the archive held the log up to `position` at `time`. Both only grow."""

    time: int
    position: Position


class Marks(Protocol):
    """Every checkpoint's mark, oldest first. Ten years hold millions: whoever keeps them may read them when asked."""

    def __len__(self) -> int: ...

    @property
    def first(self) -> Mark:
        """Raises IndexError where there is none; so does `last`."""
        ...

    @property
    def last(self) -> Mark: ...

    def at_or_before(self, time: int) -> Mark | None:
        """The newest with a time up to `time`."""
        ...

    def at_or_after(self, time: int) -> Mark | None:
        """The oldest with a time from `time` on."""
        ...

    def unseen(self, offset: int) -> Position:
        """The newest position that does not hold control's record at `offset`."""
        ...


class ListedMarks(Sequence[Mark]):
    """Marks in a sequence, looked at where a bisection looks."""

    def __init__(self, marks: Sequence[Mark] = ()) -> None:
        self._marks = marks

    @overload
    def __getitem__(self, index: int) -> Mark: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Mark]: ...
    def __getitem__(self, index: int | slice) -> Mark | Sequence[Mark]:
        return self._marks[index]

    def __len__(self) -> int:
        return len(self._marks)

    @property
    def first(self) -> Mark:
        return self._marks[0]

    @property
    def last(self) -> Mark:
        return self._marks[-1]

    def at_or_before(self, time: int) -> Mark | None:
        at = bisect_right(self._marks, time, key=_time)
        return self._marks[at - 1] if at else None

    def at_or_after(self, time: int) -> Mark | None:
        at = bisect_left(self._marks, time, key=_time)
        return self._marks[at] if at < len(self._marks) else None

    def unseen(self, offset: int) -> Position:
        at = bisect_right(self._marks, offset, key=_control)
        return self._marks[at - 1].position if at else Position()


def _time(mark: Mark) -> int:
    return mark.time


def _control(mark: Mark) -> int:
    return mark.position.control


class TimeIndex(Protocol):
    """Where the times of records are looked up: an archive's manifests and segments, or a log."""

    def end(self) -> Position:
        """The position up to which records can be looked up."""
        ...

    def first_later(self, partition: Partition, start: int, stop: int, time: int) -> int | None:
        """The lowest offset in [start, stop) whose log time is greater than `time`."""
        ...

    def first_naming(
        self, partition: Partition, start: int, stop: int, epochs: frozenset[Epoch]
    ) -> int | None:
        """The lowest offset in [start, stop) of an event whose epoch is one of `epochs`."""
        ...

    def rewinds(self) -> Mapping[Epoch, int]:
        """epoch -> offset on control of the first rewind record that bears it, in effect or not."""
        ...


def cut(time: int, marks: Marks, index: TimeIndex) -> Position:
    """The position at `time`. `marks`: every checkpoint."""
    end = index.end()
    early, late = marks.at_or_before(time), marks.at_or_after(time)
    before = early.position if early else Position()
    after = (late.position if late else end).clamped(end)
    control = index.first_later(CONTROL_PARTITION, 0, after.control, time)
    control = after.control if control is None else control
    later = {epoch: offset for epoch, offset in index.rewinds().items() if offset >= control}
    position = {CONTROL_PARTITION: control}
    for partition in end:
        if partition.topic == CONTROL:
            continue
        stop = after[partition]
        first = index.first_later(partition, before[partition], stop, time)
        stop = stop if first is None else first
        if later:
            # Whoever names a rewind wrote after it; a checkpoint that did not hold the rewind read control's end
            # last, so what it covers of the data cannot name it.
            start = min(marks.unseen(offset)[partition] for offset in later.values())
            naming = index.first_naming(partition, start, stop, frozenset(later))
            stop = stop if naming is None else naming
        position[partition] = stop
    return Position(position)


def effective_time(partition: Partition, offset: int, marks: Marks, index: TimeIndex, near: int) -> int:
    """The effective time of a record that `index` holds: the lowest moment whose cut takes it in.

    `near`: a time that it is likely to be close to, where looking begins.
    """
    low = high = near
    step = 1
    while cut(high, marks, index)[partition] <= offset:
        low, high, step = high + 1, high + step, step * 2
    step = 1
    while cut(low, marks, index)[partition] > offset:
        low, high, step = low - step, low, step * 2
    while low < high:
        middle = (low + high) // 2
        if cut(middle, marks, index)[partition] > offset:
            high = middle
        else:
            low = middle + 1
    return high
