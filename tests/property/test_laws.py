"""The laws, over random lives of a whole system: append, project, ship, snapshot, crash, lose, recover, in any order.

The oracle is tests/model.py: after each recovery and at the end the log and the archive's checkpoints are handed to the
model, which says record by record which events are in effect at a time; the tables must agree, and their digest must be
the one that was taken at that moment.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from events.catalogue import SEALED
from events.codec import Control, Unreadable, as_rewind, decode_control, decode_events
from events.effective import cut
from events.envelope import Event
from events.errors import BeforeArchive, BeyondArchive
from events.log import EventLog
from events.partitioning import partition_number
from events.patient_keys import MemoryKeys
from events.position import ACCESS, CONTROL, CONTROL_PARTITION, EVENTS, Partition, Position
from events.rules import Verdict
from projections.digest import digest
from projections.projector import project
from projections.store import JournalRow, Tables
from projections.system_tables import JOURNAL
from replicator.memory_store import MemoryStore
from replicator.stores import ObjectStore
from replicator.targets import Target
from services.projecting import catch_up
from services.recovery.acting import Report, Request, act, prepare
from services.replicating import ship, take_snapshot
from tests import model
from tests.examples import examples
from tests.log_histories import History
from tests.systems import Died, DyingStore, TestSystem

SHRINKING_SECONDS = 600
"""Hypothesis may take five minutes to make what it found smaller, and tells it only then."""
ACTOR = {"id": "op", "role": "operator", "system": "test"}


class Life(History):
    """A history on the log of a system, which may be lost and come back as another one."""

    def __init__(self, seed: int, system: TestSystem) -> None:
        super().__init__(seed)
        self.system = system
        self.__dict__.pop("log", None)

    def encode(self, event: Event) -> bytes:
        """Sealed, as a clinic's events are, under the keys that there are now."""
        return self.system.encoder().encode(event)

    @property
    def log(self) -> EventLog:  # type: ignore[override]
        return self.system.log()

    @log.setter
    def log(self, _: EventLog) -> None:
        """The log is the system's."""

    def misplace(self, stream: str, value: bytes) -> None:
        self.system.misplace(stream.encode(), value, self.random)

    @property
    def now(self) -> int:
        return self.system.clock.now

    @now.setter
    def now(self, now: int) -> None:
        if hasattr(self, "system"):
            self.system.clock.now = max(now, self.system.clock.now)


def model_of(log: EventLog, system: TestSystem) -> model.Log:
    """The log and the checkpoints as the model has them."""
    end = log.end()
    data = end.of(EVENTS)
    names: dict[Any, Any] = {p: p.number for p in data} | {CONTROL_PARTITION: model.CONTROL}
    records = {}
    for partition, name in names.items():
        records[name] = [
            (record.time, _value(partition, record.key, record.value, names))
            for batch in log.read(partition, 0, end[partition])
            for record in batch
        ]
    marks = [(m.time, {name: m.position[p] for p, name in names.items()}) for m in system.archive().marks]
    return model.Log(len(data), records, marks)


def _value(partition: Partition, key: bytes | None, value: bytes | None, names: dict[Any, Any]) -> Any:
    if partition.topic == CONTROL:
        control = decode_control(value)
        rewind = as_rewind(control) if isinstance(control, Control) else None
        if rewind is None:
            return "something else"
        target = tuple((name, rewind.target[p]) for p, name in names.items())
        return model.Rewind(rewind.epoch.hex(), target, rewind.after.hex() if rewind.after else "")
    event = decode_events([value])[0]
    if isinstance(event, Unreadable) or key != event.stream.encode():
        return "foreign"
    if partition_number(key, len(names) - 1) != partition.number:
        return "foreign"  # a stream lives in one partition, whatever a producer chose
    previous = event.previous.hex() if event.previous else None
    epoch = event.epoch.hex() if event.epoch else ""
    return model.Event(event.event_id.hex(), event.stream, event.version, previous, epoch)


class Laws(RuleBasedStateMachine):
    """One clinic's life. Another system lives it by another `make_system`."""

    erased: Collection[str] = ()
    """Streams of which the keys are gone on purpose."""
    most_writes = 12
    checked_times = 40

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="rekam-laws-")

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        self.system = self.make_system(Path(self.folder.name))
        self.system.key_store = self.key_store = DyingStore(self.make_key_store(Path(self.folder.name)))
        self.life = self.begin_life(seed)
        self.moments: dict[int, Any] = {}
        """time -> the digest that was taken then"""

    def begin_life(self, seed: int) -> Life:
        return Life(seed, self.system)

    def make_key_store(self, folder: Path) -> ObjectStore:
        """Where patients' keys are backed up."""
        return MemoryStore(self.system.clock)

    def make_system(self, folder: Path) -> TestSystem:
        self.store = DyingStore(MemoryStore())
        return TestSystem(f"sqlite:{folder / 'tables.db'}", store=self.store)

    def teardown(self) -> None:
        try:
            if hasattr(self, "system"):
                self.check_times()
        finally:
            if hasattr(self, "system"):
                self.system.discard()
            self.folder.cleanup()

    # -- living --------------------------------------------------------------------------------------------------

    @rule(steps=st.integers(1, 12))
    def write(self, steps: int) -> None:
        for _ in range(min(steps, self.most_writes)):
            self.life.step()

    @rule(upto=st.floats(0, 1))
    def project_some(self, upto: float) -> None:
        """A projector that is killed anywhere stands at its cursor."""
        log = self.system.log()
        end = log.end()
        with closing(self.system.tables()) as tables:
            here = tables.position()
            target = {p: here[p] + round((n - here[p]) * upto) for p, n in end.items()}
            project(log, tables, Position(target))
            self.agree(log, tables, Position(target))

    @rule()
    def ship(self) -> None:
        ship(self.system, self.system.log())

    @rule()
    def ship_twice(self) -> None:
        """Law 3: shipping again adds no record of data."""
        first = ship(self.system, self.system.log())
        before = self.system.archive().end()
        again = ship(self.system, self.system.log())
        assert again.checkpoint == first.checkpoint + 1
        after = self.system.archive().end()
        assert before.of(EVENTS) == after.of(EVENTS)
        assert before.of(ACCESS) == after.of(ACCESS)

    @rule(at=st.integers(0, 12), at_keys=st.booleans())
    def die_while_shipping(self, at: int, at_keys: bool) -> None:
        """The shipper's process ends at its n-th operation on a store; the next one goes on."""
        store = self.key_store if at_keys else self.store
        store.die_after(at)
        try:
            ship(self.system, self.system.log())
        except Died:
            pass
        finally:
            store.live()

    @rule()
    def snapshot(self) -> None:
        log = self.system.log()
        with closing(self.system.tables()) as tables:
            catch_up(log, tables)
            entry = take_snapshot(self.system, tables)
        ship(self.system, log, entries=[entry])

    @rule()
    def remember(self) -> None:
        """What the tables are now, and when that was: a moment to come back to."""
        log = self.system.log()
        if not log.end().records():
            return  # before the first record is before the archive, which is refused
        with closing(self.system.tables()) as tables:
            catch_up(log, tables)
            taken = self.picture(tables)
        marks = (
            self.system.archive().marks
        )  # of several checkpoints in one millisecond the last is ahead of the clock
        self.life.now = max(self.life.now, marks.last.time if len(marks) else 0) + 5
        time = self.life.now
        self.life.now += 5
        ship(self.system, log)
        self.moments[time] = taken

    def picture(self, tables: Tables) -> Any:
        """What the tables hold, to be compared with another time."""
        return digest(tables)

    def known(self, picture: Any) -> Any:
        """What must still be there of an earlier picture."""
        return picture

    # -- losing and coming back ------------------------------------------------------------------------------------

    @rule()
    def lose_tables(self) -> None:
        self.system.lose_tables()

    @rule(
        pick=st.integers(0, 1000), lose_log=st.booleans(), lose_tables=st.booleans(), lose_keys=st.booleans()
    )
    def recover_a_moment(self, pick: int, lose_log: bool, lose_tables: bool, lose_keys: bool) -> None:
        """Law 1: recover(T) is what was there at T."""
        if not self.moments:
            return
        time = sorted(self.moments)[pick % len(self.moments)]
        self.lose(lose_log, lose_tables)
        if lose_keys:
            self.system.lose_keys()
        self.recover(time)
        with closing(self.system.tables()) as tables:
            assert self.picture(tables) == self.known(self.moments[time]), f"law 1: {time} is not what it was"
        before = self.system.log().end().of(EVENTS), self.newest_epoch()
        self.recover(time)
        assert (self.system.log().end().of(EVENTS), self.newest_epoch()) == before, "law 3: recovered twice"

    @rule(back=st.integers(0, 400), lose_log=st.booleans(), lose_tables=st.booleans())
    def recover_any_time(self, back: int, lose_log: bool, lose_tables: bool) -> None:
        self.lose(lose_log, lose_tables)
        time = self.life.now - back
        try:
            self.recover(time)
        except BeforeArchive:
            assert time < self.restorable()[0]
            self.recover(None)
        except BeyondArchive:
            assert not self.restorable() or time > self.restorable()[1]
            self.recover(None)

    @rule(lose_log=st.booleans(), lose_tables=st.booleans())
    def recover_latest(self, lose_log: bool, lose_tables: bool) -> None:
        """Law 4: what was shipped survives the loss of everything else."""
        self.lose(lose_log, lose_tables)
        if not self.system.log_stands and not self.restorable():
            return
        self.recover(None)

    def lose(self, log: bool, tables: bool) -> None:
        """Nothing is lost before a first checkpoint: there would be nothing to come back from."""
        if log and self.restorable():
            self.system.lose_log()
            held = self.system.archive().marks.last.time
            self.moments = {t: d for t, d in self.moments.items() if t <= held}
        if tables:
            self.system.lose_tables()

    def restorable(self) -> tuple[int, int] | tuple[()]:
        found = self.system.archive().restorable
        return () if found is None else (found.first, found.last)

    def newest_epoch(self) -> bytes | None:
        return self.life.epoch()

    def recover(self, time: int | None) -> None:
        request = Request(Target(time), ACTOR, "test")
        report = Report(started=self.system.clock())
        view, plan = prepare(self.system, request, str, ship_first=True)
        want = plan.position
        if self.system.log_stands and time is not None:
            copy = model_of(self.system.log(), self.system)
            modelled = copy.cut(time)
            assert {p.number: n for p, n in want.of(EVENTS).items()} == {
                k: n for k, n in modelled.items() if k != model.CONTROL
            }, f"law 1: {time} is cut elsewhere than the model says"
        act(self.system, request, view, plan, report, str)
        with closing(self.system.tables()) as tables:
            log = self.system.log()
            copy = model_of(log, self.system)
            at = {p.number: n for p, n in want.of(EVENTS).items()} | {model.CONTROL: want.control}
            assert heads_of(tables) == model.state_at(copy, at), "law 1: not the state at the position"
        assert self.system.archive().end().covers(want)
        assert report.checkpoint == self.system.archive().head.n

    # -- always ------------------------------------------------------------------------------------------------

    def agree(self, log: EventLog, tables: Any, position: Position) -> None:
        """Laws 1 and 2: the tables are the fold of the effective history at their cursor."""
        at = {p.number: n for p, n in position.of(EVENTS).items()} | {model.CONTROL: position.control}
        assert heads_of(tables) == model.state_at(model_of(log, self.system), at)

    @invariant()
    def nothing_shipped_is_lost(self) -> None:
        """Law 5: the archive is a prefix of the log, without a hole."""
        if not hasattr(self, "system") or not self.system.log_stands:
            return
        archive, log = self.system.archive(), self.system.log()
        assert log.end().covers(archive.end())
        for partition, stop in archive.end().items():
            archived = [record for batch in archive.read(partition, 0, stop) for record in batch]
            held = [record for batch in log.read(partition, 0, stop) for record in batch]
            assert archived == held

    @invariant()
    def nothing_shipped_is_sealed_for_ever(self) -> None:
        """Law 4, of sealed events: the key of each that a checkpoint covers can be brought back."""
        if not hasattr(self, "system"):
            return
        archive, keys = self.system.archive(), MemoryKeys()
        self.system.key_backup().restore(keys, self.system.identity)
        for partition, stop in archive.end().of(EVENTS).items():
            for batch in archive.read(partition, 0, stop):
                for event in decode_events([record.value for record in batch]):
                    if isinstance(event, Event) and event.payload[0] == SEALED:
                        there = keys.find(event.payload[1]["key_id"]) is not None
                        assert there == (event.stream not in self.erased)

    def check_times(self) -> None:
        """The cut that the archive computes, and the one on the log, are the model's, at any time."""
        archive = self.system.archive()
        if not self.system.log_stands or not len(archive.marks):
            return
        from events.control import LiveTimes

        log = self.system.log()
        copy = model_of(log, self.system)
        first, last = archive.marks.first.time - 20, self.system.clock.now + 20
        for time in range(first, last, max(1, (last - first) // self.checked_times)):
            want = {k: n for k, n in copy.cut(time).items() if k != model.CONTROL}
            live = cut(time, archive.marks, LiveTimes(log))
            assert {p.number: n for p, n in live.of(EVENTS).items()} == want
            if time <= archive.marks.last.time:
                offline = cut(time, archive.marks, archive)
                assert {p.number: n for p, n in offline.of(EVENTS).items()} == want


def heads_of(tables: Tables) -> dict[str, tuple[str, ...]]:
    """stream -> applied event ids in order, as the model's state."""
    found: dict[str, tuple[str, ...]] = {}
    with tables.reading():
        for row in map(JournalRow._make, tables.all_rows(JOURNAL)):
            if row.verdict == Verdict.APPLIED:
                found[row.stream] = (*found.get(row.stream, ()), row.event_id.hex())
        heads = {stream: head.version for stream, head in tables.heads(found).items()}
    assert heads == {stream: len(ids) for stream, ids in found.items()}
    return found


TestLaws = pytest.mark.timeout(SHRINKING_SECONDS)(Laws.TestCase)
TestLaws.settings = settings(
    max_examples=examples(25),
    stateful_step_count=25,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
