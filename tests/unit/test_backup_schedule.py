"""When backups are due, and the rhythm that follows from objectives: laws over any catalogue, machine and log."""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from events.position import EVENTS, Partition, Position
from replicator.backups import Kind
from replicator.entries import BackupEntry, DrillEntry, parse_entry
from replicator.outcome import Outcome
from replicator.planning import ASSUMED, Rates
from services.backups.cadence import (
    LONGEST_INTERVAL_SECONDS,
    NEAR,
    WORTH,
    Objectives,
    Tail,
    Work,
    cadence,
    measured,
    worst_loss_seconds,
)
from services.backups.schedule import DAY, HOUR, Schedule, due, due_drill, full_millis, parse_every
from services.backups.standing import overdue, unkept, unrehearsed
from services.running import GIVEN_WAY, give_way

NOW = 1_700_000_000_000
WEEKLY = Schedule(7 * DAY, DAY)


def taken(kind: Kind, begun: int) -> BackupEntry:
    raw = {
        **{"kind": "backup", "key": f"backups/{begun}", "stored": "0" * 64, "plain": "0" * 64, "size": 1},
        **{"label": f"{begun}-{kind}", "backup": kind.value, "begun": begun, "complete_through": begun},
        **{"checkpoint": 1, "position": Position({Partition(EVENTS, 0): 1}).to_json()},
        **{"parent": None, "snapshot": "s" if kind is Kind.FULL else None},
    }
    found = parse_entry(raw, "a test")
    assert isinstance(found, BackupEntry)
    return found


def test_the_first_is_a_full_one_and_then_one_a_day_and_a_week() -> None:
    assert due([], NOW, WEEKLY) is Kind.FULL
    full = taken(Kind.FULL, NOW)
    assert due([full], NOW + DAY - 1, WEEKLY) is None
    assert due([full], NOW + DAY, WEEKLY) is Kind.DIFFERENTIAL
    assert due([full, taken(Kind.DIFFERENTIAL, NOW + DAY)], NOW + DAY + HOUR, WEEKLY) is None
    assert due([full, taken(Kind.DIFFERENTIAL, NOW + 6 * DAY)], NOW + 7 * DAY, WEEKLY) is Kind.FULL
    assert due([full, taken(Kind.INCREMENTAL, NOW + DAY)], NOW + DAY, WEEKLY) is Kind.DIFFERENTIAL
    assert due([], NOW, Schedule(None, DAY)) is None
    assert due([], NOW, Schedule(None, DAY, Objectives(rto_seconds=60))) is Kind.FULL


@given(st.integers(1, 400), st.integers(1, 40), st.integers(1, 40))
def test_what_was_missed_is_done_once(days_off: int, full_days: int, differential_days: int) -> None:
    schedule = Schedule(full_days * DAY, differential_days * DAY)
    now = NOW + days_off * DAY
    backups = [taken(Kind.FULL, NOW)]
    done = []
    while (kind := due(backups, now, schedule)) is not None:
        done.append(kind)
        backups.append(taken(kind, now))
        assert len(done) < 2
    assert bool(done) == (days_off >= min(full_days, differential_days))
    assert not done or done[0] == (Kind.FULL if days_off >= full_days else Kind.DIFFERENTIAL)


def test_a_clock_that_was_set_back_holds_nothing_up() -> None:
    assert due([taken(Kind.FULL, NOW + HOUR)], NOW, WEEKLY) is None
    assert due([taken(Kind.FULL, NOW + 8 * DAY)], NOW, WEEKLY) is Kind.FULL


@pytest.mark.parametrize(
    ("text", "millis"),
    [("daily", DAY), ("never", None), ("6 h", 6 * HOUR), ("90min", 90 * 60_000), ("2 d", 2 * DAY)],
)
def test_intervals_as_people_write_them(text: str, millis: int | None) -> None:
    assert parse_every(text) == millis


@pytest.mark.parametrize("text", ["", "sometimes", "0 h", "-1 h", "1.5 h", "h", "Daily", "6 weeks"])
def test_what_is_no_interval(text: str) -> None:
    with pytest.raises(ValueError, match="daily"):
        parse_every(text)


def test_what_the_full_backup_follows() -> None:
    aim = Objectives(rto_seconds=60)
    assert full_millis("daily", 1.0, aim) == DAY
    assert full_millis(None, 1.0, aim) is None
    assert full_millis(None, 1.0, Objectives()) == HOUR
    assert full_millis(None, None, Objectives()) == 7 * DAY


RATES = st.builds(Rates, st.floats(100, 1e6), st.floats(100, 1e6), st.floats(100, 1e6))


@st.composite
def tails(draw: st.DrawFn) -> Tail:
    events = draw(st.integers(0, 10**8))
    behind = draw(st.integers(0, events))
    rows = draw(st.integers(1, 10**8)) if behind < events else 0
    return Tail(events + draw(st.integers(0, 10**7)), events, behind, rows)


SECONDS = st.floats(0.1, 1e6)


@given(SECONDS, RATES, tails())
def test_a_snapshot_is_due_before_the_objective_is_missed_or_would_not_help(
    rto: float, rates: Rates, tail: Tail
) -> None:
    found = cadence(Objectives(rto_seconds=rto), rates, tail)
    helps = found.recovery_seconds - found.fresh_seconds > WORTH * found.recovery_seconds
    if not found.snapshot_due:
        assert found.recovery_seconds < NEAR * rto or not helps
    else:
        assert found.recovery_seconds >= NEAR * rto and helps
    assert found.fresh_seconds <= found.recovery_seconds
    assert found.keeps_rto == (found.fresh_seconds <= rto)


@given(SECONDS, RATES, tails())
def test_after_a_snapshot_none_is_due(rto: float, rates: Rates, tail: Tail) -> None:
    rows = max(1, tail.rows)
    assert not cadence(Objectives(rto_seconds=rto), rates, tail._replace(behind=0, rows=rows)).snapshot_due


@given(SECONDS, RATES, tails(), st.integers(0, 10**7))
def test_once_due_it_stays_due_until_it_is_taken(rto: float, rates: Rates, tail: Tail, more: int) -> None:
    assume(tail.rows)
    aim = Objectives(rto_seconds=rto)
    later = Tail(tail.records + more, tail.events + more, tail.behind + more, tail.rows)
    assert cadence(aim, rates, later).recovery_seconds >= cadence(aim, rates, tail).recovery_seconds
    slower = replace(rates, replay_per_second=rates.replay_per_second / 2)
    assert cadence(aim, slower, tail).snapshot_due or not cadence(aim, rates, tail).snapshot_due


@given(SECONDS, SECONDS, RATES, tails())
def test_the_interval_keeps_the_rpo_or_says_so(one: float, other: float, rates: Rates, tail: Tail) -> None:
    low, high = sorted((one, other))
    found = [cadence(Objectives(rpo_seconds=rpo), rates, tail) for rpo in (low, high)]
    assert 0 < found[0].interval_seconds <= found[1].interval_seconds <= LONGEST_INTERVAL_SECONDS
    for rpo, rhythm in zip((low, high), found, strict=True):
        assert rhythm.keeps_rpo == (worst_loss_seconds(rhythm.interval_seconds) <= rpo)
        assert rhythm.keeps_rpo or rpo < 2


def test_without_objectives_nothing_is_due_and_nothing_is_missed() -> None:
    found = cadence(Objectives(), ASSUMED, Tail(10**9, 10**9, 10**9, 0))
    assert not found.snapshot_due and found.keeps_rpo and found.keeps_rto


@given(
    RATES,
    st.builds(
        Work,
        st.integers(0, 10**8),
        st.floats(1, 1e5),
        st.integers(0, 10**8),
        st.integers(1, 10**8),
        st.floats(1, 1e5),
    ),
)
def test_what_was_measured_is_estimated_to_take_as_long_again(rates: Rates, work: Work) -> None:
    found = measured(rates, work)
    tables = work.rows / found.load_per_second + work.replayed / found.replay_per_second
    assert tables == pytest.approx(work.tables_seconds)
    if work.restored:
        assert work.restored / found.restore_per_second == pytest.approx(work.restore_seconds)
    assert measured(rates, work._replace(restore_seconds=0.1, tables_seconds=0.1)) == rates


def colours(backups: list[BackupEntry], now: int, since: int = NOW) -> list[str]:
    return [colour for colour, _ in overdue(backups, now, WEEKLY, since)]


def test_what_is_overdue_is_yellow_and_then_red() -> None:
    assert colours([], NOW + 7 * DAY) == []
    assert colours([], NOW + 10 * DAY) == ["yellow"]
    assert colours([], NOW + 15 * DAY) == ["red"]
    full = [taken(Kind.FULL, NOW)]
    assert colours(full, NOW + DAY) == []
    assert colours(full, NOW + DAY + 7 * HOUR) == ["yellow"]
    assert colours([*full, taken(Kind.DIFFERENTIAL, NOW + DAY)], NOW + DAY + 7 * HOUR) == []
    assert colours(full, NOW + 15 * DAY) == ["red", "red"]


def test_objectives_that_cannot_be_kept_are_said() -> None:
    aim = Schedule(None, None, Objectives(rpo_seconds=5, rto_seconds=60))
    slow = cadence(aim.objectives, ASSUMED, Tail(10**8, 10**8, 0, 10**8))
    said = " ".join(text for _, text in unkept(aim, slow, 10))
    assert "RPO of 5.0 s cannot be kept" in said and "it cannot be kept" in said
    behind = cadence(aim.objectives, ASSUMED, Tail(10**6, 10**7, 10**7, 0))
    assert (
        "a full backup is overdue" in " ".join(text for _, text in unkept(aim, behind, 1))
        or not behind.keeps_rto
    )
    quiet = cadence(aim.objectives, ASSUMED, Tail(10, 10, 0, 10))
    assert list(unkept(aim, quiet, 1)) == []


def drill_at(time: int, outcome: Outcome = Outcome.OK, rto_millis: int = 5_000) -> DrillEntry:
    return DrillEntry("drill", "drills/x", b"", b"", 1, {}, time, NOW, outcome.value, rto_millis, 0)


def test_a_drill_is_due_after_the_first_backup_and_then_as_often_as_is_said() -> None:
    monthly = replace(WEEKLY, drill_millis=30 * DAY)
    backups = [taken(Kind.FULL, NOW)]
    assert not due_drill([], [], NOW, monthly)
    assert not due_drill([], backups, NOW + HOUR - 1, monthly)
    assert due_drill([], backups, NOW + HOUR, monthly)
    assert not due_drill([drill_at(NOW + HOUR)], backups, NOW + 30 * DAY, monthly)
    assert due_drill([drill_at(NOW + HOUR)], backups, NOW + 30 * DAY + HOUR, monthly)
    assert not due_drill([], backups, NOW + 90 * DAY, WEEKLY)
    undecided = [drill_at(NOW + HOUR, Outcome.INCONCLUSIVE)]
    assert not due_drill(undecided, backups, NOW + 2 * HOUR - 1, monthly)
    assert due_drill(undecided, backups, NOW + 2 * HOUR, monthly)


def test_drills_that_failed_took_too_long_or_did_not_happen_are_said() -> None:
    aim = replace(WEEKLY, drill_millis=DAY, objectives=Objectives(rto_seconds=60))
    backups = [taken(Kind.FULL, NOW)]

    def colours(*drills: DrillEntry, now: int = NOW + HOUR) -> list[str]:
        return [colour for colour, _ in unrehearsed(drills, backups, now, aim)]

    assert colours() == []
    assert colours(now=NOW + 3 * DAY) == ["yellow"]
    assert colours(drill_at(NOW)) == []
    assert colours(drill_at(NOW, rto_millis=61_000)) == ["yellow"]
    assert colours(drill_at(NOW, Outcome.INVALID)) == ["red"]
    assert colours(drill_at(NOW, Outcome.INVALID), drill_at(NOW, Outcome.INCONCLUSIVE)) == ["red"]
    assert colours(drill_at(NOW, Outcome.INVALID), drill_at(NOW)) == []
    late = NOW + 3 * DAY
    assert colours(drill_at(NOW), drill_at(late, Outcome.INCONCLUSIVE), now=late) == ["yellow"]


@pytest.mark.skipif(sys.platform != "linux", reason="priorities of threads are Linux's")
def test_what_gives_way_is_its_own_thread_and_those_that_it_starts() -> None:
    found = []

    def nice() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def work() -> None:
        give_way()
        inner = threading.Thread(target=lambda: found.append(nice()))
        inner.start()
        inner.join()
        found.append(nice())

    before = nice()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [GIVEN_WAY, GIVEN_WAY] and nice() == before
