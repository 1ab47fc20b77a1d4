"""An undo on a whole system: sealed events on a log, tables that follow it, and whoever undoes may die between two."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from events.catalogue import SEALED
from events.client import Client, Draft
from events.codec import decode_event
from events.heads import LogHeads
from events.log import EventLog
from projections.asof import applied_at
from projections.digest import digest, digest_at
from projections.store import Tables
from projections.tables import STATE_TABLES
from replicator.targets import Target
from services.projecting import catch_up
from services.undoing.acting import Request, Undoing, act, prepare
from tests.client_world import Troubled
from tests.edits import Edit, histories
from tests.examples import examples
from tests.systems import Died, TestSystem
from tests.undone import compare, folded

ONE, OTHER = "patient-1", "patient-2"
OPERATOR = {"id": "operator", "role": "operator", "system": "test"}


class MortalSystem(TestSystem):
    """Whoever uses its log dies at the n-th append: before it, or when it stands and nobody heard of it."""

    left: int | None = None

    def log(self) -> EventLog:
        found: Any = Troubled(super().log(), self._step)
        return found

    def _step(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Died


@contextmanager
def a_system() -> Iterator[MortalSystem]:
    with tempfile.TemporaryDirectory() as folder:
        yield MortalSystem(f"sqlite:{Path(folder) / 'tables.db'}")


def write(system: TestSystem, stream: str, edits: list[Edit]) -> None:
    log = system.log()
    client = Client(log, LogHeads(log), clock=lambda: system.clock() * 1000, encoder=system.encoder())
    for name, fields, at, actor in edits:
        system.clock.now += 1
        draft = Draft((name, fields), at, {"id": actor, "role": "r", "system": "test"})
        client.append(stream, lambda head, draft=draft: draft)


def planned(system: TestSystem, time: int) -> Undoing:
    return prepare(system, Request(ONE, Target(time=time), OPERATOR, "why"))


def undo(system: TestSystem, time: int) -> Undoing:
    undoing = planned(system, time)
    act(system, undoing, lambda done, total: None)
    return undoing


def told(tables: Tables, stream: str) -> dict[str, Any]:
    return folded(list(applied_at(tables, stream)))


@contextmanager
def caught_up(system: TestSystem) -> Iterator[Tables]:
    with closing(system.tables()) as tables:
        catch_up(system.log(), tables)
        yield tables


@settings(max_examples=examples(60))
@given(histories(8), histories(8), histories(4), st.none() | st.integers(0, 20))
def test_one_patient_goes_back_and_nobody_else(
    edits: list[Edit], since: list[Edit], others: list[Edit], dies_at: int | None
) -> None:
    with a_system() as system:
        write(system, ONE, edits)
        write(system, OTHER, others)
        with caught_up(system) as tables:
            then, time = told(tables, ONE), system.clock.now
        write(system, ONE, since)
        write(system, OTHER, others)
        with caught_up(system) as tables:
            before = {t.name: tables.rows(t, OTHER) for t in STATE_TABLES}
            events = tables.head(ONE).version
        system.clock.now += 1
        stays = planned(system, time).plan
        system.left = dies_at
        try:
            undo(system, time)
        except Died:
            system.left = None
            undo(system, time)
        system.left = None
        assert planned(system, time).plan.steps == [], "the same again is nothing"
        with caught_up(system) as tables:
            compare(then, told(tables, ONE), stays)
            assert {t.name: tables.rows(t, OTHER) for t in STATE_TABLES} == before, "somebody else changed"
            made = [*applied_at(tables, ONE)][events:]
            assert len({event.correlation_id for event in made}) <= 1
            assert all(event.actor == OPERATOR for event in made)
            assert all(decode_event(row.value).payload[0] == SEALED for row in tables.journal(ONE)[events:])
            live = digest(tables)
            end = tables.position()
        assert digest_at(system.log_opener(), end, reveal=system.reveal()) == live
