"""Attacks on a recovery: killed between any two of its steps, begun twice, with wrong things lying around.

Each found a break once. tests/property/test_laws.py lives random lives; here is what such a life meets too rarely.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from events.codec import encode_event
from events.errors import Busy
from events.position import ACCESS, CONTROL, EVENTS
from events.rules import Rewind
from projections.digest import digest
from projections.projector import project
from replicator.planning import RecoveryPlan, Target
from services.projecting import catch_up, catch_up_whole
from services.recovery import acting
from services.recovery.acting import Report, Request, act, prepare
from services.recovery.looking import View
from services.replicating import ship, take_snapshot
from tests.log_histories import History
from tests.systems import TestSystem

ACTOR = {"id": "op", "role": "operator", "system": "test"}


class Clinic(History):
    """A system and those who write to it."""

    def __init__(self, folder: Path, seed: int = 1, partitions: int = 3) -> None:
        super().__init__(seed)
        self.counts = {EVENTS: partitions, ACCESS: 1, CONTROL: 1}
        self.system = TestSystem(f"sqlite:{folder / 'tables.db'}", counts=self.counts)
        self.__dict__.pop("log", None)

    @property
    def log(self):  # type: ignore[override]
        return self.system.log()

    @log.setter
    def log(self, _) -> None:
        """The log is the system's."""

    @property
    def now(self) -> int:
        return self.system.clock.now

    @now.setter
    def now(self, now: int) -> None:
        if hasattr(self, "system"):
            self.system.clock.now = now

    def tell(self, count: int) -> None:
        """Events that apply."""
        applied = self.applied()
        for _ in range(count):
            stream = self.random.choice(self.streams)
            ids = applied.setdefault(stream, [])
            last = ids[-1] if ids else None
            event = self.event(stream, len(ids) + 1, last, self.epoch(), self.payload())
            self.send(EVENTS, stream, encode_event(event))
            ids.append(event.event_id)

    def digest(self):
        with closing(self.system.tables()) as tables:
            catch_up_whole(self.system.log_opener(), self.log, tables)
            return digest(tables)

    def moment(self):
        """(a time, the digest that was taken then), shipped."""
        taken = self.digest()
        self.now += 5
        time = self.now
        self.now += 5
        ship(self.system, self.log)
        return time, taken

    def snapshot(self) -> None:
        with closing(self.system.tables()) as tables:
            catch_up(self.log, tables)
            entry = take_snapshot(self.system, tables)
        ship(self.system, self.log, entries=[entry])

    def plan(self, time: int | None) -> tuple[Request, View, RecoveryPlan]:
        request = Request(Target(time), ACTOR, "test")
        return request, *prepare(self.system, request, str, ship_first=True)

    def recover(self, time: int | None) -> Report:
        return self.carry_out(*self.plan(time))

    def carry_out(self, request: Request, view: View, plan: RecoveryPlan) -> Report:
        report = Report(started=self.system.clock())
        act(self.system, request, view, plan, report, str)
        return report


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
    acting.append_rewind(clinic.system, clinic.log, rewind, request)
    with closing(clinic.system.tables()) as tables, pytest.raises(Busy, match="still being filled"):
        project(clinic.log, tables)
    assert clinic.digest() == early[1]


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
