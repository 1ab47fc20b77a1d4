"""Rewinds that the tables know need not be read from the log again, and never are taken from tables of another one."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from events.control import NOTHING_KNOWN, Known, LiveTimes, read_rewinds, rewinds_upto
from events.log import Record
from events.memory_log import MemoryLog
from events.position import CONTROL_PARTITION, Partition, Position
from events.rules import Effect, Rewind
from projections.continuity import known_rewinds
from projections.projector import project
from projections.store import Tables
from services import skew
from services.recovery.looking import look
from services.simulation.writing import newest_epoch
from services.status import status_of
from services.times import resolve_for_reading
from tests.attacked import Clinic

BEATS = 40


class Watched(MemoryLog):
    """A log that counts which records of control are read."""

    def __init__(self, log: MemoryLog) -> None:
        self.__dict__.update(log.__dict__)
        self.read_offsets: list[int] = []

    def read(self, partition: Partition, start: int, stop: int) -> Iterator[Sequence[Record]]:
        if partition == CONTROL_PARTITION:
            self.read_offsets += range(start, stop)
        return super().read(partition, start, stop)


@pytest.fixture
def clinic(tmp_path: Path) -> Clinic:
    """Two recoveries, the later one to before the earlier, among many heartbeats."""
    clinic = Clinic(tmp_path)
    moments = []
    for _ in range(3):
        clinic.tell(4)
        moments.append(clinic.moment()[0])
    clinic.recover(moments[1])
    clinic.tell(4)
    clinic.recover(moments[0])
    clinic.tell(4)
    for _ in range(BEATS):
        clinic.system.shipper(clinic.log).ship_once()
    return clinic


@pytest.fixture
def tables(clinic: Clinic) -> Iterator[Tables]:
    clinic.system.lose_tables()
    with closing(clinic.system.tables()) as opened:
        yield opened


@pytest.fixture
def watched(clinic: Clinic) -> Watched:
    clinic.system.place.log = Watched(clinic.log)
    return clinic.system.place.log


@pytest.mark.parametrize("seed", range(12))
def test_wherever_the_tables_stand_the_rewinds_are_the_log_s(
    clinic: Clinic, tables: Tables, seed: int
) -> None:
    rnd = random.Random(seed)
    end = clinic.log.end()
    project(clinic.log, tables, Position({p: rnd.randint(0, n) for p, n in end.items()}))
    known = known_rewinds(clinic.log, tables)
    assert known.stop == tables.position().control
    for stop in (*(rnd.randint(0, end.control) for _ in range(5)), known.stop, end.control):
        assert rewinds_upto(clinic.log, stop, known) == read_rewinds(clinic.log, stop)
    assert newest_epoch(clinic.log, known) == newest_epoch(clinic.log) is not None
    assert LiveTimes(clinic.log, known).rewinds() == LiveTimes(clinic.log).rewinds()


def test_only_what_the_tables_have_not_read_is_read(
    clinic: Clinic, tables: Tables, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(skew, "TAIL_RECORDS", 5)
    project(watched, tables)
    behind = clinic.log.end().control
    clinic.system.shipper(watched).ship_once()
    watched.read_offsets.clear()
    known = known_rewinds(watched, tables)
    newest_epoch(watched, known)
    LiveTimes(watched, known)
    resolve_for_reading(clinic.system, watched, clinic.now, known)
    assert set(watched.read_offsets) == {behind - 1, behind}, "the last known one, and what came since"
    look(clinic.system, watched)
    assert set(watched.read_offsets) == {behind - 1, behind}
    found = status_of(clinic.system)
    assert min(watched.read_offsets) >= behind - 5, "status looks for a heartbeat"
    assert found.rewinds == len(_effect(watched).links) - 1 == 1


def _effect(log: MemoryLog) -> Effect:
    end = log.end()
    return Effect(read_rewinds(log, end.control), end)


def test_tables_of_another_log_know_nothing(clinic: Clinic, tables: Tables) -> None:
    assert known_rewinds(clinic.log, tables) == NOTHING_KNOWN, "they are empty"
    project(clinic.log, tables)
    other = MemoryLog(clinic.log.partitions, log_id="another")
    other.records = clinic.log.records
    assert known_rewinds(other, tables) == NOTHING_KNOWN, "it has another name"
    assert known_rewinds(clinic.log, tables) != NOTHING_KNOWN


def test_a_log_that_lost_its_end_is_read_itself(clinic: Clinic, tables: Tables) -> None:
    project(clinic.log, tables)
    known = known_rewinds(clinic.log, tables)
    control = clinic.log.records[CONTROL_PARTITION]
    lost = control.pop()
    assert known_rewinds(clinic.log, tables) == NOTHING_KNOWN, "it is shorter"
    control.append(lost._replace(value=b"foreign"))
    assert known_rewinds(clinic.log, tables) == NOTHING_KNOWN, "it was written to again"
    first = known.rewinds[0][0]
    del control[first:]
    assert rewinds_upto(clinic.log, first, known) == []
    assert newest_epoch(clinic.log, known) is None


def test_what_is_known_beyond_the_end_does_not_count(clinic: Clinic) -> None:
    end = clinic.log.end()
    beyond = (end.control + 3, Rewind(bytes(16), None, Position()))
    known = Known([*read_rewinds(clinic.log, end.control), beyond], end.control + 9)
    assert newest_epoch(clinic.log, known) == newest_epoch(clinic.log)
