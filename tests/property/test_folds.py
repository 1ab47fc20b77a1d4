"""Folds: pure, total, and nobody else's rows; every row fits its table and every database."""

from __future__ import annotations

import copy
import json
from typing import Any

import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from events import catalogue
from events.avro_schema import DECIMAL, FIRST_MICROS, LAST_MICROS
from events.envelope import Event
from projections.columns import Document, Kind, key_of, kinds
from projections.folding import CompleteRows, fold_all
from projections.folds import FOLDS
from projections.tables import STATE_TABLES
from tests.examples import examples
from tests.payload_strategies import events, payloads, values

RECORD_IDS = st.sampled_from(["a", "b"])


def _colliding(payload: tuple[str, dict[str, Any]], record_id: str, claim_id: str) -> Any:
    """The payload with ids that others of the same history bear too, so that events meet."""
    name, fields = payload
    fields = {**fields}
    for field, value in (
        ("record_id", record_id),
        ("claim_id", claim_id),
        ("scope", "all"),
        ("role", "nurse"),
    ):
        if field in fields:
            fields[field] = value
    return name, fields


STEPS = events(st.builds(_colliding, payloads(*FOLDS), RECORD_IDS, RECORD_IDS), stream="patient-1")
HISTORIES = st.lists(STEPS, max_size=12)


def _folded(history: list[Event]) -> dict[str, dict[Any, Any]]:
    rows = CompleteRows(STATE_TABLES)
    fold_all(history, rows, FOLDS)
    return {table.name: dict(shelf.rows) for table, shelf in rows.shelves.items()}


def test_every_event_type_but_access_has_a_fold() -> None:
    assert set(FOLDS) == {t for t in catalogue.event_types() if not t.startswith("id.rekam.access.")}


def test_every_table_names_its_stream_first_and_in_its_key() -> None:
    for table in STATE_TABLES:
        assert next(iter(table.columns)).name == "stream" and table.info["key"][0] == "stream"
        assert len({c.name for c in table.columns}) == len(table.columns)
        assert table.comment
    assert len(STATE_TABLES) == len(set(STATE_TABLES)) == len(STATE_TABLES[0].metadata.tables)


@settings(max_examples=examples(80))
@given(HISTORIES)
def test_folds_are_deterministic_and_change_no_event(history: list[Event]) -> None:
    before = copy.deepcopy(history)
    assert _folded(history) == _folded(before)
    assert history == before


@settings(max_examples=examples(120))
@given(HISTORIES)
def test_every_row_fits_its_table(history: list[Event]) -> None:
    rows = CompleteRows(STATE_TABLES)
    fold_all(history, rows, FOLDS)
    for table, shelf in rows.shelves.items():
        for key, row in shelf.rows.items():
            assert key == key_of(table)(row) and row[0] == "patient-1"
            _fits(table, row)


CHECKS: dict[Kind, Any] = {
    Kind.ID: lambda v: type(v) is bytes and len(v) == 16,
    Kind.DIGEST: lambda v: type(v) is bytes,
    Kind.INSTANT: lambda v: type(v) is int and FIRST_MICROS <= v <= LAST_MICROS,
    Kind.DECIMAL: lambda v: type(v) is str and DECIMAL.fullmatch(v) is not None,
    Kind.TEXT: lambda v: type(v) is str and "\0" not in v,
    Kind.INTEGER: lambda v: type(v) is int and -(2**63) <= v < 2**63,
    Kind.BOOLEAN: lambda v: type(v) is bool,
}


def _fits(table: sa.Table, row: tuple[Any, ...]) -> None:
    assert len(row) == len(table.columns), table.name
    for column, kind, value in zip(table.columns, kinds(table), row, strict=True):
        where = f"{table.name}.{column.name}"
        if value is None:
            assert column.nullable, where
            continue
        assert CHECKS[kind](value), where
        if isinstance(column.type, Document):
            again = json.dumps(json.loads(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            assert again == value, where


@settings(max_examples=examples(80))
@given(HISTORIES, st.integers(0, 12))
def test_folding_on_gives_what_folding_at_once_gives(history: list[Event], cut: int) -> None:
    """Rows are all that a fold knows: it keeps nothing of its own."""
    rows = CompleteRows(STATE_TABLES)
    fold_all(history[:cut], rows, FOLDS)
    fold_all(history[cut:], rows, FOLDS)
    assert {t.name: dict(s.rows) for t, s in rows.shelves.items()} == _folded(history)


@settings(max_examples=examples(50))
@given(values("id.rekam.registration.PatientRegistered"), st.data())
def test_lists_of_a_patient_are_replaced_whole(fields: dict[str, Any], data: st.DataObject) -> None:
    history = [data.draw(events(st.just(("id.rekam.registration.PatientRegistered", fields)), "patient-1"))]
    history += data.draw(
        st.lists(
            events(
                payloads(
                    "id.rekam.registration.PatientCorrected",
                    "id.rekam.registration.ContactsChanged",
                    "id.rekam.registration.CoverageChangedV2",
                ),
                "patient-1",
            ),
            max_size=5,
        )
    )
    newest: dict[str, Any] = {}
    for event in history:
        newest |= {n: v for n, v in event.payload[1].items() if n in ("identifiers", "contacts", "coverages")}
    tables = _folded(history)
    for name, items in newest.items():
        assert sorted(row[1] for row in tables[name].values()) == list(range(1, len(items) + 1))
