"""`rekam find`: the events of somebody, of a type, of a time; and the minutes in which much happened at once."""

from __future__ import annotations

from typing import Annotated

import typer

from events.catalogue import event_types
from events.envelope import short_type
from events.errors import WrongUsage
from events.rules import Verdict
from projections.finding import Burst, Sought, bursts, count_events, find_events
from services.cli.looking import reading
from services.cli.options import HomeOption, JsonOption, open_home
from services.cli.output import print_json, say, show_table
from services.home import Home
from services.moments import parse_moment, show_micros
from services.patients import one_stream
from services.records import event_json

MICROS = 1000
MOST = 1_000_000
"""Rows that are shown at most: they are held in memory."""


def register(app: typer.Typer) -> None:
    app.command("find")(find)


def find(
    patient: Annotated[
        str | None, typer.Argument(metavar="[PATIENT]", help="Only of this patient, as for `show`.")
    ] = None,
    actor: Annotated[
        str | None, typer.Option("--actor", help="Only by this actor: the id, or role:id as it is shown.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--type", help="Only of this type, or of this family: `billing`.")
    ] = None,
    verdict: Annotated[
        Verdict | None, typer.Option("--verdict", help="Only those of which this became.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Only from this time on ('2 hours ago').")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Only up to this time.")
    ] = None,
    minutes: Annotated[
        bool, typer.Option("--bursts", help="The minutes in which one actor did most of one thing.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=MOST, help="How many at most.")] = 20,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the moment before something went wrong: `recover --before EVENT` goes there."""
    place = open_home(home)
    with reading(place) as (_, tables), tables.reading():
        sought = Sought(
            stream=None if patient is None else one_stream(tables, patient),
            actor=actor,
            types=None if kind is None else types_named(kind),
            verdict=None if verdict is None else verdict.value,
            since=_micros(place, since),
            until=_micros(place, until, last=True),
        )
        if minutes:
            _show_bursts(place, bursts(tables, sought, limit), as_json)
            return
        found, total = find_events(tables, sought, limit), count_events(tables, sought)
    rows = [
        {**event_json(row, lambda micros: show_micros(micros, place.zone)), "stream": row.stream}
        for row in found
    ]
    if as_json:
        print_json({"events": rows, "total": total})
        return
    columns = ["logged_at", "type", "verdict", "actor", "stream", "event_id"]
    show_table(columns, ([row[c] for c in columns] for row in rows))
    if total > len(found):
        say(f"The newest {len(found):,} of {total:,}; --limit shows more.")


def _show_bursts(place: Home, found: list[Burst], as_json: bool) -> None:
    rows = [
        {**burst._asdict(), "minute": show_micros(burst.minute, place.zone), "first": burst.first.hex()}
        for burst in found
    ]
    if as_json:
        print_json({"bursts": rows})
        return
    columns = ["minute", "events", "streams", "type", "actor_id", "first"]
    show_table(columns, ([row[c] for c in columns] for row in rows))
    if found:
        say("`rekam recover --before EVENT --dry-run` shows what going back before one of them means.")


def types_named(text: str) -> list[str]:
    """The types that a name, a family, or a family's type means. Raises WrongUsage where it is none."""
    known = [short_type(kind) for kind in event_types()]
    wanted = short_type(text.strip()).lower()
    found = [k for k in known if wanted in (k.lower(), *k.lower().split("."))]
    if not found:
        families = ", ".join(sorted({k.partition(".")[0] for k in known}))
        raise WrongUsage(f"no event type or family is named {text!r}", f"families: {families}")
    return found


def _micros(place: Home, text: str | None, *, last: bool = False) -> int | None:
    """Of a time; with `last`, the last microsecond of its millisecond."""
    if text is None:
        return None
    return parse_moment(text, place.zone, place.clock()) * MICROS + (MICROS - 1 if last else 0)
