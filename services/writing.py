"""Writing events as the system itself: one client, made in one way."""

from __future__ import annotations

from events.client import Client
from events.heads import LogHeads
from events.log import EventLog
from projections.heads import TablesBase
from projections.store import Tables
from services.system import System

MICROS = 1000


def client_on(system: System, log: EventLog, tables: Tables) -> Client:
    """Writes to the system's log by its clock, sealed as it seals; heads are read from tables that follow the log."""
    clock, heads = system.clock, LogHeads(log, TablesBase(tables))
    return Client(log, heads, clock=lambda: clock() * MICROS, encoder=system.encoder())
