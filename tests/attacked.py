"""A clinic under attack: a whole system, those who write to it, and the losses and recoveries of a test's choice."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from events.codec import encode_event
from events.position import ACCESS, CONTROL, EVENTS
from projections.bulk import rebuild
from projections.digest import digest
from projections.store import Tables, open_tables
from projections.system_tables import LISTED_TABLES
from replicator.planning import RecoveryPlan
from replicator.targets import Target
from services.projecting import catch_up_whole
from services.recovery.acting import Report, Request, act, prepare
from services.recovery.looking import View
from services.replicating import ship, take_snapshot
from tests.log_histories import History
from tests.systems import TestSystem

ACTOR = {"id": "op", "role": "operator", "system": "test"}


class Clinic(History):
    """A system and those who write to it."""

    def __init__(self, folder: Path, seed: int = 1, partitions: int = 3) -> None:
        super().__init__(seed)
        self.folder = folder
        self.counts = {EVENTS: partitions, ACCESS: 1, CONTROL: 1}
        self.system = TestSystem(f"sqlite:{folder / 'tables.db'}", counts=self.counts)
        self.__dict__.pop("log", None)

    @property
    def log(self):  # type: ignore[override]
        return self.system.log()

    @log.setter
    def log(self, _) -> None:
        """The log is the system's."""

    @property
    def now(self) -> int:
        return self.system.clock.now

    @now.setter
    def now(self, now: int) -> None:
        if hasattr(self, "system"):
            self.system.clock.now = now

    def tell(self, count: int) -> None:
        """Events that apply."""
        applied = self.applied()
        for _ in range(count):
            stream = self.random.choice(self.streams)
            ids = applied.setdefault(stream, [])
            last = ids[-1] if ids else None
            event = self.event(stream, len(ids) + 1, last, self.epoch(), self.payload())
            self.send(EVENTS, stream, encode_event(event))
            ids.append(event.event_id)

    def digest(self):
        with closing(self.system.tables()) as tables:
            catch_up_whole(self.system.log_opener(), self.log, tables)
            return digest(tables)

    def moment(self):
        """(a time, the digest that was taken then), shipped."""
        taken = self.digest()
        self.now += 5
        time = self.now
        self.now += 5
        ship(self.system, self.log)
        return time, taken

    def snapshot(self) -> None:
        with closing(self.system.tables()) as tables:
            catch_up_whole(self.system.log_opener(), self.log, tables)
            entry = take_snapshot(self.system, tables)
        ship(self.system, self.log, entries=[entry])

    def plan(self, time: int | None) -> tuple[Request, View, RecoveryPlan]:
        request = Request(Target(time), ACTOR, "test")
        return request, *prepare(self.system, request, str, ship_first=True)

    def recover(self, time: int | None) -> Report:
        return self.carry_out(*self.plan(time))

    def carry_out(self, request: Request, view: View, plan: RecoveryPlan) -> Report:
        report = Report(started=self.system.clock())
        act(self.system, request, view, plan, report, str)
        return report

    def agrees_with_a_rebuild(self) -> None:
        """Law 2: every table holds what a replay from zero gives, row by row."""
        with closing(self.system.tables()) as tables:
            catch_up_whole(self.system.log_opener(), self.log, tables)
            position, found = tables.position(), contents(tables)
        plain = self.folder / "plain.db"
        with closing(open_tables(f"sqlite:{plain}", create=True)) as tables:
            rebuild(self.system.log_opener(), position, tables)
            wanted = contents(tables)
        plain.unlink()
        assert found == wanted


def contents(tables: Tables) -> dict[str, list]:
    """Every table that is folded or listed from the log, in key order."""
    with tables.reading():
        return {t.name: list(tables.all_rows(t)) for t in (*tables.definition.tables, *LISTED_TABLES)}
