"""The same simulated clinic sealed and in the clear, in one run: bytes, writing and replay of each."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from benchmarks.harness import Bench, Broken, Figure, interleaved, timed
from events.position import EVENTS, Position
from projections.bulk import rebuild
from projections.digest import digest
from services.home import Home
from services.making import Wanted, make_home
from services.replicating import ship
from services.settings import ArchiveSettings
from services.simulation.traffic import simulate
from services.simulation.writing import write_simulation

BATCH_EVENTS = 5_000


def run(bench: Bench) -> list[Figure]:
    clear, clear_seconds = _clinic(bench, sealing=False)
    sealed, sealed_seconds = _clinic(bench, sealing=True)
    replays = interleaved(bench.runs, lambda: _replay(bench, clear), lambda: _replay(bench, sealed))
    if _digest(clear) != _digest(sealed):
        raise Broken("the sealed clinic has other tables")
    of_log = _log_bytes(clear), _log_bytes(sealed)
    of_archive = _archive_bytes(clear), _archive_bytes(sealed)
    rates = [bench.events / seconds for seconds in replays]
    backups = sum(p.stat().st_size for p in (sealed.path / "key-backups").rglob("*") if p.is_file())
    return [
        Figure("values on the log, in the clear", of_log[0] / bench.events, "bytes/event"),
        Figure("values on the log, sealed", of_log[1] / bench.events, "bytes/event"),
        Figure("archive, in the clear", of_archive[0] / bench.events, "bytes/event"),
        Figure("archive, sealed", of_archive[1] / bench.events, "bytes/event"),
        Figure("archive, sealed against in the clear", of_archive[1] / of_archive[0], "x"),
        Figure("backup of keys", backups / bench.patients, "bytes/patient"),
        Figure("writing, sealed against in the clear", sealed_seconds / clear_seconds, "x", note="seconds"),
        Figure("replay into SQLite, in the clear", rates[0], "events/s"),
        Figure("replay into SQLite, sealed", rates[1], "events/s", note="the same tables, by digest"),
        Figure("replay, sealed against in the clear", replays[1] / replays[0], "x", note="seconds"),
    ]


def _clinic(bench: Bench, *, sealing: bool) -> tuple[Home, float]:
    """The whole simulation, shipped; and the seconds that writing took."""
    wanted = Wanted(
        "Benchmark", "Asia/Jakarta", "sqlite:log.db", "sqlite:tables.db", ArchiveSettings(), sealing=sealing
    )
    home = make_home(bench.scratch("sealed" if sealing else "clear"), wanted)
    with closing(home.log()) as log:
        traffic = simulate(bench.patients, bench.events, bench.seed)
        seconds = timed(
            lambda: write_simulation(
                log, traffic, lambda _: {}, bench.seed, batch_events=BATCH_EVENTS, encoder=home.encoder()
            )
        )
        ship(home, log)
    return home, seconds


def _replay(bench: Bench, home: Home) -> None:
    with closing(home.tables()) as tables:
        rebuild(home.log_opener(), _end(home), tables)


def _end(home: Home) -> Position:
    with closing(home.log()) as log:
        return log.end()


def _digest(home: Home) -> object:
    with closing(home.tables()) as tables:
        return digest(tables)


def _log_bytes(home: Home) -> int:
    with closing(home.log()) as log:
        return sum(
            len(record.value or b"")
            for partition, stop in log.end().of(EVENTS).items()
            for batch in log.read(partition, 0, stop)
            for record in batch
        )


def _archive_bytes(home: Home) -> int:
    return sum(
        path.stat().st_size for path in Path(home.path / "archive" / "log").rglob("*") if path.is_file()
    )
