"""The plan of a recovery, over small hand-made situations. Whole histories are for the property tests."""

from collections.abc import Mapping

import pytest

from events.effective import ListedMarks, Mark
from events.errors import BeforeArchive, BeyondArchive, Refused
from events.position import ACCESS, CONTROL_PARTITION, EVENTS, Partition, Position
from events.rules import Effect, Link, Rewind
from replicator.planning import (
    Holdings,
    RecoveryPlan,
    SegmentFact,
    Situation,
    SnapshotPoint,
    already_there,
    plan_recovery,
)
from replicator.targets import Point, Range, Target, resolve

DATA = Partition(EVENTS, 0)
VIEWS = Partition(ACCESS, 0)


def at(data: int, control: int, views: int = 0) -> Position:
    return Position({DATA: data, CONTROL_PARTITION: control, VIEWS: views})


class Times:
    """A time index in which record n has the time 10 n."""

    def __init__(self, end: Position) -> None:
        self._end = end

    def end(self) -> Position:
        return self._end

    def first_later(self, partition: Partition, start: int, stop: int, time: int) -> int | None:
        return next((n for n in range(start, stop) if 10 * n > time), None)

    def first_naming(
        self, partition: Partition, start: int, stop: int, epochs: frozenset[bytes]
    ) -> int | None:
        return None

    def rewinds(self) -> Mapping[bytes, int]:
        return {}


HELD = at(100, 10)
SEGMENTS = [
    SegmentFact(DATA, 0, 50, 500),
    SegmentFact(DATA, 50, 100, 600),
    SegmentFact(CONTROL_PARTITION, 0, 10, 10),
]


def holdings(snapshots: tuple[SnapshotPoint, ...] = ()) -> Holdings:
    return Holdings(Range(0, 1000), ListedMarks([Mark(1000, HELD)]), snapshots, SEGMENTS)


def plan(
    log: Position | None, tables: Position | None, position: Position, *snapshots: SnapshotPoint
) -> RecoveryPlan:
    situation = Situation(log, [], tables, frozenset())
    return plan_recovery(Target(), Point(position, None), holdings(snapshots), situation)


def test_nothing_lost_and_nothing_to_undo_is_an_empty_plan() -> None:
    nothing = plan(HELD, HELD, HELD)
    assert (nothing.restore_log, nothing.rewind, nothing.tables, nothing.segments) == (
        None,
        False,
        "stand",
        0,
    )


def test_lost_tables_alone_are_rebuilt_from_the_log_in_place() -> None:
    rebuilt = plan(HELD, None, HELD)
    assert (rebuilt.restore_log, rebuilt.rewind, rebuilt.tables) == (None, False, "rebuild")


def test_a_lost_log_is_restored_whole_even_when_the_target_is_earlier() -> None:
    earlier = plan(None, None, at(40, 4))
    assert earlier.restore_log == HELD
    assert earlier.rewind
    assert earlier.set_aside_records == 60
    assert earlier.size_bytes == 1110


def test_an_earlier_moment_on_a_living_log_costs_a_rewind_and_no_copying() -> None:
    earlier = plan(HELD, HELD, at(40, 4))
    assert (earlier.restore_log, earlier.rewind, earlier.tables, earlier.size_bytes) == (
        None,
        True,
        "follow",
        0,
    )


def test_an_earlier_moment_with_no_events_after_it_needs_no_rewind() -> None:
    """Heartbeats and views went on, the record did not."""
    assert not plan(at(100, 20, 7), HELD, HELD).rewind


def test_the_same_recovery_again_does_nothing_until_something_is_written() -> None:
    rewound = [(10, Rewind(b"e" * 16, None, at(40, 4)))]
    end = at(100, 11)
    nothing_written, written = frozenset([b"e" * 16]), frozenset[bytes]()
    assert already_there(at(40, 4), Situation(end, rewound, end, nothing_written), end)
    assert not already_there(at(40, 4), Situation(end, rewound, end, written), end)
    assert not already_there(at(39, 4), Situation(end, rewound, end, nothing_written), end)


def test_the_same_recovery_again_after_lost_logs_does_nothing_either() -> None:
    """Each lost log began a generation, in which nothing was written."""
    lost_twice = [(10, Rewind(b"e" * 16, None, at(40, 10))), (12, Rewind(b"f" * 16, b"e" * 16, at(40, 12)))]
    end = at(40, 13)
    assert already_there(at(40, 4), Situation(end, lost_twice, end, frozenset([b"e" * 16, b"f" * 16])), end)
    assert not already_there(at(40, 4), Situation(end, lost_twice, end, frozenset([b"f" * 16])), end)


def test_the_newest_usable_snapshot_is_taken_and_one_beyond_the_target_is_not() -> None:
    def snapshot(name: str, position: Position) -> SnapshotPoint:
        return SnapshotPoint(name, position, tuple(Effect([], position).links), 50, 10)

    old, good, late = snapshot("old", at(20, 1)), snapshot("good", at(60, 5)), snapshot("late", at(90, 8))
    chosen = plan(HELD, None, at(70, 6), late, old, good)
    assert chosen.snapshot == "good"
    assert chosen.segments == 2  # the one that it ends in, and control's
    assert plan(HELD, None, HELD, old, late, good).snapshot == "late"
    torn = SnapshotPoint("set-aside", at(60, 5), (Link(b"x" * 16, at(60, 5)),), 50, 10)
    assert plan(HELD, None, at(70, 6), torn).snapshot is None


def test_a_time_is_resolved_or_refused_with_the_range() -> None:
    index = Times(HELD)
    span, marks = Range(0, 1000), ListedMarks([Mark(1000, HELD)])
    position = Position({CONTROL_PARTITION: 10, DATA: 41, VIEWS: 0})
    assert resolve(Target(405), span, marks, index, now=5000) == Point(position, 405)
    assert resolve(Target(), span, marks, index, now=5000) == Point(HELD, None)
    for time, error in ((-1, BeforeArchive), (1001, BeyondArchive), (5001, Refused)):
        with pytest.raises(error) as refused:
            resolve(Target(time), span, marks, index, now=5000)
        assert "1970-01-01T00:00:00.000+00:00 to 1970-01-01T00:00:01.000+00:00" in str(refused.value)
        assert f"nearest is 1970-01-01T00:00:0{int(time > 0)}.000" in str(refused.value)


def test_a_position_is_of_the_moment_of_its_newest_record() -> None:
    span, marks, index = Range(0, 1000), ListedMarks([Mark(1000, HELD)]), Times(HELD)
    for position, moment in ((at(42, 3), 410), (at(0, 3), 20), (at(0, 0), -1)):
        assert resolve(Target(position=position), span, marks, index, now=5000) == Point(position, moment)


def test_an_empty_archive_restores_nothing() -> None:
    with pytest.raises(BeyondArchive):
        resolve(Target(), None, ListedMarks(), Times(Position()), now=1)
