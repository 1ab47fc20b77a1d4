"""A patient's rows before and after an undo, compared: all that is told, and nothing of by which event."""

from __future__ import annotations

from typing import Any

from events.envelope import Event
from projections.folding import CompleteRows, fold_all
from projections.folds import FOLDS
from projections.tables import STATE_TABLES
from services.undoing.planning import Plan

PROVENANCE = ("event_id", "version", "voided_by", "merged_by")
RECORDS = [table.name for table in STATE_TABLES if "voided_by" in table.columns]


def folded(events: list[Event]) -> dict[str, dict[Any, dict[str, Any]]]:
    """table -> key -> column -> value."""
    rows = CompleteRows(STATE_TABLES)
    fold_all(events, rows, FOLDS)
    names = {table: [c.name for c in table.columns] for table in STATE_TABLES}
    return {
        table.name: {key: dict(zip(names[table], row, strict=True)) for key, row in shelf.rows.items()}
        for table, shelf in rows.shelves.items()
    }


def compare(then: dict[str, Any], after: dict[str, Any], plan: Plan) -> None:
    """Each table as it was, but for what the plan says stays."""
    stays = {(stays.kind, stays.record_id) for stays in plan.stays}
    for name in RECORDS:
        for key, row in after[name].items():
            if key not in then[name]:
                kept = name == "adjudications" and ("adjudication", key[1]) in stays
                assert kept or row["status"] == "entered-in-error", name
        for key, row in then[name].items():
            assert told(row) == told(after[name][key]), name
    for name in ("identifiers", "contacts", "coverages", "patients"):
        if ("registration", None) not in stays:
            assert [*map(told, rows(then, name))] == [*map(told, rows(after, name))], name
    for key, row in then["resources"].items():
        if row["kind"] != "claim":
            assert told(row) == told(after["resources"][key])
    for key, row in after["claims"].items():
        assert ("claim", key[1]) in stays or told(row, "adjudicated_by", "finalised_by") == told(
            then["claims"][key], "adjudicated_by", "finalised_by"
        )
    for key, row in after["merges"].items():
        survivor = next((patient["survivor"] for patient in rows(then, "patients")), None)
        assert key in then["merges"] or row["undone_by"] or row["survivor"] == survivor
    assert then["restrictions"] == after["restrictions"] or ("restriction", None) in stays


def rows(state: dict[str, Any], table: str) -> list[dict[str, Any]]:
    return [row for _, row in sorted(state[table].items())]


def told(row: dict[str, Any], *more: str) -> dict[str, Any]:
    hidden = {*PROVENANCE, *more, *(("occurred_at",) if "nik" in row else ())}
    return {name: value for name, value in row.items() if name not in hidden}
