"""An undo in words and as plain values: what each record was, what it is, and what is appended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from events.envelope import short_type
from services.undoing.compensating import Step
from services.undoing.planning import Change, Plan
from services.undoing.state import SET_BY, Fields

ShowTime = Callable[[int], str]
"""Microseconds UTC -> a time for people."""

NAMES = ("code_display", "text", "title", "name", "code", "complaint_text", "medical_record_number")
"""Columns by which people know a record, the first that says something."""
MAX_SHOWN = 60
"""Longer texts are cut in words; --json has them whole."""
_UNSAID = SET_BY | {"record_id", "merged_by", "erased_by", "adjudicated_by", "finalised_by"}


def change_words(change: Change, show_time: ShowTime) -> list[str]:
    """One change for people: what it was then, what it is now, what will be appended."""
    row = change.then or change.now or {}
    name = next((cut(row[column]) for column in NAMES if row.get(column)), "")
    title = " ".join(filter(None, (change.kind, change.record_id, f"({name})" if name else "")))
    appended = ", ".join(kind for kind in map(_type, change.steps))
    lines = [title, *(f"    {line}" for line in _differences(change, show_time))]
    return [*lines, f"    appended: {appended}"]


def _differences(change: Change, show_time: ShowTime) -> Iterator[str]:
    then, now = change.then, change.now
    if then is None:
        yield f"then: not there; now: {_in_words(now or {}, show_time)}"
    elif now is None:
        yield f"then: {_in_words(then, show_time)}; now: not there"
    else:
        names = [name for name in then if name not in _UNSAID and then[name] != now.get(name)]
        for name in names:
            was, is_ = _value(name, then[name], show_time), _value(name, now.get(name), show_time)
            yield f"{name}: then {was}, now {is_}"
        if not names:
            yield "it reads the same; what it was imported from, or was decided by, differs"


def _in_words(row: Fields, show_time: ShowTime) -> str:
    unsaid = ("_system", "_unit_code")
    said = {n: v for n, v in row.items() if n not in _UNSAID and v is not None and not n.endswith(unsaid)}
    return ", ".join(f"{name} {_value(name, value, show_time)}" for name, value in said.items())


def _value(name: str, value: Any, show_time: ShowTime) -> str:
    if value is None:
        return "nothing"
    if name.endswith("_at") and isinstance(value, int):
        return show_time(value)
    if isinstance(value, list):
        return cut("; ".join(" ".join(str(v) for v in item.values() if v) for item in value) or "none")
    return cut(value.hex() if isinstance(value, bytes) else str(value))


def cut(text: str) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= MAX_SHOWN else f"{line[: MAX_SHOWN - 1]}…"


def _type(step: Step) -> str:
    return short_type(step.payload[0])


def plan_json(plan: Plan, show_time: ShowTime) -> dict[str, Any]:
    """Changes with rows as `show --json` has them, ids as hex; `events` is how many are appended."""
    return {
        "patient": plan.stream,
        "version": plan.head.version,
        "events": len(plan.steps),
        "changes": [
            {
                "kind": change.kind,
                "record_id": change.record_id,
                "then": _row(change.then, show_time),
                "now": _row(change.now, show_time),
                "appended": [
                    {"type": _type(step), "of": step.cause.hex() if step.cause else None}
                    for step in change.steps
                ],
            }
            for change in plan.changes
        ],
        "stays": [stays._asdict() for stays in plan.stays],
    }


def _row(row: Fields | None, show_time: ShowTime) -> dict[str, Any] | None:
    if row is None:
        return None
    return {name: _plain(name, value, show_time) for name, value in row.items()}


def _plain(name: str, value: Any, show_time: ShowTime) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    return show_time(value) if name.endswith("_at") and isinstance(value, int) else value
