"""Keeping the tables at the log's end from a command, whether or not a projector runs beside it."""

from __future__ import annotations

import time

from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_delay, wait_random

from events.errors import Busy
from events.log import EventLog
from events.position import Position
from projections.bulk import OpenSource
from projections.completing import complete_journal
from projections.projector import project
from projections.store import Tables

PATIENCE_SECONDS = 60.0


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


def follow_to(position: Position, log: EventLog, tables: Tables) -> None:
    """Returns once the tables cover `position`: projects, or waits for the projector that holds the lease."""
    attempts = Retrying(
        retry=retry_if_exception_type(Busy),
        stop=stop_after_delay(PATIENCE_SECONDS),
        wait=wait_random(0.005, 0.05),
        sleep=time.sleep,
    )
    try:
        for attempt in attempts:
            with attempt:
                # Also where the tables stand there or beyond: it is here that a log which lost its end is seen.
                try:
                    project(log, tables)
                except Busy:
                    if not tables.position().covers(position):
                        raise
    except RetryError as error:
        raise Busy(
            f"the tables do not reach the log's end: {error.last_attempt.exception()}",
            "if another projector is hung, stop it; its lease ends by itself within a minute",
        ) from error
