"""Attacks on the tables: older and newer copies of them, of a log that lost its end, of another clinic's log."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import pytest

from events.errors import LogGap, LogRecreated, LostData
from events.log import Entry
from events.position import ACCESS, CONTROL, EVENTS, Position
from projections.projector import project
from replicator.targets import Target
from services.recovery.acting import Request, prepare
from services.status import Colour, status_of
from tests.attacked import ACTOR, Clinic


@pytest.fixture
def clinic(tmp_path: Path) -> Clinic:
    return Clinic(tmp_path)


def lose_the_end(clinic: Clinic, end: Position) -> None:
    """An older copy of the log's file is put back: it bears the same name."""
    for partition, stop in end.items():
        del clinic.log.records[partition][stop:]


def projected(clinic: Clinic) -> None:
    with closing(clinic.system.tables()) as tables:
        project(clinic.log, tables)


@pytest.mark.parametrize("topic", [EVENTS, ACCESS, CONTROL])
@pytest.mark.parametrize("foreign", [False, True], ids=["event", "foreign"])
def test_tables_do_not_go_on_over_an_end_that_was_lost_and_written_again(
    tmp_path: Path, topic: str, foreign: bool
) -> None:
    """Long enough and of the same name, but another history (law 5)."""
    clinic = Clinic(tmp_path, partitions=1)

    def write() -> None:
        clinic.now += 1
        if foreign:
            clinic.log.append(topic, [Entry(b"nobody", clinic.random.randbytes(9)) for _ in range(8)])
        elif topic == EVENTS:
            clinic.tell(12)
        elif topic == ACCESS:
            clinic.access()
        else:
            clinic.heartbeat()

    clinic.tell(10)
    clinic.access()
    clinic.moment()
    kept = clinic.log.end()
    write()
    clinic.digest()
    lose_the_end(clinic, kept)
    with pytest.raises(LostData):
        projected(clinic)
    for _ in range(4):
        write()
    with pytest.raises(LogRecreated, match=f"{topic}.* is not the one"):
        projected(clinic)
    assert status_of(clinic.system).colour is Colour.RED
    clinic.recover(None)
    clinic.agrees_with_a_rebuild()


def test_an_older_copy_of_the_tables_goes_on_and_a_newer_one_is_made_anew(
    clinic: Clinic, tmp_path: Path
) -> None:
    clinic.tell(10)
    clinic.digest()
    file = tmp_path / "tables.db"
    shutil.copy(file, tmp_path / "older")
    kept = clinic.log.end()
    clinic.tell(10)
    taken = clinic.digest()
    shutil.copy(file, tmp_path / "newer")
    clinic.system.lose_tables()
    shutil.copy(tmp_path / "older", file)
    assert clinic.digest() == taken
    lose_the_end(clinic, kept)
    clinic.system.lose_tables()
    shutil.copy(tmp_path / "newer", file)
    with pytest.raises(LostData):
        clinic.digest()
    clinic.recover(None)
    clinic.agrees_with_a_rebuild()


@pytest.mark.parametrize("ship_first", [True, False], ids=["recovery", "dry run"])
def test_a_log_that_is_shorter_than_the_archive_is_put_away_by_a_person_not_shipped(
    clinic: Clinic, ship_first: bool
) -> None:
    """Its error said to recover, which was what failed; and a dry run promised what the recovery then refused."""
    clinic.tell(10)
    clinic.moment()
    kept = clinic.log.end()
    clinic.tell(5)
    _, taken = clinic.moment()
    lose_the_end(clinic, kept)
    with pytest.raises(LogGap) as refused:
        prepare(clinic.system, Request(Target(), ACTOR, "test"), str, ship_first=ship_first)
    assert "put this log away" in refused.value.hint
    assert clinic.log.end() == kept
    clinic.system.lose_log()
    clinic.recover(None)
    assert clinic.digest() == taken


def test_another_clinics_tables_are_made_anew(clinic: Clinic, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Clinic(tmp_path / "other", seed=2)
    other.system.place.made = 7
    other.system.lose_log()
    other.system.place.open(other.counts, create=True)
    for one in (clinic, other):
        one.tell(5)
        one.moment()
    clinic.tell(5)
    shutil.copy(tmp_path / "other" / "tables.db", tmp_path / "tables.db")
    with pytest.raises(LogRecreated):
        clinic.digest()
    clinic.recover(None)
    clinic.agrees_with_a_rebuild()


def test_a_journal_is_not_filled_from_another_log(clinic: Clinic, tmp_path: Path) -> None:
    clinic.tell(5)
    clinic.moment()
    clinic.system.place.log = clinic.system.place.new(clinic.counts)
    clinic.tell(5)
    with pytest.raises(LogRecreated):
        clinic.digest()
