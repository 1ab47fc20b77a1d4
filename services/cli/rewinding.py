"""`rekam rewinds …`: what recoveries went back to, what each set aside, and applying some of it again."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.tree import Tree

from events.envelope import Epoch
from events.errors import WrongUsage
from services.cli.options import HomeOption, JsonOption, confirm, open_home, operator
from services.cli.output import out, print_json, progress, say, show, show_table
from services.home import Home
from services.moments import show_micros, show_millis
from services.reapplying import Chosen, Reapplied
from services.recovery.pointing import parse_event_id
from services.rewinds import Aside, Told, reapply, rewinds_of, set_aside_by

PatientsOption = Annotated[
    list[str] | None, typer.Option("--patient", metavar="STREAM", help="All of this stream's. Repeatable.")
]
EventsOption = Annotated[
    list[str] | None, typer.Option("--event", metavar="EVENT", help="This one (its id). Repeatable.")
]
NumberArgument = Annotated[int, typer.Argument(metavar="N", help="Which, as `rewinds list` numbers them.")]


def register(app: typer.Typer) -> None:
    rewinds = typer.Typer(help="What recoveries went back to, and what they set aside.", no_args_is_help=True)
    rewinds.callback()(lambda: None)
    rewinds.command("list")(list_)
    rewinds.command("diff")(diff)
    rewinds.command("reapply")(reapply_)
    app.add_typer(rewinds, name="rewinds")


def list_(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Every recovery that went back: when, who, why, to where, and how many events it set aside; as a tree."""
    place = open_home(home)
    found = rewinds_of(place)
    if as_json:
        print_json({"rewinds": [_json(place, told) for told in found]})
    elif found:
        out.print(_tree(place, found))
    else:
        show("None: no recovery went back yet.")


def _json(place: Home, told: Told) -> dict[str, Any]:
    return {
        "number": told.number,
        "kind": told.kind,
        "time": show_millis(told.time, place.zone),
        "back_to": None if told.back_to is None else show_millis(told.back_to, place.zone),
        "position": told.rewind.target.to_json(),
        "actor": f"{told.actor['role']}:{told.actor['id']}",
        "reason": told.reason,
        "epoch": told.rewind.epoch.hex(),
        "parent": told.parent.hex() if told.parent else None,
        "set_aside": told.set_aside,
        "in_effect": told.current,
    }


def _tree(place: Home, found: list[Told]) -> Tree:
    """Each branch goes on from where it hangs; what is bold is the history in effect."""
    root = Tree("the first record")
    branches: dict[Epoch | None, Tree] = {None: root}
    for told in found:
        style = "bold" if told.current else "dim"
        branches[told.rewind.epoch] = branches[told.parent].add(f"[{style}]{escape(_words(place, told))}[/]")
    branches[found[-1].rewind.epoch].add("now")
    return root


def _words(place: Home, told: Told) -> str:
    when = show_millis(told.time, place.zone)
    if told.kind == "generation":
        what = "the log was lost, and restored as it was archived"
    elif told.back_to is None:
        what = "back to the newest state"
    else:
        what = f"back to {show_millis(told.back_to, place.zone)}"
    why = f", {told.reason!r}" if told.reason else ""
    return f"{told.number}  {when}  {told.actor['id']}: {what}; {told.set_aside:,} events set aside{why}"


def diff(number: NumberArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """What a rewind set aside of each patient."""
    place = open_home(home)
    found = set_aside_by(place, number)
    if as_json:
        print_json({"rewind": number, "streams": [_aside_json(place, aside) for aside in found]})
        return
    show_table(
        ["stream", "events", "in effect again", "from", "to", "types"],
        [
            (aside.stream, aside.events, aside.again or "", *_span(place, aside), _types(aside))
            for aside in found
        ],
    )
    events = sum(aside.events for aside in found)
    say(f"{events:,} events of {len(found):,} streams. `rekam find PATIENT --verdict set-aside` shows them.")


def _span(place: Home, aside: Aside) -> tuple[str, str]:
    return show_micros(aside.first, place.zone), show_micros(aside.last, place.zone)


def _types(aside: Aside) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in sorted(aside.types.items()))


def _aside_json(place: Home, aside: Aside) -> dict[str, Any]:
    first, last = _span(place, aside)
    found = {"stream": aside.stream, "events": aside.events, "again": aside.again}
    return {**found, "types": dict(aside.types), "first": first, "last": last}


def reapply_(
    number: NumberArgument,
    patients: PatientsOption = None,
    events: EventsOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything that it set aside.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Apply chosen events that a rewind set aside again, as new events that name them. The same again is once."""
    place = open_home(home)
    of = set_aside_by(place, number)
    chosen = chosen_of(patients, events, everything, {aside.stream for aside in of}, f"rewind {number}")
    count = len(chosen.event_ids) or sum(
        aside.events for aside in of if not chosen.streams or aside.stream in chosen.streams
    )
    if not yes:
        confirm(
            [
                f"{count:,} events are appended again, each as a new one behind the record as it stands now.",
                "Of the same thing they write over what was written since.",
            ],
            as_json,
            first="if that is what you want, ",
        )
    actor = {"id": operator(), "role": "operator", "system": "cli"}
    with progress("applying again") as advance:
        done = reapply(place, number, chosen, actor, advance)
    show_reapplied(done, as_json)


def chosen_of(
    patients: list[str] | None, events: list[str] | None, everything: bool, there: set[str], where: str
) -> Chosen:
    """Raises WrongUsage unless one of the three is given, and every stream is `there`."""
    if sum(map(bool, (patients, events, everything))) != 1:
        raise WrongUsage("choose what to apply again", "--patient STREAM, --event EVENT or --all")
    chosen = Chosen(frozenset(patients or ()), frozenset(map(parse_event_id, events or ())))
    strange = chosen.streams - there
    if strange:
        raise WrongUsage(
            f"{where} has nothing of {min(strange)} to apply again",
            "name streams (patient-…), as 'rekam rewinds diff N' or 'rekam salvage LOG' lists them",
        )
    return chosen


def show_reapplied(done: Reapplied, as_json: bool) -> None:
    """And ends the command: exit code 1 where something was refused."""
    refused = [{"event": event.hex(), "why": why} for event, why in done.refused]
    if as_json:
        print_json({"applied": done.applied, "again": done.again, "refused": refused})
    else:
        show(f"{done.applied:,} applied again; {done.again:,} were in effect already.")
        for row in refused:
            show(f"refused: {row['event']}: {row['why']}")
    raise typer.Exit(1 if refused else 0)
