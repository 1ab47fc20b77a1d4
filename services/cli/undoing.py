"""`rekam undo`: one patient's record as it was, by new events; nothing in history is erased."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from events.errors import WrongUsage
from replicator.targets import Target
from services.cli.looking import PatientArgument
from services.cli.options import (
    AfterOption,
    BeforeOption,
    HomeOption,
    JsonOption,
    confirm,
    open_home,
    operator,
)
from services.cli.output import print_json, progress, show
from services.home import Home
from services.moments import show_micros, show_millis
from services.recovery.pointing import point_to
from services.undoing.acting import Request, Undoing, act, prepare
from services.undoing.planning import Plan
from services.undoing.telling import change_words, plan_json


def register(app: typer.Typer) -> None:
    app.command("undo")(undo)


def undo(
    patient: PatientArgument,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="TARGET",
            help="As it stood at a time (ISO 8601, or '2 hours ago'), 'checkpoint N', a backup, a position.",
        ),
    ] = None,
    before: BeforeOption = None,
    after: AfterOption = None,
    actor: Annotated[
        str | None, typer.Option("--actor", help="Only what this actor (its id) did since.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; kept with each event.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring one patient's record back to a moment by new events; everybody else's stays, and so does history."""
    if actor is not None and not actor.strip():
        raise WrongUsage("--actor is empty", "name one as 'rekam history' shows them, without the role")
    place = open_home(home)
    target = point_to(place, to, before, after)
    words = target_words(place, target)
    who = {"id": operator(), "role": "operator", "system": "cli"}
    undoing = prepare(place, Request(patient, target, who, reason.strip() or f"undone: {words}", actor))
    found = {**plan_json(undoing.plan, lambda micros: show_micros(micros, place.zone)), "to": words}
    if dry_run or not undoing.plan.steps:
        _answer(place, undoing, {**found, "appended": 0}, as_json)
        return
    if not yes:
        confirm(plan_words(place, undoing), as_json)
    with progress("undoing") as advance:
        done = act(place, undoing, advance)
    if as_json:
        print_json({**found, "appended": done.events})
    else:
        what = f"the record is {words}" if actor is None else f"what {actor} did since is undone"
        show(f"{done.events:,} events are appended: {what}. Nothing was taken off history.")
        for line in _stays_words(undoing.plan):
            show(line)


def _answer(place: Home, undoing: Undoing, found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    for line in plan_words(place, undoing):
        show(line)


def plan_words(place: Home, undoing: Undoing) -> list[str]:
    """The plan, change by change, and what stays."""
    plan, request = undoing.plan, undoing.request
    whose = f", of what {request.of_actor} did" if request.of_actor else ""
    lines = [f"Patient  {plan.stream}", f"Target   {target_words(place, request.target)}{whose}"]
    for change in plan.changes:
        lines += change_words(change, lambda micros: show_micros(micros, place.zone))
    return [*lines, *_stays_words(plan), _summary(plan)]


def _stays_words(plan: Plan) -> list[str]:
    return [
        f"stays: {' '.join(filter(None, (stays.kind, stays.record_id)))}: {stays.why}" for stays in plan.stays
    ]


def _summary(plan: Plan) -> str:
    if not plan.steps:
        return "Nothing is to be undone."
    return f"{len(plan.steps):,} events are appended; nothing is taken off history."


def target_words(place: Home, target: Target) -> str:
    if target.event is not None:
        return f"as it stood just {'after' if target.inclusive else 'before'} event {target.event.hex()}"
    if target.time is not None:
        return f"as it stood at {show_millis(target.time, place.zone)}"
    return f"as it stood at {target.name or 'that position'}"
