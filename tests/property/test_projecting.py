"""Tables against the laws' own definition, over random histories: law 1 (with law 2 for snapshots) for projections.

The reference (tests/reference.py) folds the effective events of a prefix from nothing. The projector, the rebuild, a
snapshot with its tail, the as-of reading and the digest must all give what it gives, verdicts and lists included.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.errors import Busy
from events.position import ACCESS, CONTROL, EVENTS, Position
from events.rules import Effect, usable
from projections.asof import as_of, history_at
from projections.bulk import rebuild
from projections.completing import complete_journal
from projections.digest import digest, digest_at
from projections.projector import project
from projections.store import Tables, open_tables
from projections.system_tables import ACCESS_LOG, JOURNAL, LISTED_TABLES, META, STREAMS, UNREADABLE
from tests import reference
from tests.examples import examples
from tests.log_histories import History
from tests.tiny_tables import tiny

SEEDS = st.integers(0, 2**32)
OpenTables = Callable[[], Tables]


@contextmanager
def on_sqlite() -> Iterator[OpenTables]:
    """Opens new tables as often as it is asked."""
    with tempfile.TemporaryDirectory(prefix="rekam-tables-") as folder:
        names = iter(range(1000))
        yield lambda: open_tables(f"sqlite:{folder}/{next(names)}.db", define=tiny)


def agree(tables: Tables, history: History, position: Position) -> None:
    """The tables are what the reference makes of the log up to `position`."""
    log = history.log
    assert tables.position() == position
    assert state_of(tables) == reference.state(log, position, tiny())
    foreign = []
    for table, topic in ((JOURNAL, EVENTS), (ACCESS_LOG, ACCESS)):
        judged, unreadable = reference.judged(log, position, topic)
        foreign += unreadable
        found = {(row[1], row[2]): (row[5], row[13]) for row in tables.database.select(table)}
        assert found == {(j.partition.number, j.offset): (j.event.event_id, j.verdict.value) for j in judged}
    listed = [row[:3] for row in tables.database.select(UNREADABLE) if row[0] != CONTROL]
    assert sorted(listed) == sorted(foreign)
    ids = reference.applied_ids(log, position)
    assert tables.heads(history.streams) == {s: (len(applied), applied[-1]) for s, applied in ids.items()}
    assert len(tables.database.select(STREAMS)) == len(ids)
    odd = [j.verdict.value for j in reference.judged(log, position)[0]]
    assert {v: n for v, n in tables.verdicts().items() if n} == {v: odd.count(v) for v in odd}


def state_of(tables: Tables) -> dict[str, list[Any]]:
    with tables.reading():
        return {table.name: list(tables.all_rows(table)) for table in tables.definition.tables}


def everything(tables: Tables) -> dict[str, list[Any]]:
    all_tables = (*LISTED_TABLES, META, *tables.definition.tables)
    return {table.name: sorted(map(repr, tables.database.select(table))) for table in all_tables}


class Image:
    """The tables as a snapshot keeps them."""

    def __init__(self, tables: Tables) -> None:
        self.position = tables.position()
        self.links = Effect(tables.control(), self.position).links
        with tables.reading():
            self._rows = {t.name: list(tables.all_rows(t)) for t in (*tables.definition.tables, STREAMS)}

    def holds(self, table: str) -> bool:
        return True

    def batches(self, table: str) -> list[list[Any]]:
        return [self._rows[table]]

    def size_bytes(self, table: str) -> int:
        return len(self._rows[table])


def check_projector(seed: int, open_new: OpenTables) -> None:
    history = History(seed, partitions=1 + seed % 3)
    with closing(open_new()) as tables:
        for steps in (0, 25, 1, 30, 25):
            history.run(steps)
            target = history.torn() if history.random.random() < 0.4 else history.log.end()
            before = tables.position()
            project(history.log, tables, target)
            reached = Position(
                {p: max(n, target[p]) for p, n in before.items()}
                | {p: max(n, before[p]) for p, n in target.items()}
            )
            agree(tables, history, reached)
        assert project(history.log, tables).after == history.log.end()
        agree(tables, history, history.log.end())
        assert project(history.log, tables).records == 0


def check_rebuild(seed: int, open_new: OpenTables) -> None:
    history = History(seed, partitions=1 + seed % 3).run(80)
    end = history.log.end()
    with closing(open_new()) as followed, closing(open_new()) as rebuilt:
        project(history.log, followed)
        for position in (*history.ends[:2], history.torn(), end):
            rebuild(lambda: history.log, position, rebuilt)
            agree(rebuilt, history, position)
        assert everything(rebuilt) == everything(followed)
        torn = history.torn()
        rebuild(lambda: history.log, torn, rebuilt)
        assert digest(rebuilt) == digest_at(lambda: history.log, torn, tiny)
        project(history.log, rebuilt)
        assert everything(rebuilt) == everything(followed), "a rebuild that goes on"
        assert digest(rebuilt) == digest(followed) == digest_at(lambda: history.log, end, tiny)


def check_snapshot(seed: int, open_new: OpenTables) -> None:
    history = History(seed, partitions=1 + seed % 3)
    with closing(open_new()) as followed, closing(open_new()) as loaded:
        images = []
        for _ in range(3):
            project(history.run(15).log, followed)
            images.append(Image(followed))
        end = history.run(5).log.end()
        links = Effect(history.rewinds(), end).links
        history.run(10)
        project(history.log, followed)
        for image in images:
            if not usable(image.links, links):
                continue
            rebuild(lambda: history.log, end, loaded, snapshot=image)
            assert state_of(loaded) == reference.state(history.log, end, tiny()), "law 2"
            with pytest.raises(Busy):
                digest(loaded)
            try:
                project(history.log, loaded)
            except Busy:
                pass  # a rewind waits for the journal
            complete_journal(lambda: history.log, loaded)
            project(history.log, loaded)
            agree(loaded, history, history.log.end())
            assert everything(loaded) == everything(followed)


def check_the_past(seed: int, open_new: OpenTables) -> None:
    history = History(seed, partitions=1 + seed % 3).run(70)
    with closing(open_new()) as tables:
        project(history.log, tables)
        for position in (*history.ends[-2:], history.torn()):
            want = reference.state(history.log, position, tiny())
            judged = reference.judged(history.log, position)[0]
            for stream in history.streams:
                rows = {name: [row for row in of if row[0] == stream] for name, of in want.items()}
                assert as_of(tables, stream, position) == rows
                past = [(row.log_offset, row.verdict) for row in history_at(tables, stream, position)]
                events = [(j.offset, j.verdict.value) for j in judged if j.event.stream == stream]
                assert past == sorted(events)


CHECKS = [check_projector, check_rebuild, check_snapshot, check_the_past]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@settings(max_examples=examples(10))
@given(seed=SEEDS)
def test_on_sqlite(check: Callable[[int, OpenTables], None], seed: int) -> None:
    with on_sqlite() as open_new:
        check(seed, open_new)


@pytest.mark.postgresql
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("seed", range(2))
def test_on_postgresql(check: Callable[[int, OpenTables], None], seed: int, postgresql_database: str) -> None:
    names = iter(range(1000))
    check(seed, lambda: open_tables(f"{postgresql_database}?schema=t{next(names)}", define=tiny))


@pytest.mark.postgresql
@pytest.mark.parametrize("seed", range(2, 4))
def test_both_databases_give_one_digest(seed: int, postgresql_database: str) -> None:
    history = History(seed, partitions=2).run(80)
    with (
        on_sqlite() as open_new,
        closing(open_new()) as one,
        closing(open_tables(postgresql_database, define=tiny)) as other,
    ):
        project(history.log, one)
        project(history.log, other)
        assert digest(one) == digest(other)
        assert everything(one) == everything(other)
        happened = one.last_happened()
        assert happened == other.last_happened() == {s: last_of(one, s) for s in happened}


def last_of(tables: Tables, stream: str) -> int:
    return max(row.occurred_at for row in tables.journal(stream))


def test_the_histories_hold_everything() -> None:
    """What the tests above rely on: rewinds both ways, and every verdict."""
    verdicts: set[str] = set()
    longest = 0
    for seed in range(20):
        history = History(seed).run(80)
        verdicts |= {j.verdict.value for j in reference.judged(history.log, history.log.end())[0]}
        longest = max(longest, len(Effect(history.rewinds(), history.log.end()).links))
    assert verdicts == {"applied", "duplicate", "conflict", "ahead", "set-aside", "unknown-epoch"}
    assert longest > 3
