"""Drills on whole systems: on several partitions with rewinds, by schedule, stopped, not kept, and different."""

from __future__ import annotations

import random
import threading
from contextlib import closing
from pathlib import Path

import pytest

from events.codec import DRILL_COMPLETED
from events.control import read_control
from events.errors import Unavailable
from replicator.backups import Kind
from replicator.outcome import Outcome
from services import drilling
from services.backups.keeping import Stopped, back_up_forever, drill_when_due
from services.backups.schedule import HOUR, Schedule
from services.backups.verifying import never
from services.drilling import drill, keep
from tests.attacked import Clinic
from tests.systems import TestSystem
from tests.unit.test_backups import system, take, write

__all__ = ["system"]  # the fixture


@pytest.fixture
def due(system: TestSystem) -> TestSystem:
    """One whose drill is due."""
    write(system, 8)
    take(system, Kind.FULL)
    system.planned = Schedule(drill_millis=HOUR)
    system.clock.now += HOUR
    return system


def drills_on_control(system: TestSystem) -> int:
    with closing(system.log()) as log:
        found = read_control(log, 0, log.end().control)
        return sum(control.body[0] == DRILL_COMPLETED for _, control in found)


def test_every_moment_comes_back_as_it_was_whatever_was_set_aside(tmp_path: Path) -> None:
    clinic, rnd = Clinic(tmp_path), random.Random(1)
    moments = []
    for _ in range(3):
        clinic.tell(4)
        moments.append(clinic.moment()[0])
    clinic.snapshot()
    clinic.recover(moments[1])
    clinic.tell(3)
    clinic.moment()
    clinic.recover(moments[2])  # takes the first one back
    times = [None, *moments, None, None]
    for time in times:
        done = drill(clinic.system, rnd, never, time)
        assert (done.outcome, done.findings) == (Outcome.OK, ())
        assert time is None or done.target == time
        keep(clinic.system, done)
    assert [entry.target for entry in clinic.system.archive().drills][1:4] == moments
    assert drills_on_control(clinic.system) == len(times)


def test_one_is_done_when_it_is_due(due: TestSystem) -> None:
    stop, told = threading.Event(), []

    def tell(text: str) -> None:
        told.append(text)
        due.clock.now += HOUR
        if len(told) == 2:
            stop.set()

    back_up_forever(due, stop, tell, look_seconds=0.01)
    assert [text.split(",")[0] for text in told] == ["drill: ok"] * 2
    assert len(due.archive().drills) == drills_on_control(due) == 2


def test_one_that_is_stopped_keeps_nothing(due: TestSystem) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        drill_when_due(due, due.archive(), stop, str)
    assert not due.archive().drills and not drills_on_control(due)


def test_one_that_the_archive_does_not_take_leaves_nothing_on_control(
    due: TestSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise Unavailable("the store does not answer")

    done = drill(due, random.Random(1), never)
    monkeypatch.setattr(drilling, "add_drill", refuse)
    with pytest.raises(Unavailable):
        keep(due, done)
    assert not drills_on_control(due)


def test_what_differs_from_the_live_history_is_named(
    due: TestSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    def differ(*_: object) -> list[str]:
        return ["observations"]

    monkeypatch.setattr("services.backups.rehearsing.differences", differ)
    done = drill(due, random.Random(1), never)
    assert done.outcome is Outcome.INVALID and done.findings == (
        "the table observations differs from the live history",
    )
