"""A reader of rows that learns from the first of them which columns repeat together.

The rows of a table come in blocks. Codes with their systems, names and units are the same few runs of texts again and
again, and telling a run from its bytes takes half the time of reading it text by text; where texts are new with every
row it would take longer. Which is which is seen in the rows themselves, so no table has to be described.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from events.avro_reading import RowsReader, compile_rows_reader
from events.avro_schema import Schema

LEARNED_ROWS = 1000
"""So many rows are looked at."""
MOST_DISTINCT = LEARNED_ROWS // 4
"""So many different runs among them still count as coming again."""
LEAST_PRESENT = 2
"""So many texts that are present, in the mean, make looking up a run worth it."""
_TEXT = ["null", "string"]


class LearningReader:
    """Reads blocks as `compile_rows_reader(schema)` does, after the first large one faster."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._read = compile_rows_reader(schema)
        self._learned = False

    def __call__(self, data: bytes, number: int) -> list[tuple[Any, ...]]:
        rows = self._read(data, number)
        if not self._learned and number >= LEARNED_ROWS:
            self._learned = True
            self._read = _reader(self._schema, rows[:LEARNED_ROWS])
        return rows


def _reader(schema: Schema, rows: Sequence[tuple[Any, ...]]) -> RowsReader:
    texts = [field["type"] == _TEXT for field in schema["fields"]]
    return compile_rows_reader(schema, repeating(texts, rows))


def repeating(texts: Sequence[bool], rows: Sequence[tuple[Any, ...]]) -> dict[int, int]:
    """Runs of neighbouring columns that are worth being looked up: first column -> the one behind the last.

    `texts`: which columns may be part of one.
    """
    runs: dict[int, int] = {}
    first = 0
    while first < len(texts):
        stop = first
        while (
            stop < len(texts)
            and texts[stop]
            and len({row[first : stop + 1] for row in rows}) <= MOST_DISTINCT
        ):
            stop += 1
        present = sum(value is not None for row in rows for value in row[first:stop])
        if present >= LEAST_PRESENT * len(rows) > 0:
            runs[first] = stop
        first = max(stop, first + 1)
    return runs
