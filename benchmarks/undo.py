"""Planning the undo of one patient in a whole clinic: their record read twice, opened, folded, compared."""

from __future__ import annotations

import statistics
from contextlib import closing

from benchmarks.harness import Bench, Broken, Figure, at_most, timed
from events.client import Client, Draft
from events.envelope import EventId, Payload
from events.heads import LogHeads
from events.payloads.care import NoteWritten
from projections.bulk import rebuild
from projections.heads import TablesBase
from replicator.targets import Target
from services.home import Home
from services.making import Wanted, make_home
from services.projecting import catch_up
from services.replicating import ship
from services.settings import ArchiveSettings
from services.simulation.traffic import simulate
from services.simulation.writing import write_simulation
from services.undoing.acting import Request, prepare

WRITTEN = 500
"""Notes of one patient, each of which is then written over."""
BATCH_EVENTS = 5_000
PATIENT = "patient-" + "b" * 32
ACTOR = {"id": "benchmark", "role": "operator", "system": "benchmark"}


def run(bench: Bench) -> list[Figure]:
    home, last = _clinic(bench)
    request = Request(PATIENT, Target(event=last), ACTOR, "benchmark")
    if len(prepare(home, request).plan.steps) != WRITTEN:
        raise Broken("the undo takes back something else than what was done")
    seconds = statistics.median(timed(lambda: prepare(home, request)) for _ in range(bench.runs))
    note = f"{2 * WRITTEN:,} events of one patient, of {bench.events:,}; sealed"
    return [Figure("planned", seconds, "s", at_most(1), note)]


def _clinic(bench: Bench) -> tuple[Home, EventId]:
    """The simulation and one patient more, shipped; and the last event of the half that was right."""
    wanted = Wanted("Benchmark", "Asia/Jakarta", "sqlite:log.db", "sqlite:tables.db", ArchiveSettings())
    home = make_home(bench.scratch("undo"), wanted)
    with closing(home.log()) as log, closing(home.tables()) as tables:
        traffic = simulate(bench.patients, bench.events, bench.seed)
        encoder = home.encoder()
        write_simulation(log, traffic, lambda _: {}, bench.seed, batch_events=BATCH_EVENTS, encoder=encoder)
        rebuild(home.log_opener(), log.end(), tables)
        client = Client(log, LogHeads(log, TablesBase(tables)), encoder=encoder)
        written = [_write(client, number, text) for text in ("right", "wrong") for number in range(WRITTEN)]
        catch_up(log, tables)
        ship(home, log)
    return home, written[WRITTEN - 1]


def _write(client: Client, number: int, text: str) -> EventId:
    payload: Payload = NoteWritten(record_id=str(number), kind="soap", text=text).to_payload()
    return client.append(PATIENT, lambda head: Draft(payload, 0, ACTOR)).event.event_id
