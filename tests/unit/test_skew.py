"""How far the log's clocks are apart, as `status` sees it; time is a number that a test moves."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from events.codec import encode_control, heartbeat
from events.effective import Mark
from events.log import Entry, Record, TimeType
from events.position import CONTROL, CONTROL_PARTITION, EVENTS, Partition
from events.sqlite_log import SqliteLog
from replicator.shipper import ACTOR
from services.skew import measure
from services.status import Colour, Status, status_of
from tests.attacked import Clinic
from tests.systems import START

FIRST = Partition(EVENTS, 0)


@pytest.fixture
def clinic(tmp_path: Path) -> Clinic:
    clinic = Clinic(tmp_path)
    clinic.tell(20)
    return clinic


def put(clinic: Clinic, time: int) -> None:
    """A record that the broker of one partition timed by its own clock."""
    records = clinic.log.records[FIRST]
    records.append(Record(len(records), time, TimeType.APPEND, b"x", (), b"foreign"))


def words(status: Status) -> str:
    return "\n".join(status.in_words(ZoneInfo("UTC")))


def test_clocks_that_agree(clinic: Clinic) -> None:
    clinic.moment()
    found = status_of(clinic.system)
    assert found.skew_seconds == 0
    assert found.colour is Colour.GREEN
    assert found.to_json()["skew"] == {str(p): 0.0 for p, n in clinic.log.end().items() if n}
    assert "Clocks: the log's are 0.0 s apart" in words(found)


def test_a_log_without_a_record_has_no_skew(tmp_path: Path) -> None:
    found = status_of(Clinic(tmp_path).system)
    assert found.skew_seconds is None and found.to_json()["skew_seconds"] is None
    assert "Clocks" not in words(found)


@pytest.mark.parametrize(("seconds", "side"), [(7, "ahead"), (-7, "behind")])
def test_the_newest_heartbeat_shows_a_broker_whose_clock_is_wrong(
    tmp_path: Path, seconds: int, side: str
) -> None:
    clinic = Clinic(tmp_path)
    clinic.log.clock = lambda: clinic.now + seconds * 1000
    clinic.tell(3)
    clinic.moment()
    clinic.now += 60_000
    found = status_of(clinic.system)
    assert found.skew[CONTROL_PARTITION] == found.to_json()["skew"][str(CONTROL_PARTITION)] == seconds
    assert found.skew_seconds == 7
    assert found.colour is Colour.YELLOW
    assert f"yellow: the log's clocks are apart: {CONTROL_PARTITION}'s is 7.0 s {side}" in words(found)


def test_once_it_is_right_again_the_next_checkpoint_says_so(clinic: Clinic) -> None:
    clinic.log.clock = lambda: clinic.now + 30_000
    clinic.moment()
    assert status_of(clinic.system).colour is Colour.YELLOW
    clinic.log.clock = clinic.system.clock
    clinic.now += 60_000
    clinic.moment()
    assert status_of(clinic.system).skew_seconds == 0


def test_what_no_checkpoint_covers_was_not_appended_before_it(clinic: Clinic) -> None:
    clinic.moment()
    mark = clinic.system.archive().marks.last
    put(clinic, mark.time - 8_000)
    found = status_of(clinic.system)
    assert found.skew[FIRST] == -8
    assert f"{FIRST}'s is 8.0 s behind" in words(found)


def test_what_a_checkpoint_covers_was_not_appended_after_it(clinic: Clinic) -> None:
    put(clinic, clinic.now + 9_000)
    clinic.moment()
    clinic.now += 60_000
    assert status_of(clinic.system).skew[FIRST] == pytest.approx(9, abs=0.1)


def test_nothing_was_appended_after_now(clinic: Clinic) -> None:
    """Also without an archive's word."""
    put(clinic, clinic.now + 6_000)
    assert measure(clinic.log, clinic.log.end(), None, clinic.now)[FIRST] == 6


def test_a_second_or_two_alert_nobody(clinic: Clinic) -> None:
    put(clinic, clinic.now + 2_000)
    clinic.moment()
    found = status_of(clinic.system)
    assert found.skew_seconds and found.colour is Colour.YELLOW  # by the foreign record alone
    assert "are apart:" not in words(found)


def test_records_that_the_log_no_longer_holds_are_not_asked(clinic: Clinic) -> None:
    clinic.moment()
    mark = clinic.system.archive().marks.last
    for partition, stop in clinic.log.end().items():
        clinic.log.drop(partition, stop)
    found = measure(clinic.log, clinic.log.end(), mark, clinic.now)
    assert set(found.values()) == {0.0}


def test_a_machine_whose_clock_was_set_back(tmp_path: Path) -> None:
    """A SQLite log never goes back: its times wait for the clock, and are ahead of it meanwhile."""
    now = START
    with closing(SqliteLog(tmp_path / "log.db", create=True, clock=lambda: now)) as log:
        log.append(EVENTS, [Entry(b"patient-1", b"foreign")])
        now -= 600_000
        value = heartbeat(control_id=bytes(16), recorded_at=now * 1000, actor=ACTOR, shipper="test")
        log.append(CONTROL, [Entry(None, encode_control(value))])
        found = measure(log, log.end(), Mark(START, log.end()), now)
        assert found == {CONTROL_PARTITION: 600.0, FIRST: 600.0}
        assert measure(log, log.end(), None, START) == {CONTROL_PARTITION: 600.0, FIRST: 0.0}
