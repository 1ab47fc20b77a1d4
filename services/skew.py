"""How far the clocks apart are by which the log's records are timed: what a moment T cannot be finer than.

A broker times what is appended to its partitions, and T is read on control's clock. What one look can see of it:

- the newest heartbeat: its log time against the time at which its writer recorded it;
- each partition's newest record: it cannot be later than now;
- around the newest checkpoint, whose time is a heartbeat's: what it covers of the data was not appended later than
  that, but for the moment that its shipper took, and what it does not cover was not appended earlier.

Each is a bound from below, so clocks may be further apart than is seen here, and never are less.
"""

from __future__ import annotations

from collections.abc import Iterator

from events.codec import HEARTBEAT
from events.control import read_control
from events.effective import Mark
from events.errors import LogGap
from events.log import LogReader
from events.position import CONTROL_PARTITION, Partition, Position

MILLIS = 1000
TAIL_RECORDS = 100
"""Control records that are looked through for a heartbeat."""
ALERT_SECONDS = 5.0
"""From here on a person should look: brokers that keep their clocks are some milliseconds apart."""


def measure(log: LogReader, end: Position, mark: Mark | None, now: int) -> dict[Partition, float]:
    """partition -> seconds that its clock is seen to be ahead of the others (below 0: behind them).

    `mark`: the newest checkpoint; `now`: milliseconds UTC by this machine's clock. A partition without a record is
    left out. At most three records a partition are read, and control's last.
    """
    found = {}
    for partition, stop in end.items():
        if stop:
            seen = [_ahead_of_now(log, partition, stop, now), *_around(log, partition, stop, mark)]
            if partition == CONTROL_PARTITION:
                seen += _heartbeat(log, stop)
            found[partition] = max(seen, key=abs) / MILLIS
    return found


def _ahead_of_now(log: LogReader, partition: Partition, stop: int, now: int) -> int:
    time = _time(log, partition, stop - 1)
    return 0 if time is None else max(0, time - now)


def _around(log: LogReader, partition: Partition, stop: int, mark: Mark | None) -> Iterator[int]:
    if mark is None or partition == CONTROL_PARTITION:
        return
    held = mark.position[partition]
    covered = _time(log, partition, held - 1) if 0 < held <= stop else None
    if covered is not None:
        yield max(0, covered - mark.time)
    later = _time(log, partition, held) if held < stop else None
    if later is not None:
        yield min(0, later - mark.time)


def _heartbeat(log: LogReader, stop: int) -> list[int]:
    """What the newest heartbeat shows, if one is near the end."""
    start = max(0, stop - TAIL_RECORDS)
    try:
        beats = [(o, c.recorded_at) for o, c in read_control(log, start, stop) if c.body[0] == HEARTBEAT]
    except LogGap:
        return []
    for offset, recorded_at in beats[-1:]:
        time = _time(log, CONTROL_PARTITION, offset)
        if time is not None:
            return [time - recorded_at // 1000]
    return []


def _time(log: LogReader, partition: Partition, offset: int) -> int | None:
    """The log time of a record; None where the log does not hold it (any more)."""
    try:
        return next(iter(log.read(partition, offset, offset + 1)))[0].time
    except LogGap:
        return None
