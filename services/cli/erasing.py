"""`rekam erase`, `rekam restrict`: the end of a patient's record, and the time before it."""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from typing import Annotated

import typer

from events.errors import RekamError, WrongUsage
from services.cli.looking import PatientArgument
from services.cli.options import HomeOption, JsonOption, open_home, operator
from services.cli.output import print_json, say, show, show_table
from services.erasing import Report, Request, enter, until_of
from services.erasing import due as patients_due
from services.erasing import erase as erase_patient
from services.erasing import restrict as restrict_patient
from services.home import Home
from services.moments import show_millis

ReasonOption = Annotated[
    str, typer.Option("--reason", help="Why; kept for ever, so without names and numbers of the patient.")
]


def register(app: typer.Typer) -> None:
    app.command("erase")(erase)
    app.command("restrict")(restrict)
    app.command("due")(due)


def erase(
    patient: PatientArgument,
    reason: ReasonOption,
    home: HomeOption = None,
    order: Annotated[
        str | None, typer.Option("--order", help="What orders it before its time or under legal hold.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Erase a patient for ever: their keys are destroyed and no recovery brings them back. Cannot be undone."""
    place = open_home(home)
    request = _request(patient, reason, order)
    report = erase_patient(
        place,
        request,
        retention_years=place.settings.erasure.retention_years,
        tell=say,
        enter_others=partial(_enter_others, place),
    )
    report = _with_others(place, report)
    until = _day(place, report.backups_until)
    if as_json:
        found = {"patient": report.stream, "keys": list(report.keys), "checkpoint": report.checkpoint}
        found |= {
            "key_backups_until": until,
            "snapshots": report.snapshots,
            "snapshots_until": _day(place, report.snapshots_until),
            "in_the_clear": report.in_the_clear,
            "files": report.files,
        }
        print_json(found)
        return
    for line in _words(place, report, until):
        show(line)


def _day(place: Home, millis: int | None) -> str | None:
    return None if millis is None else show_millis(millis, place.zone)


def _with_others(place: Home, report: Report) -> Report:
    """With the snapshots in further archives, as far as they can be read: the ledger told already where not."""
    for other in place.archives()[1:]:
        with suppress(RekamError):
            if found := len(other.archive().snapshots):
                ends = (report.snapshots_until, until_of(other))
                last = None if None in ends else max(end for end in ends if end is not None)
                report = replace(report, snapshots=report.snapshots + found, snapshots_until=last)
    return report


def _enter_others(place: Home) -> None:
    for other in place.archives()[1:]:
        _enter(other)


def _enter(place: Home) -> None:
    try:
        with closing(place.log()) as log:
            enter(place, log)
    except RekamError as error:
        say(
            f"warning: {place.archive_name}: its ledger will name this erasure once it is shipped to: {error}"
        )


def _words(place: Home, report: Report, until: str | None) -> list[str]:
    lines = [
        f"{report.stream} is erased: {len(report.keys)} keys are destroyed, checkpoint {report.checkpoint} says so.",
        "No recovery brings them back; the proofs of the archive stay valid.",
        "Backups of keys hold nothing of them any more."
        if until is None
        else f"Older backups of keys may hold theirs until {until}; then they are removed.",
    ]
    if report.files:
        lines.append(f"{report.files} attached files were removed from this machine.")
    if report.snapshots:
        last = _day(place, report.snapshots_until)
        when = (
            "The last can go once the holds in rekam.toml are ended"
            if last is None
            else f"The last can go on {last}"
        )
        lines.append(
            f"{report.snapshots} snapshots in the archive were taken before and may hold rows of theirs, which no"
            f" recovery shows. {when}, if backups go on being taken and 'rekam archive prune' is run."
        )
    if report.in_the_clear:
        lines.append(
            f"{report.in_the_clear} events were written before sealing was on: they stay on the log and in the"
            " archive, and nothing shows them."
        )
    return lines


def restrict(
    patient: PatientArgument,
    reason: ReasonOption,
    home: HomeOption = None,
    lift: Annotated[bool, typer.Option("--lift", help="End it.")] = False,
    hold: Annotated[
        bool, typer.Option("--hold", help="A legal hold instead: the record is used, and not erased.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Keep a patient's data without using it: show, export and evidence refuse. No recovery lifts that."""
    place = open_home(home)
    stream = restrict_patient(place, _request(patient, reason, None), hold=hold, lift=lift)
    kind = "hold" if hold else "restriction"
    if as_json:
        print_json({"patient": stream, "kind": kind, "lifted": lift})
    else:
        show(f"{stream}: the {kind} {'is lifted' if lift else 'holds, whatever is recovered'}.")


def due(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the patients whose record need not be kept any longer: nobody is erased without being named."""
    place = open_home(home)
    years = place.settings.erasure.retention_years
    found = patients_due(place, retention_years=years)
    rows = [(d.stream, show_millis(d.last, place.zone), show_millis(d.until, place.zone)) for d in found]
    if as_json:
        named = [{"patient": stream, "last": last, "kept_until": until} for stream, last, until in rows]
        print_json({"retention_years": years, "patients": named})
    elif rows:
        show_table(("patient", "last event", "to be kept until"), rows)
    else:
        show(f"Nobody: a record is kept for {years:g} years after its last event.")


def _request(patient: str, reason: str, order: str | None) -> Request:
    for name, text in (("--reason", reason), ("--order", order)):
        if text is not None and not text.strip():
            raise WrongUsage(f"{name} is empty", "say why: it is what an auditor will read")
    return Request(patient, {"id": operator(), "role": "operator", "system": "cli"}, reason, order)
