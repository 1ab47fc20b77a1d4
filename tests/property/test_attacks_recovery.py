"""Attacks on a recovery: killed between any two of its steps, begun twice, with wrong things lying around.

Each found a break once. tests/property/test_laws.py lives random lives; here is what such a life meets too rarely.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from events.errors import Busy, Refused, Unavailable
from events.rules import Rewind
from projections.projector import project
from services.recovery import acting
from services.times import resolve_for_reading
from tests.attacked import Clinic


@pytest.fixture
def clinic(tmp_path: Path) -> Clinic:
    return Clinic(tmp_path)


class Killed(Exception):
    """The process ended here."""


def die_at(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def dies(*_, **__):
        raise Killed

    monkeypatch.setattr(acting, step, dies)


STEPS = ["append_rewind", "bring_tables", "catch_up", "ship", "complete_journal"]
"""Killed before each of them, and so after the one before it."""


@pytest.mark.parametrize("then", ["the same", "an earlier one", "all lost again"])
@pytest.mark.parametrize("step", STEPS)
def test_killed_between_two_steps_any_next_recovery_works(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch, step: str, then: str
) -> None:
    """Tables from a snapshot whose journal was never filled could follow no rewind, so no later recovery ended."""
    clinic.tell(6)
    early = clinic.moment()
    clinic.tell(6)
    clinic.snapshot()
    middle = clinic.moment()
    clinic.tell(3)
    clinic.moment()
    clinic.system.lose_log()
    clinic.system.lose_tables()
    with monkeypatch.context() as patched, pytest.raises(Killed):
        die_at(patched, step)
        clinic.recover(middle[0])
    if then == "all lost again":
        clinic.system.lose_log()
        clinic.system.lose_tables()
    time, taken = early if then == "an earlier one" else middle
    clinic.recover(time)
    assert clinic.digest() == taken


@pytest.mark.parametrize("lost", [False, True], ids=["log stands", "log lost"])
@pytest.mark.parametrize("step", [*STEPS, "finish"])
def test_a_recovery_taken_up_tells_what_the_whole_of_it_lost(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch, step: str, lost: bool
) -> None:
    clinic.tell(6)
    time, _ = clinic.moment()
    clinic.tell(7)
    shipped, _ = clinic.moment()
    clinic.tell(3)
    if lost:
        clinic.system.lose_log()
    clinic.system.lose_tables()
    began = clinic.now = clinic.now + 1_000
    with monkeypatch.context() as patched, pytest.raises(Killed):
        die_at(patched, step)
        clinic.recover(time)
    clinic.now += 60_000
    report = clinic.recover(time)
    late = clinic.now if step == "ship" and not lost else began  # killed before it had begun to act
    assert (report.started, report.rpo_seconds) == (late, (late - time) / 1000)
    assert report.set_aside_records == (7 if lost else 10)
    assert report.lost_after is None if not lost else shipped <= report.lost_after < began
    assert clinic.system.begun() is None
    again = clinic.recover(time)
    assert (again.rpo_seconds, again.set_aside_records) == (None, 0)


@pytest.mark.parametrize("then", ["restored", "gone back"])
def test_a_recovery_after_one_that_was_left_half_done_tells_what_both_took(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    clinic.tell(6)
    early, _ = clinic.moment()
    clinic.tell(7)
    late, _ = clinic.moment()
    clinic.system.lose_log()
    began = clinic.now
    with monkeypatch.context() as patched, pytest.raises(Killed):
        die_at(patched, "append_rewind" if then == "restored" else "bring_tables")
        clinic.recover(early)
    clinic.now += 60_000
    report = clinic.recover(None)
    assert report.lost_after is not None and report.started == began
    assert report.back_to == (None if then == "restored" else early)
    report = clinic.recover(late)
    assert report.back_to == (None if then == "restored" else late)
    assert report.lost_after is None, "it was told"


def test_a_stale_note_says_nothing(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another machine's recovery came in between, or it is no note at all."""
    clinic.tell(6)
    early, _ = clinic.moment()
    clinic.tell(7)
    late, _ = clinic.moment()
    with monkeypatch.context() as patched, pytest.raises(Killed):
        die_at(patched, "bring_tables")
        clinic.recover(early)
    stale = clinic.system.begun()
    assert stale is not None
    clinic.recover(late)
    for note in (stale, stale[:-9], b"[]", b"{}", b"\xff"):
        clinic.system.keep_begun(note)
        report = clinic.recover(None)
        assert (report.rpo_seconds, report.set_aside_records) == (None, 0)
        assert clinic.system.begun() is None


def test_a_note_that_cannot_be_kept_stops_no_recovery(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic.tell(6)
    time, taken = clinic.moment()
    clinic.tell(7)

    def full(note: bytes | None) -> None:
        raise Unavailable("no room")

    monkeypatch.setattr(clinic.system, "keep_begun", full)
    assert clinic.recover(time).set_aside_records == 7
    assert clinic.digest() == taken


def test_a_journal_that_nobody_filled_keeps_nobody_from_following(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine's recovery appends a rewind while the journal here is still open."""
    clinic.tell(10)
    early = clinic.moment()
    clinic.tell(10)
    clinic.snapshot()
    middle = clinic.moment()
    clinic.system.lose_tables()
    with monkeypatch.context() as patched, pytest.raises(Killed):
        die_at(patched, "complete_journal")
        clinic.recover(middle[0])
    request, view, plan = clinic.plan(early[0])
    rewind = Rewind(bytes(16), view.newest, plan.position)
    acting.append_rewind(clinic.system, clinic.log, view, rewind, request, early[0])
    with closing(clinic.system.tables()) as tables, pytest.raises(Busy, match="still being filled"):
        project(clinic.log, tables)
    assert clinic.digest() == early[1]


@pytest.mark.parametrize("lost", [False, True], ids=["log stands", "log lost"])
def test_a_machine_whose_clock_is_behind_recovers_every_moment_that_is_listed(
    clinic: Clinic, lost: bool
) -> None:
    """It was refused as a time after now, although a checkpoint covers it."""
    clinic.tell(5)
    time, taken = clinic.moment()
    clinic.tell(5)
    clinic.moment()
    clinic.now -= 7_200_000
    if lost:
        clinic.system.lose_log()
        clinic.system.lose_tables()
    with pytest.raises(Refused, match="after now"):
        clinic.recover(clinic.system.archive().marks.last.time + 1)
    report = clinic.recover(time)
    assert clinic.digest() == taken
    assert report.rpo_seconds == 0
    assert resolve_for_reading(clinic.system, clinic.log, time).final


def test_of_two_recoveries_planned_at_once_the_later_fails(clinic: Clinic) -> None:
    """The second one's operator slept over the question whether to go on, and had not seen the first."""
    clinic.tell(5)
    early = clinic.moment()
    clinic.tell(5)
    late = clinic.moment()
    clinic.tell(5)
    planned = clinic.plan(early[0])
    clinic.recover(late[0])
    stands = clinic.log.end()
    with pytest.raises(Busy, match="another recovery came first"):
        clinic.carry_out(*planned)
    assert clinic.log.end() == stands
    assert clinic.digest() == late[1]


def test_a_plan_without_a_rewind_fails_too_where_another_recovery_came_first(clinic: Clinic) -> None:
    clinic.tell(5)
    early = clinic.moment()
    clinic.tell(5)
    late = clinic.moment()
    planned = clinic.plan(late[0])
    clinic.recover(early[0])
    with pytest.raises(Busy, match="another recovery came first"):
        clinic.carry_out(*planned)


def test_the_report_counts_what_was_written_while_the_operator_thought(clinic: Clinic) -> None:
    clinic.tell(5)
    early = clinic.moment()
    clinic.tell(5)
    planned = clinic.plan(early[0])
    clinic.tell(7)
    assert clinic.carry_out(*planned).set_aside_records == 12
    assert clinic.digest() == early[1]
