"""Keeping the tables at the log's end from a command, whether or not a projector runs beside it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import NamedTuple

from events.clock import Clock, wall_micros
from events.errors import Busy
from events.log import EventLog
from events.position import Position
from projections.completing import complete_journal
from projections.projector import project
from projections.store import Tables
from projections.tail import OpenSource

LOOK_SECONDS = (0.005, 0.05)
"""Between two looks whether another projector is done: at random, so that of many who wait none is always late."""


class Patience(NamedTuple):
    """How long another projector is waited for, and by which clock."""

    seconds: float = 60.0
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep


PATIENT = Patience()


def catch_up(log: EventLog, tables: Tables) -> None:
    """Brings the tables to the log's end as it is now."""
    follow_to(log.end(), log, tables)


def catch_up_whole(open_log: OpenSource, log: EventLog, tables: Tables) -> None:
    """As `catch_up`, the journal filled first: without it no rewind can be followed."""
    finish_journal(open_log, tables)
    catch_up(log, tables)


def finish_journal(open_log: OpenSource, tables: Tables) -> None:
    """Fills the journal where a recovery from a snapshot was stopped before it did."""
    if tables.journal_from() is not None:
        complete_journal(open_log, tables)


def follow_to(
    position: Position,
    log: EventLog,
    tables: Tables,
    *,
    clock: Clock = wall_micros,
    patience: Patience = PATIENT,
) -> None:
    """Returns once the tables cover `position`: projects, or waits for the projector that holds the lease.

    Raises Busy, saying who is in the way, once `patience` is at its end; else as `project`.
    """
    deadline = patience.monotonic() + patience.seconds
    while True:
        try:
            return _project_or_see_it_done(position, log, tables, clock)
        except Busy as error:
            if patience.monotonic() > deadline:
                raise Busy(
                    f"the tables do not reach the log's end: {error.message}",
                    "if another projector is hung, stop it: what a dead one held is free within seconds",
                ) from error
        patience.sleep(random.uniform(*LOOK_SECONDS))


def _project_or_see_it_done(position: Position, log: EventLog, tables: Tables, clock: Clock) -> None:
    """Also where the tables stand there or beyond: it is here that a log which lost its end is seen."""
    try:
        project(log, tables, clock=clock)
    except Busy:
        if not tables.position().covers(position):
            raise
