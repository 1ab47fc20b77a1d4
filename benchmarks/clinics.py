"""Whole simulated clinics: home, log, archive, and a snapshot on the way, as `rekam` itself makes them."""

from __future__ import annotations

import secrets
from contextlib import closing
from itertools import islice
from pathlib import Path

from benchmarks.harness import Bench
from events.log import EventLog
from projections.bulk import rebuild
from replicator.archive import Archive, ArchiveIndex
from replicator.directory_store import DirectoryStore
from replicator.encryption import new_identity
from replicator.note import Signer
from replicator.snapshot import Snapshot, open_snapshot
from services.home import Home
from services.making import Wanted, make_home
from services.replicating import ship, take_snapshot
from services.settings import ArchiveSettings
from services.simulation.traffic import simulate
from services.simulation.writing import Heads, write_simulation

BATCH_EVENTS = 5_000
SNAPSHOT_AT = 0.95


def new_archive(folder: Path) -> Archive:
    """An empty archive, encrypted as archives are by default, with keys that nobody keeps."""
    clinic_id = secrets.token_hex(16)
    _, recipient = new_identity()
    return Archive.create(
        DirectoryStore(folder, create=True),
        Signer(f"rekam/{clinic_id}", secrets.token_bytes(32)),
        clinic_id=clinic_id,
        clinic_name="Benchmark",
        archive_id=secrets.token_hex(16),
        recipients=[recipient],
    )


def shipped_clinic(bench: Bench) -> Home:
    """A clinic on the embedded default whose whole simulation is in its archive, with a snapshot at SNAPSHOT_AT."""
    return bench.once(f"a clinic with {bench.events:,} events in its archive", lambda: _with_snapshot(bench))


def make_clinic(bench: Bench, events: int) -> Home:
    """A new one with the first `events` of the simulation, shipped, without a snapshot."""
    home = new_home(bench)
    with closing(home.log()) as log:
        _write(bench, log, events)
        ship(home, log)
    return home


def _with_snapshot(bench: Bench) -> Home:
    home = new_home(bench)
    with closing(home.log()) as log:
        _write(bench, log, int(bench.events * SNAPSHOT_AT))
        with closing(home.tables()) as tables:
            rebuild(home.log_opener(), log.end(), tables)
            ship(home, log, entries=[take_snapshot(home, tables)])
            _write(bench, log, bench.events, tables.heads)
        ship(home, log)
    return home


def new_home(bench: Bench, log: str = "sqlite:log.db") -> Home:
    """A clinic that has nothing yet, its tables and archive on the embedded default.

    Not sealed: what that costs is the benchmark `sealing`'s.
    """
    wanted = Wanted("Benchmark", "Asia/Jakarta", log, "sqlite:tables.db", ArchiveSettings(), sealing=False)
    return make_home(bench.scratch("clinic"), wanted)


def _write(bench: Bench, log: EventLog, events: int, heads: Heads = lambda streams: {}) -> None:
    traffic = islice(simulate(bench.patients, bench.events, bench.seed), events)
    write_simulation(log, traffic, heads, bench.seed, batch_events=BATCH_EVENTS)


def newest_snapshot(archive: ArchiveIndex) -> Snapshot:
    """Of an archive that has one."""
    return open_snapshot(archive, archive.snapshots[-1].id)
