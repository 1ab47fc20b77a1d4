"""Targets of a recovery, and what they come to: a position, and a moment. Pure.

- A time is inclusive: the state after everything that happened up to it.
- An event cuts its own partition exactly, just before it or just after it, and the others by its effective time: what
  happened in the same millisecond elsewhere stays with `after` and goes with `before`. Rewinds count up to the event,
  and never the one that set it aside, or one after that: the history is meant in which it took effect. One that was
  written after it, by whoever had not heard of it, never did, and is refused.
- A position (of a checkpoint, of a backup, or as somebody wrote it) is taken as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import NamedTuple

from events.effective import Marks, TimeIndex, cut, effective_time
from events.envelope import Epoch, EventId
from events.errors import BeforeArchive, BeyondArchive, Refused
from events.position import CONTROL_PARTITION, Partition, Position
from events.rules import Effect, Rewind

ANOTHER_EVENT = "name another one, or a time; 'rekam history' shows which took effect"


class Located(NamedTuple):
    """Where an event stands on the log."""

    partition: Partition
    offset: int
    epoch: Epoch | None
    time: int
    """Its log time, milliseconds UTC."""


@dataclass(frozen=True)
class Target:
    """Where to. Nothing given: the newest state."""

    time: int | None = None
    """Milliseconds UTC, inclusive."""
    position: Position | None = None
    event: EventId | None = None
    inclusive: bool = True
    """Whether the event itself is kept."""
    moment: int | None = None
    """When `position` was the state, where whoever named it knows: milliseconds UTC."""
    name: str = ""
    """How it was named: `checkpoint 12`, a backup's label."""

    @property
    def latest(self) -> bool:
        return self.time is None and self.position is None and self.event is None


class Point(NamedTuple):
    """A recovery point."""

    position: Position
    time: int | None
    """The moment that it is the state of, milliseconds UTC; None for the newest state."""


@dataclass(frozen=True)
class Range:
    """Any time in [first, last] (milliseconds UTC, both inclusive) can be restored."""

    first: int
    last: int


def instant(milliseconds: int, zone: tzinfo = UTC) -> str:
    """A time for messages: ISO 8601."""
    return datetime.fromtimestamp(milliseconds / 1000, zone).isoformat(timespec="milliseconds")


def resolve(
    target: Target,
    span: Range | None,
    marks: Marks,
    index: TimeIndex,
    now: int,
    *,
    located: Located | None = None,
    control: Sequence[tuple[int, Rewind]] = (),
    zone: tzinfo = UTC,
) -> Point:
    """The recovery point of a target. `located`: where its event stands; `control`: every rewind, by offset;
    `zone`: in which messages tell times.

    Raises Refused, BeforeArchive or BeyondArchive, naming what can be restored. What a checkpoint covers is over by the
    log's clock, whatever `now` our own says.
    """
    if span is None:
        raise BeyondArchive(
            "the archive holds no checkpoint, so there is nothing to restore",
            "ship first: rekam replicate --once",
        )
    if target.position is not None:
        refuse_beyond(target.position, index.end())
        when = target.moment
        return Point(
            target.position, when if when is not None else _moment(target.position, marks, index, span)
        )
    if target.event is not None:
        if located is None:
            raise Refused("no such event on the log", "'rekam history' and 'rekam find' show events' ids")
        return _at_event(target, located, marks, index, control)
    if target.time is None:
        return Point(marks.last.position, None)
    refuse_future(target, span, now, zone)
    if target.time < span.first:
        raise BeforeArchive(
            f"{instant(target.time, zone)} is before the archive begins", _restorable(span, span.first, zone)
        )
    if target.time > span.last:
        raise BeyondArchive(
            f"{instant(target.time, zone)} is after the newest checkpoint", _restorable(span, span.last, zone)
        )
    return Point(cut(target.time, marks, index), target.time)


def refuse_future(target: Target, span: Range | None, now: int, zone: tzinfo = UTC) -> None:
    """Raises Refused for a time after `now` (milliseconds UTC), unless a checkpoint says that it is over."""
    now = now if span is None else max(now, span.last)
    if target.time is not None and target.time > now:
        hint = _restorable(span, span.last, zone) if span else "name a moment that is over"
        raise Refused(f"{instant(target.time, zone)} is after now ({instant(now, zone)})", hint)


def _restorable(span: Range, nearest: int, zone: tzinfo) -> str:
    first, last, near = (instant(time, zone) for time in (span.first, span.last, nearest))
    return f"restorable: {first} to {last}; the nearest is {near}"


def refuse_beyond(position: Position, end: Position) -> None:
    """Raises Refused for a position that is not one of this log, BeyondArchive for one that it does not reach."""
    strange = sorted(str(p) for p in position if p not in end) + sorted(
        f"{p} is missing" for p in end if p not in position
    )
    if strange:
        partitions = ", ".join(str(p) for p in end)
        raise Refused(f"not a position of this log: {strange[0]}", f"name an offset for each of {partitions}")
    for partition, offset in position.items():
        if offset > end[partition]:
            raise BeyondArchive(
                f"{partition}={offset} is beyond what is there", f"its next offset is {end[partition]}"
            )


def _moment(position: Position, marks: Marks, index: TimeIndex, span: Range) -> int:
    """When the newest of its records happened; for the beginning, just before anything did."""
    near = marks.last.time
    times = [effective_time(p, offset - 1, marks, index, near) for p, offset in position.items() if offset]
    return max(times, default=span.first - 1)


def _at_event(
    target: Target, at: Located, marks: Marks, index: TimeIndex, control: Sequence[tuple[int, Rewind]]
) -> Point:
    time = effective_time(at.partition, at.offset, marks, index, at.time)
    here = cut(time, marks, index)
    first, last = took_effect(at, control, index.end())
    earlier = cut(time - 1, marks, index)
    if earlier.control > last:
        # Its history had ended, and to go there would take all that was written since.
        raise Refused(
            "this event never took effect: it was written after the rewind that set it aside", ANOTHER_EVENT
        )
    rewinds = min(max(here.control, first), last)
    others = here if target.inclusive else earlier
    own = at.offset + (1 if target.inclusive else 0)
    position = others.replace({CONTROL_PARTITION: rewinds, at.partition: own})
    return Point(position, time if target.inclusive else time - 1)


def took_effect(at: Located, control: Sequence[tuple[int, Rewind]], end: Position) -> tuple[int, int]:
    """The shortest and the longest control prefix with which an event first was in effect: up to what set it aside.

    Raises Refused for one that never was: its epoch had ended where it stands, or no rewind bears it.
    """
    found: list[int] = []
    for length in [*(offset for offset, _ in control), end.control]:  # each prefix goes up to the next rewind
        effect = Effect(control, end.replace({CONTROL_PARTITION: length}))
        if effect.judge(at.epoch, at.partition, at.offset) is None:
            found.append(length)
        elif found:
            break
    if not found:
        raise Refused(
            "this event never took effect: it was written in an epoch that had ended",
            ANOTHER_EVENT,
        )
    older = [offset for offset, _ in control if offset < found[0]]
    return (older[-1] + 1 if older else 0), found[-1]
