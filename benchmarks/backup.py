"""What a full backup costs: how much it slows appends, and how many bytes log and snapshot take."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Event as Flag
from typing import Any

import psycopg
import zstandard

from benchmarks.clinics import shipped_clinic
from benchmarks.harness import Bench, Broken, Figure, Missing, at_least, at_most, say, timed
from benchmarks.inputs import entries_sample
from benchmarks.servers import plain
from deploy.native import postgresql
from deploy.native.processes import Lacking
from deploy.native.processes import run as run_program
from events.log import EventLog
from events.position import EVENTS
from projections.bulk import rebuild
from projections.store import open_tables
from replicator.archive import Archive, ArchiveIndex, open_archive
from replicator.backups import Kind
from replicator.container import ZSTD_LEVEL, read_container
from replicator.fetching import fetch
from replicator.keys import load_signing_key
from replicator.snapshot import load_snapshot
from services.backups.taking import back_up
from services.home import SIGNING_KEY, Home
from services.making import make_archive
from services.projecting import catch_up_whole
from services.replicating import take_snapshot
from services.running import give_way

TURNS = 3
"""A run: one snapshot each, and as long a time without one."""
READY_SECONDS = 120.0


def run(bench: Bench) -> list[Figure]:
    home = shipped_clinic(bench)
    with closing(home.log()) as log, closing(home.tables()) as tables:
        catch_up_whole(home.log_opener(), log, tables)
    return [*_appends(bench, home), *_bytes(bench, home)]


# -- appends meanwhile -------------------------------------------------------------------------------------------


def _appends(bench: Bench, home: Home) -> list[Figure]:
    """In turns, so that a slow moment of the machine hits both."""
    entries = entries_sample(bench)
    context = multiprocessing.get_context("spawn")
    go, busy, end = context.Event(), context.Event(), context.Event()
    child = context.Process(target=_snapshots_on_demand, args=(str(home.path), go, busy, end))
    child.start()
    quiet: list[float] = []
    meanwhile: list[float] = []
    try:
        with closing(home.log()) as log:
            append = _appender(log, entries)
            for _ in range(TURNS * bench.runs + 1):
                os.sync()  # what the turn before has written is not this one's to wait for
                go.set()
                if not busy.wait(READY_SECONDS):
                    raise Broken("the snapshot beside did not begin")
                rate, seconds = _rate(append, busy.is_set)
                meanwhile.append(rate)
                os.sync()
                quiet.append(_rate(append, _for(seconds))[0])
    finally:
        end.set()
        go.set()
        child.join(READY_SECONDS)
        child.kill()
    del quiet[0], meanwhile[0]  # the log's files grow to their full length there
    without, with_ = statistics.median(quiet), statistics.median(meanwhile)
    ratio = statistics.median(m / q for m, q in zip(meanwhile, quiet, strict=True))
    return [
        Figure("appends one by one, no backup", without, "events/s"),
        Figure("appends with a snapshot under way", with_, "events/s"),
        Figure("appends with a snapshot under way, against without", ratio, "x", at_least(0.9)),
    ]


def _appender(log: EventLog, entries: list[Any]) -> Callable[[int], object]:
    return lambda number: log.append(EVENTS, [entries[number % len(entries)]])


def _rate(append: Callable[[int], object], lasting: Callable[[], bool]) -> tuple[float, float]:
    """Appends a second, and the seconds, as long as `lasting` says."""
    count, begun = 0, time.perf_counter()
    while lasting():
        append(count)
        count += 1
    seconds = time.perf_counter() - begun
    return count / seconds, seconds


def _for(seconds: float) -> Callable[[], bool]:
    until = time.perf_counter() + seconds
    return lambda: time.perf_counter() < until


def _snapshots_on_demand(home: str, go: Flag, busy: Flag, end: Flag) -> None:
    """One snapshot each time that `go` is set; `busy` from the first row to the last part."""
    give_way()  # as whoever takes them by schedule does
    place = Home.open(Path(home))
    while go.wait() and not end.is_set():
        go.clear()
        with closing(place.tables()) as tables:
            busy.set()
            take_snapshot(place, tables)
            busy.clear()


# -- bytes -------------------------------------------------------------------------------------------------------


def _bytes(bench: Bench, home: Home) -> list[Figure]:
    index = _open_archive_of(bench, home)
    stored = _stored_bytes(index)
    stream, plain_bytes = _one_stream(index)
    figures = [
        Figure("log and one snapshot, plain", plain_bytes / 2**20, "MiB"),
        Figure("log and one snapshot, stored", stored / 2**20, "MiB"),
        Figure("log and one snapshot, against one zstd stream", stored / stream, "x", at_most(1.15)),
    ]
    try:
        other, seconds = _pgbackrest_bytes(home)
    except Missing as error:
        say(f"  left out: pgBackRest ({error})")
        return figures
    return [
        *figures,
        Figure(
            "one full pgBackRest backup", other / 2**20, "MiB", note=f"zstd, {seconds:.1f} s, without WAL"
        ),
        Figure("log and one snapshot, against pgBackRest", stored / other, "x", at_most(0.5)),
    ]


def _open_archive_of(bench: Bench, home: Home) -> ArchiveIndex:
    """A second archive of the clinic, stored in the clear, after a full backup."""
    place = home.settings.archive.model_copy(
        update={"url": str(bench.scratch("plain") / "a"), "recipients": []}
    )
    settings = home.settings.model_copy(update={"archives": {"plain": place}})
    plainly = replace(home, settings=settings, archive_name="plain")
    made: Archive = make_archive(plainly, load_signing_key(home.keys / SIGNING_KEY))
    with closing(plainly.log()) as log:
        back_up(plainly, log, Kind.FULL)
    return open_archive(made.store, None, None, [home.verifier()])


def _objects(index: ArchiveIndex) -> Iterator[Any]:
    for held in index.segments.values():
        yield from held
    for entry in index.snapshots:
        yield from load_snapshot(index, entry).parts


def _stored_bytes(index: ArchiveIndex) -> int:
    return sum(named.size_bytes for named in _objects(index))


def _one_stream(index: ArchiveIndex) -> tuple[int, int]:
    """The same plain bytes in one zstd stream: its bytes, and theirs."""
    packer = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compressobj()
    packed = total = 0
    for named in _objects(index):
        for block in read_container(fetch(index.store, named, None), named.key).blocks:
            packed += len(packer.compress(block.data))
            total += len(block.data)
    return packed + len(packer.flush()), total


def _pgbackrest_bytes(home: Home) -> tuple[int, float]:
    """Of a cluster that holds the same tables and journal and nothing else. Raises Missing."""
    if shutil.which("pgbackrest") is None:
        raise Missing("not installed; Debian package pgbackrest")
    try:
        server = postgresql.prepare()
    except Lacking as error:
        raise Missing(str(error)) from error
    server.stop_signal = signal.SIGINT  # a clean stop: what is backed up needs no recovery
    try:
        url = server.start().environment["REKAM_TEST_POSTGRESQL"]
        with closing(home.log()) as log, closing(open_tables(url)) as tables:
            rebuild(home.log_opener(), log.end(), tables)
        with psycopg.connect(plain(url), autocommit=True) as connection:
            connection.execute("VACUUM")
            connection.execute("CHECKPOINT")
        server.stop()
        return _full_backup(server)
    finally:
        server.discard()


def _full_backup(server: Any) -> tuple[int, float]:
    repository = server.folder / "data-backup"
    repository.mkdir()
    if server.owner is not None:
        shutil.chown(repository, server.owner.uid, server.owner.gid)
    options = [
        *("--no-config", "--stanza=bench", f"--pg1-path={server.folder / 'data'}", "--no-online"),
        *(f"--repo1-path={repository / 'repo'}", f"--lock-path={repository}", f"--log-path={repository}"),
        "--log-level-file=off",
    ]
    packed = ["--type=full", "--compress-type=zst", f"--compress-level={ZSTD_LEVEL}", "--start-fast"]
    run_program(["pgbackrest", *options, "stanza-create"], owner=server.owner, cwd=repository)
    seconds = timed(
        lambda: run_program(["pgbackrest", *options, *packed, "backup"], owner=server.owner, cwd=repository)
    )
    held = (file for file in (repository / "repo" / "backup").rglob("*") if file.is_file())
    return sum(file.stat().st_size for file in held), seconds
