"""`rekam salvage`: what a log held that turned up after it was replaced."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated, Any

import typer

from services.cli.options import HomeOption, JsonOption, confirm, open_home, operator
from services.cli.output import print_json, progress, say, show, show_table
from services.cli.rewinding import EventsOption, PatientsOption, chosen_of, show_reapplied
from services.home import Home
from services.moments import show_millis
from services.salvaging import Salvage, late_log, look_into, salvage, take_files, take_keys, types_of


def register(app: typer.Typer) -> None:
    app.command("salvage")(salvage_)


def salvage_(
    log: Annotated[
        str, typer.Argument(metavar="LOG", help="A home folder or a log's file (best a copy), or kafka://…")
    ],
    patients: PatientsOption = None,
    events: EventsOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Apply everything again.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what a log that turned up late holds beyond the one in use; chosen events are applied again as new ones."""
    place = open_home(home)
    address, beside = late_log(log)
    found = look_into(place, address, place.path)
    if not (patients or events or everything):
        _show(place, found, as_json)
        return
    chosen = chosen_of(patients, events, everything, {late.event.stream for late in found.late}, "that log")
    wanted = [late for late in found.late if chosen.takes(late.event.stream, late.event.event_id)]
    if not yes:
        confirm(
            [f"{len(wanted):,} events are appended, each as a new one on the record as it stands now."],
            as_json,
            first="if that is what you want, ",
        )
    if beside.keys is not None:
        say(f"Taking in patients' keys from {beside.keys}.")
        with closing(place.patient_keys()) as ours:
            take_keys(ours, beside.keys)
    if beside.files is not None:
        say(f"{take_files(place.blobs(), beside.files, wanted):,} attached files taken from {beside.files}.")
    with progress("applying again") as advance:
        done = salvage(place, found, chosen, {"id": operator(), "role": "operator", "system": "cli"}, advance)
    show_reapplied(done, as_json)


def _show(place: Home, found: Salvage, as_json: bool) -> None:
    rows: list[dict[str, Any]] = [
        {
            "stream": stream,
            "events": len(late),
            "first": show_millis(min(one.time for one in late), place.zone),
            "last": show_millis(max(one.time for one in late), place.zone),
            "types": dict(types_of(late)),
            "ids": [one.event.event_id.hex() for one in late],
        }
        for stream, late in found.by_stream()
    ]
    if as_json:
        counts = {"common": found.common.to_json(), "here": found.here, "unreadable": found.unreadable}
        print_json({**counts, "streams": rows})
        return
    columns = ("stream", "events", "first", "last")
    show_table(columns, ([row[c] for c in columns] for row in rows))
    where = ", ".join(f"{p}={n}" for p, n in found.common.items())
    show(f"Both logs hold the same up to {where}.")
    show(f"Beyond: {len(found.late):,} events that were lost, {found.here:,} that are here again.")
    if found.unreadable:
        show(f"{found.unreadable:,} records are no events of ours, or had no effect there.")
    if rows:
        show("--patient STREAM, --event EVENT or --all applies them again.")
