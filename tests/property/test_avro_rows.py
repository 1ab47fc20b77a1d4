"""A reader that has learned which columns repeat reads what one that has not reads, and refuses what that refuses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.avro_reading import MALFORMED, RowsReader, compile_rows_reader
from events.avro_rows import LEARNED_ROWS, MOST_DISTINCT, LearningReader, repeating
from events.avro_writing import compile_tuple_writer
from replicator.snapshot import row_schema
from tests.examples import examples

KINDS = ["text", "text", "id", "text", "text", "text", "integer", "text"]
SCHEMA = row_schema([(f"c{n}", kind) for n, kind in enumerate(KINDS)])
RUNS = [{0: 2, 3: 6}, {3: 5}, {0: 1, 3: 4, 7: 8}]
# Lengths about 63 and 64: from there on Avro writes two bytes.
TEXTS = st.sampled_from(["", "a", "mmol/L", "é" * 31, "é" * 32, "x" * 63, "x" * 64, "y" * 200, "\x01\x02"])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "text": TEXTS,
    "id": st.binary(min_size=16, max_size=16),
    "integer": st.integers(-(2**63), 2**63 - 1),
}
ROWS = st.lists(st.tuples(*(st.none() | VALUES[kind] for kind in KINDS)), max_size=12)


def encoded(rows: list[tuple[Any, ...]]) -> bytes:
    return b"".join(map(compile_tuple_writer(SCHEMA, b""), rows))


def outcome(read: RowsReader, data: bytes, number: int) -> list[tuple[Any, ...]] | None:
    try:
        return read(data, number)
    except MALFORMED:
        return None


@pytest.mark.parametrize("runs", RUNS)
@settings(max_examples=examples(200))
@given(blocks=st.lists(ROWS, max_size=3))
def test_runs_give_the_same_rows(runs: dict[int, int], blocks: list[list[tuple[Any, ...]]]) -> None:
    read = compile_rows_reader(SCHEMA, runs)
    for rows in blocks:
        data = encoded(rows)
        assert read(data, len(rows)) == rows
        assert read(data, len(rows)) == rows, "when all of it is known"


@pytest.mark.parametrize("runs", RUNS)
@settings(max_examples=examples(300))
@given(rows=ROWS, data=st.data())
def test_runs_refuse_what_is_refused_without_them(
    runs: dict[int, int], rows: list[tuple[Any, ...]], data: st.DataObject
) -> None:
    plain, read = compile_rows_reader(SCHEMA), compile_rows_reader(SCHEMA, runs)
    whole = encoded(rows)
    read(whole, len(rows))
    damaged = bytearray(whole)
    for at in data.draw(st.lists(st.integers(0, max(0, len(whole) - 1)), max_size=3)):
        damaged[at : at + 1] = data.draw(st.binary(max_size=2))
    for raw in (bytes(damaged), whole[: data.draw(st.integers(0, len(whole)))]):
        assert outcome(read, raw, len(rows)) == outcome(plain, raw, len(rows))


def test_what_repeats_is_learned_from_the_rows() -> None:
    rows = [(f"id-{n}", "system", f"code {n % 7}", None, n) for n in range(LEARNED_ROWS)]
    texts = [True, True, True, True, False]
    assert repeating(texts, rows) == {1: 4}
    assert repeating([True, True, False, True, False], rows) == {}, "one text by itself is no run"
    assert repeating(texts, []) == {}
    many = [(f"{n % (MOST_DISTINCT + 1)}", "a", "b", "c", n) for n in range(LEARNED_ROWS)]
    assert repeating(texts, many) == {1: 4}


def test_a_reader_learns_once_and_reads_on() -> None:
    rows = [
        ("system", f"code {n % 5}", None, f"text {n}", None, "unit", n, None) for n in range(LEARNED_ROWS)
    ]
    read = LearningReader(SCHEMA)
    assert read(encoded(rows[:3]), 3) == rows[:3]
    for _ in range(3):
        assert read(encoded(rows), len(rows)) == rows
    changed = [("other", f"{n}", bytes(16), None, "é" * 40, None, -n, "end") for n in range(LEARNED_ROWS)]
    assert read(encoded(changed), len(changed)) == changed
