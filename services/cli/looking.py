"""`rekam show`, `history`, `digest`, `status`: reading, which changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Annotated, Any

import typer

from events.errors import LogMissing, Unavailable
from events.log import EventLog
from projections.continuity import known_rewinds
from projections.digest import digest as digest_of
from projections.digest import digest_at
from projections.store import Tables
from services.cli.options import AtOption, HomeOption, JsonOption, open_home
from services.cli.output import print_json, say, show, show_table
from services.home import Home
from services.moments import parse_moment, show_micros
from services.patients import erased_words, one_patient, one_stream, refuse_restricted
from services.projecting import catch_up_whole
from services.records import Record, event_json, history_of, record_of
from services.times import Moment, resolve_for_reading
from services.watching.looking import whole_status

PatientArgument = Annotated[
    str, typer.Argument(metavar="PATIENT", help="A stream, medical record number, NIK or FHIR id.")
]


def register(app: typer.Typer) -> None:
    app.command("show")(show_)
    app.command("history")(history)
    app.command("digest")(digest)
    app.command("status")(status)


def show_(
    patient: PatientArgument, home: HomeOption = None, at: AtOption = None, as_json: JsonOption = False
) -> None:
    """One patient's record, now or as it stood at a time."""
    place = open_home(home)
    with reading(place) as (log, tables):
        stream, record = record_asked(place, log, tables, patient, at)
    if as_json:
        print_json({"patient": stream, "at": at, "tables": _for_people(record, place, exact=True)})
        return
    for name, rows in _for_people(record, place, exact=False).items():
        show(f"\n{name} ({len(rows):,})")
        for row in rows:
            show("  " + "  ".join(f"{column}: {value}" for column, value in row.items() if value is not None))


def record_asked(
    place: Home, log: EventLog | None, tables: Tables, patient: str, at: str | None
) -> tuple[str, Record]:
    """(stream, rows) of the patient whom `patient` names, as at `at`. Raises Refused where their data is restricted."""
    stream = one_patient(tables, patient)
    with closing(place.patient_keys()) as keys:
        refuse_restricted(keys, stream)
        if (erased := erased_words(keys, stream)) is not None:
            say(f"note: {erased}")
    return stream, record_of(tables, stream, moment_asked(place, log, tables, at))


def history(
    patient: PatientArgument, home: HomeOption = None, at: AtOption = None, as_json: JsonOption = False
) -> None:
    """Every event about one patient, in the order of the log, and whether it took effect."""
    place = open_home(home)
    with reading(place) as (log, tables):
        stream = one_stream(tables, patient)
        events = history_of(tables, stream, moment_asked(place, log, tables, at))
    rows = [event_json(event, lambda micros: show_micros(micros, place.zone)) for event in events]
    if as_json:
        print_json({"patient": stream, "at": at, "events": rows})
        return
    columns = ["version", "verdict", "type", "occurred_at", "logged_at", "actor", "event_id"]
    show_table(columns, ([row[c] for c in columns] for row in rows))


def digest(home: HomeOption = None, at: AtOption = None, as_json: JsonOption = False) -> None:
    """A SHA-256 of each table's content, now or as it stood: the same wherever and however it was made."""
    place = open_home(home)
    with reading(place) as (log, tables):
        moment = moment_asked(place, log, tables, at)
        if moment is None:
            found = digest_of(tables)
        else:
            found = digest_at(place.log_opener(), moment.position, reveal=tables.reveal)
    if as_json:
        print_json(found)
        return
    show_table(
        ["table", "rows", "digest"], ([n, f"{t['rows']:,}", t["digest"]] for n, t in found["tables"].items())
    )


def status(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """How log, tables and archive stand, in plain words; exit code 1 where something is wrong."""
    place = open_home(home)
    found, witnesses = whole_status(place)
    if as_json:
        print_json({**found.to_json(), "witnesses": witnesses})
    else:
        for line in found.in_words(place.zone):
            show(line)
    raise typer.Exit(0 if found.well else 1)


@contextmanager
def reading(place: Home) -> Iterator[tuple[EventLog | None, Tables]]:
    """The tables, brought to the log's end where there is a log; as they stand where there is none."""
    with closing(place.tables()) as tables:
        try:
            log = place.log()
        except (LogMissing, Unavailable) as error:
            say(f"warning: {error.message}; showing the tables as they stand")
            yield None, tables
            return
        with closing(log):
            catch_up_whole(place.log_opener(), log, tables)
            yield log, tables


def moment_asked(place: Home, log: EventLog | None, tables: Tables, at: str | None) -> Moment | None:
    if at is None:
        return None
    if log is None:
        raise LogMissing("a past moment needs the log", "bring it back with 'rekam recover --to latest'")
    moment = resolve_for_reading(
        place, log, parse_moment(at, place.zone, place.clock()), known_rewinds(log, tables), place.zone
    )
    if not moment.final:
        say("note: no checkpoint covers that moment yet, so late records may still change it")
    return moment


def _for_people(record: dict[str, list[dict[str, Any]]], place: Home, *, exact: bool) -> dict[str, Any]:
    """Rows with ids as hex and times in the clinic's zone; without `exact`, ids are left out."""
    return {name: [_row(row, place, exact) for row in rows] for name, rows in record.items() if rows or exact}


def _row(row: dict[str, Any], place: Home, exact: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, bytes):
            if exact:
                found[name] = value.hex()
        elif exact or name != "stream":
            is_time = name.endswith("_at") and isinstance(value, int)
            found[name] = show_micros(value, place.zone) if is_time else value
    return found
