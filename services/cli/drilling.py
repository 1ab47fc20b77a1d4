"""`rekam drill`: a rehearsed recovery, kept with what it took. Its exit codes: 0 ok, 3 invalid, 4 inconclusive."""

from __future__ import annotations

from random import Random
from typing import Annotated

import typer

from events.errors import RekamError
from replicator.drills import Drill
from services.backups.verifying import never
from services.cli.options import ArchiveOption, HomeOption, JsonOption, open_home
from services.cli.output import print_json, say, show
from services.drilling import drill, keep
from services.home import Home
from services.moments import parse_moment, show_millis, show_span

MILLIS = 1000


def register(app: typer.Typer) -> None:
    app.command("drill")(drill_)


def drill_(
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="Recover to this moment, not to a random one.")
    ] = None,
    home: HomeOption = None,
    archive: ArchiveOption = None,
    as_json: JsonOption = False,
) -> None:
    """Rehearse a recovery from the archive alone, into scratch, and compare it with the live history: 0, 3 or 4."""
    place = open_home(home, archive)
    target = None if at is None else parse_moment(at, place.zone, place.clock())
    done = drill(place, Random(), never, target, say, place.zone)
    checkpoint = None
    try:
        checkpoint = keep(place, done)
    except RekamError as error:
        say(f"warning: the result could not be kept in the archive: {error}")
    if as_json:
        found = {**done.to_json(), "time": show_millis(done.time, place.zone)}
        found["target"] = show_millis(done.target, place.zone)
        print_json({**found, "checkpoint": checkpoint})
    else:
        _show(place, done)
    raise typer.Exit(done.outcome.exit_code)


def _show(place: Home, done: Drill) -> None:
    show(f"Drill: {done.outcome.value}. Recovered to {show_millis(done.target, place.zone)}.")
    if done.rto_millis:
        show(f"{done.records:,} records, whole again in {show_span(done.rto_millis / MILLIS)} (RTO).")
    show(f"A loss now would have cost {show_span(done.rpo_millis / MILLIS)} (RPO).")
    for line in done.findings:
        show(line)
