"""Recoveries while everything else runs: writers, a projector, a shipper that takes snapshots, another recovery.

On the embedded default in files, with the real clock. Whatever the interleaving: an acknowledged event applies, or a
recovery that came later set it aside; the tables are what a rebuild gives; and what was shipped comes back.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from events.client import Client, Draft
from events.control import read_rewinds
from events.errors import BeforeArchive, Busy, Conflict, SetAside
from events.heads import LogHeads
from events.rules import Effect, Head, Verdict
from projections.bulk import rebuild
from projections.digest import digest
from projections.store import JournalRow, open_tables
from projections.system_tables import JOURNAL
from replicator.targets import Target
from services.backups.keeping import back_up_forever
from services.home import Home
from services.making import Wanted, make_home
from services.projecting import catch_up_whole
from services.recovery.acting import Report, Request, act, prepare
from services.replicating import replicate_forever, replicate_once
from services.running import project_forever
from services.settings import ArchiveSettings
from tests.attacked import contents
from tests.log_histories import note

ACTOR = {"id": "op", "role": "operator", "system": "test"}
DEADLINE_SECONDS = 60.0
ROUNDS = 6


class Running:
    """A home in which everything runs at once."""

    def __init__(self, folder: Path) -> None:
        wanted = Wanted("Test", "Asia/Jakarta", "sqlite:log.db", "sqlite:tables.db", ArchiveSettings())
        self.home: Home = make_home(folder, wanted)
        self.home.settings.replicator.interval_seconds = 0.1
        self.home.settings.replicator.snapshot_hours = 0.0002
        self.acknowledged: dict[bytes, bytes | None] = {}
        """event -> the epoch it was written in"""
        self.more = threading.Condition()
        self.stop = threading.Event()
        self.failures: list[BaseException] = []

    def start(self, work: Callable[[], object]) -> threading.Thread:
        def guarded() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001  (the test looks at them)
                self.failures.append(error)
                self.stop.set()

        thread = threading.Thread(target=guarded)
        thread.start()
        return thread

    def write(self) -> None:
        with closing(self.home.log()) as log:
            client, rnd = Client(log, LogHeads(log)), random.Random(1)
            while not self.stop.wait(0.002):
                try:
                    found = client.append(f"patient-{rnd.randrange(6):032x}", draft)
                except (SetAside, Conflict):
                    continue
                with self.more:
                    self.acknowledged[found.event.event_id] = found.event.epoch
                    self.more.notify()

    def await_writes(self, count: int) -> None:
        with self.more:
            wanted = len(self.acknowledged) + count
            assert self.more.wait_for(
                lambda: len(self.acknowledged) >= wanted or self.failures, DEADLINE_SECONDS
            )

    def go_back(self, time: int) -> None:
        with suppress(Busy, BeforeArchive):  # another recovery came first, or there was nothing yet
            recover(self.home, time)


def recover(home: Home, time: int | None) -> None:
    request = Request(Target(time), ACTOR, "test")
    view, plan = prepare(home, request, str, ship_first=True)
    act(home, request, view, plan, Report(started=home.clock()), str)


def draft(head: Head) -> Draft:
    return Draft(note("a", str(head.version)), 1, ACTOR)


def test_recoveries_while_everything_runs(tmp_path: Path) -> None:
    running = Running(tmp_path / "home")
    home, rnd = running.home, random.Random(7)
    works = [running.write, running.write]
    works.append(lambda: project_forever(home, running.stop, str))
    works.append(lambda: replicate_forever(home, running.stop, str))
    works.append(lambda: back_up_forever(home, running.stop, str, look_seconds=0.1))
    threads = [running.start(work) for work in works]
    times: list[int] = []
    for number in range(ROUNDS):
        running.await_writes(30)
        times.append(home.clock())
        running.await_writes(10)
        together = [running.start(lambda: running.go_back(rnd.choice(times))) for _ in range(1 + number % 2)]
        for thread in together:
            thread.join()
    running.stop.set()
    for thread in threads:
        thread.join()
    assert not running.failures
    check_acknowledged(running)
    check_rebuild(home, tmp_path)
    check_loss(home)


def check_acknowledged(running: Running) -> None:
    home = running.home
    with closing(home.log()) as log, closing(home.tables()) as tables:
        catch_up_whole(home.log_opener(), log, tables)
        end = log.end()
        newest = Effect(read_rewinds(log, end.control), end).newest
        with tables.reading():
            verdicts = {row.event_id: row.verdict for row in map(JournalRow._make, tables.all_rows(JOURNAL))}
    assert newest is not None
    for event, epoch in running.acknowledged.items():
        fine = {Verdict.APPLIED} if epoch == newest else {Verdict.APPLIED, Verdict.SET_ASIDE}
        assert verdicts[event] in fine


def check_rebuild(home: Home, folder: Path) -> None:
    with closing(home.tables()) as tables:
        position, found = tables.position(), contents(tables)
    with closing(open_tables(f"sqlite:{folder / 'plain.db'}", create=True)) as tables:
        rebuild(home.log_opener(), position, tables)
        assert contents(tables) == found


def check_loss(home: Home) -> None:
    replicate_once(home, snapshot=False)
    with closing(home.tables()) as tables:
        before = digest(tables)
    for name in ("log.db", "tables.db"):
        for file in home.path.glob(f"{name}*"):
            file.unlink()
    recover(home, None)
    with closing(home.tables()) as tables:
        assert digest(tables) == before
