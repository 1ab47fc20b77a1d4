"""The parts of a record's row: which columns a field of a payload becomes, and the function that fills them.

A table of records lists its parts once (`projections.tables`); columns and fold follow from the same list, so they
cannot disagree. A coding becomes three columns, a quantity four, a list or a nested record one JSON document.
The row functions are compiled, because replay calls one for almost every event.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

import sqlalchemy as sa

from events.avro_schema import field_name
from events.envelope import Event
from projections.columns import (
    Boolean,
    Dec,
    Digest,
    Document,
    Id,
    Instant,
    Integer,
    Text,
    column,
    state_table,
)
from projections.rows import Row

RowOf: TypeAlias = Callable[[Event], Row]

CURRENT = "current"
VOID = "entered-in-error"


class Part(NamedTuple):
    """A field of a payload and the columns that it becomes."""

    field: str
    columns: tuple[sa.Column[Any], ...]
    members: tuple[str, ...] = ()
    """Of a coding or a quantity: which of its members goes into which column."""
    document: bool = False


def text(name: str) -> Part:
    return Part(name, (column(name, Text()),))


def decimal(name: str) -> Part:
    return Part(name, (column(name, Dec()),))


def integer(name: str) -> Part:
    return Part(name, (column(name, Integer()),))


def instant(name: str) -> Part:
    return Part(name, (column(name, Instant()),))


def digest(name: str) -> Part:
    return Part(name, (column(name, Digest()),))


def boolean(name: str) -> Part:
    return Part(name, (column(name, Boolean()),))


def document(name: str) -> Part:
    """A list or a nested record, as canonical JSON; null where it is empty or absent."""
    return Part(name, (column(name, Document()),), document=True)


def coding(name: str) -> Part:
    """`code` becomes code_system, code, code_display; any other x becomes x_system, x_code, x_display."""
    names = (f"{name}_system", name if name == "code" else f"{name}_code", f"{name}_display")
    return Part(name, tuple(column(n, Text()) for n in names), ("system", "code", "display"))


def quantity(name: str) -> Part:
    """x becomes x_value, x_unit, x_unit_code, x_comparator."""
    columns = (
        column(f"{name}_value", Dec()),
        *(column(f"{name}_{n}", Text()) for n in ("unit", "unit_code", "comparator")),
    )
    return Part(name, columns, ("value", "unit", "code", "comparator"))


def record_table(metadata: sa.MetaData, name: str, *parts: Part, comment: str) -> sa.Table:
    """A table of records, one row a record_id, which an EnteredInError (or a void) can mark.

    `event_id` and `version` are the event that gave the row its content, `voided_by` the one that marked it.
    """
    table = state_table(
        metadata,
        name,
        ("record_id",),
        column("record_id", Text(), nullable=False),
        column("status", Text(), nullable=False),
        column("voided_by", Id()),
        column("event_id", Id(), nullable=False),
        column("version", Integer(), nullable=False),
        column("occurred_at", Instant(), nullable=False),
        *(c for part in parts for c in part.columns),
        comment=comment,
    )
    table.info["parts"] = parts
    return table


RECORD_COLUMNS = 7
"""stream, record_id, status, voided_by, event_id, version, occurred_at: of every table of records."""
STATUS, VOIDED_BY = 2, 3


def voided(row: Row, event: Event) -> Row:
    """The row marked by an event that voids it; its content stays."""
    return (*row[:STATUS], VOID, event.event_id, *row[VOIDED_BY + 1 :])


def to_document(value: Any) -> str | None:
    """Canonical JSON of a list or a nested record: sorted keys, no spaces; None for what is empty or absent."""
    if not value:
        return None
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def compile_row(
    parts: Sequence[Part], status: str | None = None, *, status_from: str = "status", voidable: bool = True
) -> RowOf:
    """event -> its row. `status`: a new row's status where the payload has none, else it is in `status_from`.
    A row that is not `voidable` has neither status nor voided_by."""
    first = ["record_id"] + ([status_from] if voidable and status is None else [])
    taken = [*first, *(part.field for part in parts)]
    names = [f"f{n}" for n in range(len(taken))]
    lines = [
        "def row(event):",
        "    event_id, _, stream, version, _, occurred_at, _, _, _, _, (_, f) = event",
    ]
    lines.append(f"    {', '.join(names)} = take(f)")
    values = ["stream", "f0"]
    if voidable:
        values += ["f1" if status is None else repr(status), "None"]
    values += ["event_id", "version", "occurred_at"]
    for part, name in zip(parts, names[len(first) :], strict=True):
        if part.members:
            each = [f"{name}_{m}" for m in range(len(part.members))]
            members = ", ".join(f"{name}[{field_name(member)!r}]" for member in part.members)
            lines += [f"    if {name} is None:", f"        {' = '.join(each)} = None"]
            lines += ["    else:", f"        {', '.join(each)} = {members}"]
            values += each
        else:
            values.append(f"document({name}) if {name} else None" if part.document else name)
    lines.append(f"    return ({', '.join(values)})")
    space: dict[str, Any] = {"document": to_document, "take": itemgetter(*taken)}
    exec(compile("\n".join(lines), "<row of parts>", "exec"), space)
    made: RowOf = space["row"]
    return made
