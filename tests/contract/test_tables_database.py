"""What every database under the tables does, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import replace

import pytest

from events.errors import Busy
from events.position import EVENTS, Partition, Position
from projections.columns import in_bytes, key_of
from projections.database import key_order
from projections.finding import MINUTE_MICROS, Burst, Sought, bursts, count_events, find_events
from projections.rewinding import Span
from projections.set_aside import count_in, rows_in
from projections.store import Tables, open_tables
from projections.system_tables import JOURNAL
from tests.tiny_tables import NOTES, READINGS, tiny

ID = bytes(range(16))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def url(request: pytest.FixtureRequest, tmp_path) -> str:
    if request.param == "sqlite":
        return f"sqlite:{tmp_path / 'tables.db'}"
    return request.getfixturevalue("postgresql_database")


@pytest.fixture
def tables(url: str) -> Iterator[Tables]:
    with closing(open_tables(url, define=tiny)) as opened:
        yield opened


def reading(record: str, value: str | None, stream: str = "patient-1", at: int = 5) -> tuple[object, ...]:
    return (stream, record, value, 0, None, at, ID)


ROWS = [
    reading("a", "1.50"),
    reading("b", "-0.0001"),
    reading("c", "12345678901234567890.12345678901234567890"),
    reading("d", "0.000", at=-62_135_596_800_000_000),
    reading("e", None, at=253_402_300_799_999_999),
    ("patient-1", "f", "10000", 2**63 - 1, True, 0, bytes(16)),
    ("patient-1", "g", "0", -(2**63), False, 1, b"\xff" * 16),
]


def test_every_kind_comes_back_as_it_went_in(tables: Tables) -> None:
    with tables.database.writing():
        tables.database.insert(READINGS, ROWS)
        tables.database.insert(
            NOTES,
            [
                ("patient-1", "é\n\t\\", 1, "", '{"a":"\\u0000"}', b"\x00\xff"),
                ("patient-1", "k", 2, None, None, None),
            ],
        )
    assert tables.rows("readings", "patient-1") == ROWS
    assert [type(row[4]) for row in tables.rows("readings", "patient-1")][-2:] == [bool, bool]
    assert tables.rows("notes", "patient-1") == [
        ("patient-1", "k", 2, None, None, None),
        ("patient-1", "é\n\t\\", 1, "", '{"a":"\\u0000"}', b"\x00\xff"),
    ]


def test_rows_come_in_the_order_of_their_bytes(tables: Tables) -> None:
    names = ["b", "B", "a", "é", "Z", "_", "-", "\U0001f600", "\uffee", "ab", "a b", "10", "9"]
    rows = [reading(name, None, f"patient-{name}") for name in names]
    with tables.database.writing():
        tables.database.insert(READINGS, rows)
    with tables.reading():
        found = list(tables.all_rows("readings"))
    key = key_of(READINGS)
    assert found == sorted(rows, key=lambda row: in_bytes(key(row)))
    assert key_order(READINGS) == "stream, record_id"


def test_replace_finds_and_deletes_by_key(tables: Tables) -> None:
    database = tables.database
    with database.writing():
        database.insert(READINGS, ROWS)
        database.replace(
            READINGS, [reading("a", "2"), reading("z", "3")], [("patient-1", "b"), ("patient-1", "nowhere")]
        )
    assert database.find(READINGS, ["stream", "record_id"], [("patient-1", "a"), ("patient-1", "b")]) == [
        reading("a", "2")
    ]
    assert database.find(READINGS, ["event_id"], [(b"\xff" * 16,)]) == [ROWS[6]]
    assert database.find(READINGS, ["stream"], []) == []
    with database.writing():
        database.delete(READINGS, ["stream"], [("patient-1",)])
    assert tables.rows("readings", "patient-1") == []


def test_a_key_stands_once(tables: Tables) -> None:
    with pytest.raises(Exception) as error, tables.database.writing():
        tables.database.insert(READINGS, [reading("a", "1"), reading("a", "2")])
    assert "patient-1" not in str(error.value), "no data of a row in an error"
    assert tables.rows("readings", "patient-1") == []


def test_a_transaction_that_fails_leaves_nothing(tables: Tables) -> None:
    with pytest.raises(KeyError), tables.database.writing():
        tables.database.insert(READINGS, ROWS)
        raise KeyError
    assert tables.rows("readings", "patient-1") == []
    with tables.database.writing():
        tables.database.insert(READINGS, ROWS[:1])
    assert tables.rows("readings", "patient-1") == ROWS[:1]


def test_who_reads_sees_one_moment(tables: Tables, url: str) -> None:
    with closing(open_tables(url, define=tiny)) as other:
        with tables.reading():
            assert list(tables.all_rows("readings")) == []
            with other.database.writing():
                other.database.insert(READINGS, ROWS)
            assert list(tables.all_rows("readings")) == []
        with tables.reading():
            assert list(tables.all_rows("readings")) == ROWS


def test_two_writers_take_turns(tables: Tables, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(open_tables(url, define=tiny)) as other:
        shorten_patience(other)
        with tables.database.writing():
            tables.database.insert(READINGS, ROWS[:1])
            with pytest.raises(Busy), other.database.writing():
                raise AssertionError("both wrote")
        with other.database.writing():
            other.database.insert(READINGS, ROWS[1:2])
    assert tables.rows("readings", "patient-1") == ROWS[:2]


def test_two_who_write_beside_each_other_wait_only_where_there_can_be_one(tables: Tables, url: str) -> None:
    with closing(open_tables(url, define=tiny)) as other:
        shorten_patience(other)
        one = other.database.dialect.name == "sqlite"
        with tables.database.writing_beside():
            tables.database.insert(READINGS, ROWS[:1])
            with pytest.raises(Busy) if one else nullcontext(), other.database.writing_beside():
                other.database.insert(READINGS, ROWS[1:2])
        with pytest.raises(KeyError), tables.database.writing_beside():
            tables.database.insert(READINGS, ROWS[2:3])
            raise KeyError
    assert tables.rows("readings", "patient-1") == ROWS[: 1 if one else 2]


def shorten_patience(tables: Tables) -> None:
    if tables.database.dialect.name == "sqlite":
        tables.database.execute("PRAGMA busy_timeout = 50")
    else:
        tables.database.execute("SET lock_timeout TO '50ms'")


def test_verdicts_change_in_place(tables: Tables) -> None:
    rows = [("s", 0, n, 0, n, ID, None, "t", 0, 0, "a", "b", "c", "applied", b"v") for n in range(3)]
    with tables.database.writing():
        tables.database.insert(JOURNAL, rows)
        tables.database.set_verdicts(JOURNAL, [("set-aside", "s", 1), ("conflict", "s", 9)])
    assert [row.verdict for row in tables.journal("s")] == ["applied", "set-aside", "applied"]
    assert tables.database.fetch("SELECT log_offset FROM set_aside") == [(1,)]


def test_what_folding_needs_of_a_stream_are_its_journal_rows_in_log_order(tables: Tables) -> None:
    rows = [
        (stream, 0, n, 0, n, ID, None, "t", 0, 0, "a", "b", "c", "applied", b"value %d" % n)
        for n, stream in ((9, "s"), (2, "s"), (4, "other"), (5, "s"))
    ]
    with tables.database.writing():
        tables.database.insert(JOURNAL, rows)
        tables.database.set_verdicts(JOURNAL, [("set-aside", "s", 5)])
    upto = Position({Partition(EVENTS, 0): 9})
    for at, count in ((None, 3), (upto, 2)):
        found = tables.journal_values("s", at)
        whole = tables.journal("s", at)
        assert found == [(row.log_partition, row.log_offset, row.verdict, row.value) for row in whole]
        assert [row.log_offset for row in found] == [2, 5, 9][:count]
        assert all(type(row.value) is bytes for row in found)


def journalled(
    offset: int, at: int, stream: str = "s", partition: int = 0, **more: object
) -> tuple[object, ...]:
    told = {"epoch": None, "type": "t", "actor": "a", "verdict": "applied", **more}
    event_id = bytes([partition, offset]) + bytes(14)
    return (
        *(stream, partition, offset, at, offset + 1, event_id, told["epoch"], told["type"], 0, 0),
        *(told["actor"], "r", "y", told["verdict"], b"v"),
    )


def test_events_are_found_and_the_minutes_in_which_much_happened(tables: Tables) -> None:
    minute = 1_700_000_040_000_000  # a whole number of minutes
    rows = [
        journalled(0, minute - 1, "before"),
        journalled(1, minute, "one", actor="b"),
        *(journalled(n, minute + n, f"s{n % 2}") for n in (2, 3, 4)),
        journalled(5, minute + MINUTE_MICROS - 1, "s1", verdict="conflict"),
        journalled(6, minute + MINUTE_MICROS, "after"),
        journalled(2, minute + 1, "elsewhere", partition=1),
    ]
    with tables.database.writing():
        tables.database.insert(JOURNAL, rows)
    with tables.reading():
        largest, *rest = bursts(tables, Sought(), 10)
        assert largest == Burst(minute, "t", "a", 5, 3, rows[-1][5])
        assert [(b.minute - minute, b.actor_id, b.events) for b in rest] == [
            (-MINUTE_MICROS, "a", 1),
            (0, "b", 1),
            (MINUTE_MICROS, "a", 1),
        ]
        narrow = Sought(since=minute + 2, until=minute + MINUTE_MICROS - 1, verdict="applied")
        assert [row.log_offset for row in find_events(tables, narrow, 2)] == [3, 4]
        assert count_events(tables, narrow) == 3
        [burst] = bursts(tables, replace(narrow, stream="s0", actor="a", types=["t", "u"]), 10)
        assert (burst.events, burst.first) == (2, rows[2][5])


def test_what_was_set_aside_is_found_by_its_epoch(tables: Tables) -> None:
    rows = [journalled(n, n, f"s{n}", epoch=ID if n > 2 else None) for n in range(6)]
    with tables.database.writing():
        tables.database.insert(JOURNAL, [*rows, journalled(4, 4, "elsewhere", 1, epoch=ID)])
    for epoch, offsets in ((None, [1, 2]), (ID, [3, 4])):
        span = Span(epoch, Partition(EVENTS, 0), 1, 5)
        with tables.reading():
            assert [row.log_offset for row in rows_in(tables, span)] == offsets
        assert count_in(tables, span) == 2


def test_opened_again_they_are_the_same(tables: Tables, url: str) -> None:
    with tables.database.writing():
        tables.database.insert(READINGS, ROWS)
    with closing(open_tables(url, define=tiny, create=False)) as again:
        assert again.rows("readings", "patient-1") == ROWS
