"""Two who undo at once, and somebody who writes to the patient meanwhile."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from events.errors import Conflict, Refused
from events.payloads.care import NoteWritten
from projections.asof import applied_at
from replicator.targets import Target
from services.projecting import catch_up
from services.undoing.acting import Done, Request, Undoing, act, prepare
from tests.edits import Edit
from tests.property.test_undoing_on_a_log import ONE, OPERATOR, write
from tests.systems import TestSystem


def note(record_id: str, text: str) -> Edit:
    return (*NoteWritten(record_id=record_id, kind="soap", text=text).to_payload(), 1, "nurse")


@pytest.fixture
def system(tmp_path: Path) -> TestSystem:
    return TestSystem(f"sqlite:{tmp_path / 'tables.db'}")


def wronged(system: TestSystem) -> Target:
    """Two notes are written over by mistake; the moment before."""
    write(system, ONE, [note("a", "right"), note("b", "right")])
    before = system.clock.now
    write(system, ONE, [note("a", "wrong"), note("b", "wrong")])
    return Target(time=before)


def planned(system: TestSystem, target: Target) -> Undoing:
    return prepare(system, Request(ONE, target, OPERATOR, "why"))


def carry_out(system: TestSystem, undoing: Undoing) -> Done:
    return act(system, undoing, lambda done, total: None)


def notes(system: TestSystem) -> list[tuple[str, str, str]]:
    with closing(system.tables()) as tables:
        catch_up(system.log(), tables)
        return [
            (event.payload[1]["record_id"], event.payload[1]["text"], event.actor["id"])
            for event in applied_at(tables, ONE)
        ]


def test_two_with_one_plan_append_it_once(system: TestSystem) -> None:
    target = wronged(system)
    one, two = planned(system, target), planned(system, target)
    assert carry_out(system, one) == Done(2, 0)
    assert carry_out(system, two) == Done(2, 2)
    assert len(notes(system)) == 6


def test_whoever_writes_meanwhile_stops_it_and_the_rest_is_planned_anew(system: TestSystem) -> None:
    target = wronged(system)
    undoing = planned(system, target)
    write(system, ONE, [note("c", "news")])
    with pytest.raises(Conflict, match="somebody wrote"):
        carry_out(system, undoing)
    assert len(notes(system)) == 5, "nothing that nobody has seen is appended"
    again = planned(system, target)
    assert [change.kind for change in again.plan.changes] == ["note"] * 3
    carry_out(system, again)


def test_the_same_error_is_undone_each_time(system: TestSystem) -> None:
    target = wronged(system)
    carry_out(system, planned(system, target))
    write(system, ONE, [note("a", "wrong")])
    assert carry_out(system, planned(system, target)) == Done(1, 0)
    assert notes(system)[-1] == ("a", "right", "operator")


def test_other_streams_than_patients_are_refused(system: TestSystem) -> None:
    wronged(system)
    write(system, "staff-1", [note("a", "x")])
    with pytest.raises(Refused, match="patient"):
        prepare(system, Request("staff-1", Target(time=system.clock.now), OPERATOR, "why"))
