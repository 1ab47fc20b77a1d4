"""Clients on one log: laws 3 and 4, and never two writers on one version, whatever happens between their steps."""

from __future__ import annotations

import random
from collections import Counter
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.client import event_id
from events.errors import Conflict, LogUnavailable, SetAside, TablesUnavailable
from events.heads import LogHeads
from events.memory_log import MemoryLog
from events.position import EVENTS
from events.rules import Verdict
from tests.client_world import SlowBase, Troubled, client, commands, go_back, history, says
from tests.examples import examples

STREAMS = ["patient-a", "patient-b", "patient-c"]
FATES = ["kept"] * 12 + ["twice", "lost", "unheard", "late"]


class World:
    """Three clients, one operator, and a sequence of random numbers that decides everything."""

    def __init__(self, seed: int) -> None:
        self.rnd = random.Random(seed)
        self.log = MemoryLog({EVENTS: self.rnd.randint(1, 3)})
        self.depth = 0
        self.sent: list[tuple[str, str]] = []
        self.known: dict[tuple[str, str], object] = {}
        self.gone: set[bytes] = set()
        self.ends = [self.log.end()]
        self.logs, self.clients = [], []
        for n in range(3):
            log = Troubled(self.log, self.meanwhile)
            log.fate = lambda: self.rnd.choice(FATES)
            self.logs.append(log)
            self.clients.append(client(log, heads=LogHeads(self.log), seed=n, tries=6))

    def meanwhile(self) -> None:
        """Between any two steps of a client others act, not for ever."""
        if self.depth < 3 and self.rnd.random() < 0.35:
            self.depth += 1
            self.act()
            self.depth -= 1

    def act(self) -> None:
        kind = self.rnd.random()
        if kind < 0.7:
            self.command(self.rnd.choice(STREAMS), f"c{len(self.sent)}")
        elif kind < 0.84 and self.sent:
            self.command(*self.rnd.choice(self.sent))  # sent again, by anybody
        elif kind < 0.92:
            self.rewind()
        else:
            self.rnd.choice(self.logs).deliver()

    def command(self, stream: str, name: str) -> None:
        self.sent.append((stream, name))
        writer, reapply = self.rnd.choice(self.clients), self.rnd.random() < 0.3
        decide = says(name, lambda head: self.meanwhile())
        if any(turn.locked() for turn in writer._turns):
            return  # one thread only here: a client of its own cannot wait for itself
        try:
            done = writer.append(stream, decide, key=name, reapply=reapply)
        except (LogUnavailable, Conflict, SetAside):
            return
        self.known[done.event.event_id] = done.event
        assert commands([done.event]) == [name]

    def rewind(self) -> None:
        end = self.log.end()
        target = self.rnd.choice(self.ends) if self.rnd.random() < 0.7 else end
        before = {event.event_id for events in history(self.log).values() for event in events}
        go_back(self.log, target, self.rnd.randbytes(16))
        after = {event.event_id for events in history(self.log).values() for event in events}
        assert history(self.log) == history(self.log, target), "law 1"
        self.gone |= before - after
        self.gone -= after
        self.ends.append(self.log.end())

    def check(self) -> None:
        applied = history(self.log)
        for stream, events in applied.items():
            assert [e.version for e in events] == list(range(1, len(events) + 1))
            assert [e.payload[1]["value"] for e in events] == [str(e.version - 1) for e in events]
            twice = {name: n for name, n in Counter(commands(events)).items() if n > 1}
            assert not twice, f"law 3: {twice} took effect more than once"
            assert all(e.stream == stream for e in events)
        ids = {e.event_id for events in applied.values() for e in events}
        lost = set(self.known) - ids - self.gone
        assert not lost, "law 4: acknowledged, and neither in effect nor set aside"


@settings(max_examples=examples(120))
@given(st.integers(0, 2**32))
def test_no_interleaving_loses_or_doubles_a_command(seed):
    world = World(seed)
    for _ in range(world.rnd.randint(5, 40)):
        world.act()
        if world.rnd.random() < 0.2:
            world.ends.append(world.log.end())
        world.check()
    for log in world.logs:
        log.deliver()
    world.check()
    world.depth = 3  # nobody else acts: whoever asks again gets the outcome, or is told that it was set aside
    for log in world.logs:
        log.fate = lambda: "kept"
    before = history(world.log)
    done = {name for events in before.values() for name in commands(events)}
    for stream, name in dict.fromkeys(world.sent):
        if name in done:
            again = world.clients[0].append(stream, says(name), key=name)
            assert again.again
            assert again.event in before[stream]
    assert history(world.log) == before


@settings(max_examples=examples(60))
@given(st.integers(0, 2**32))
def test_heads_that_follow_agree_with_heads_that_begin_anew_and_with_an_auditor(seed):
    world = World(seed)
    followers = [LogHeads(world.log) for _ in range(2)]
    for _ in range(world.rnd.randint(3, 25)):
        world.act()
        applied = history(world.log)
        newcomer = LogHeads(world.log)
        for stream in STREAMS:
            events = applied.get(stream, [])
            views = [heads.look(stream) for heads in (followers[0], newcomer)]
            assert views[0] == views[1]
            want = (len(events), events[-1].event_id if events else None)
            assert views[0].head == want
    assert [followers[1].look(s) for s in STREAMS] == [followers[0].look(s) for s in STREAMS]


@pytest.mark.parametrize("seed", [7])
def test_the_worlds_hold_what_they_are_for(seed):
    """Rewinds, repeats, lost answers, conflicts: each happens often enough to be tried above."""
    counted = Counter()
    for n in range(60):
        world = World(seed * 1000 + n)
        for _ in range(30):
            world.act()
        records = sum(n for p, n in world.log.end().items() if p.topic == EVENTS)
        counted["without effect"] += records - sum(len(e) for e in history(world.log).values())
        counted["set aside"] += len(world.gone)
        counted["rewinds"] += world.log.end().control
        counted["acknowledged"] += len(world.known)
        counted["sent again"] += len(world.sent) - len(set(world.sent))
    assert min(counted.values()) > 100, counted


@settings(max_examples=examples(50))
@given(st.integers(0, 2**32))
def test_heads_over_tables_that_lag_are_exact_or_say_that_they_cannot_know(seed):
    world = World(seed)
    base = SlowBase(world.log)
    heads = LogHeads(world.log, base)
    with patch("events.heads.PRUNE_EVENTS", 4):
        for _ in range(world.rnd.randint(3, 30)):
            world.act()
            if world.rnd.random() < 0.3:
                base.project()
            applied = history(world.log)
            stream = world.rnd.choice(STREAMS)
            events = applied.get(stream, [])
            want = (len(events), events[-1].event_id if events else None)
            try:
                view = heads.look(stream)
            except TablesUnavailable:
                assert world.log.end().control > base.position().control, "only a recovery makes them useless"
                base.project()
                view = heads.look(stream)
            assert view.head == want
            auditor = LogHeads(world.log)
            auditor.follow()
            for name in world.rnd.sample(
                sorted({n for _, n in world.sent}), k=min(4, len({n for _, n in world.sent}))
            ):
                for epoch in view.epochs:
                    wanted = event_id(stream, name, epoch)
                    mine, theirs = heads.find(stream, wanted), auditor.find(stream, wanted)
                    assert (mine and mine.verdict) == (theirs and theirs.verdict)
                    assert mine == theirs or mine.verdict is not Verdict.APPLIED


def test_the_overlay_holds_only_what_the_tables_do_not():
    log = MemoryLog({EVENTS: 2})
    base = SlowBase(log)
    heads = LogHeads(log, base)
    writer = client(log, heads=heads)
    with patch("events.heads.PRUNE_EVENTS", 20):
        for n in range(200):
            writer.append(f"patient-{n}", says("x"), key="k")
            if n % 10 == 9:
                base.project()
            assert heads._held <= 40
            assert len(heads._streams) <= 45
        assert writer.append("patient-3", says("x"), key="k").again
    with patch("events.heads.PRUNE_EVENTS", 5), patch("events.heads.MAX_OVERLAY_EVENTS", 20):
        with pytest.raises(TablesUnavailable, match="behind the log"):
            for n in range(60):
                writer.append(f"patient-{n}", says("y"), key="y")
        base.project()
        assert writer.append("patient-3", says("z"), key="z").event.version == 3
