"""`rekam import`, `rekam export`, `rekam simulate`: records in and out."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from events.clock import wall_micros
from events.envelope import stream_name
from events.errors import BadInput
from projections.continuity import known_rewinds
from services.cli.options import HomeOption, JsonOption, open_home
from services.cli.output import print_json, progress, say, show, show_table
from services.fhir.exporting import export_fhir
from services.fhir.importing import DEFAULT_SOURCE, Report, import_fhir
from services.fhir.reading import Refusal
from services.fhir.standing import TablesStanding
from services.patients import erased_words, one_patient, refuse_restricted
from services.projecting import catch_up, catch_up_whole, finish_journal
from services.simulation.traffic import simulate as traffic
from services.simulation.writing import newest_epoch, write_simulation

importing = typer.Typer(no_args_is_help=True, help="Bring records in.")
exporting = typer.Typer(no_args_is_help=True, help="Give records out.")


def register(app: typer.Typer) -> None:
    app.add_typer(importing, name="import")
    app.add_typer(exporting, name="export")
    app.command("simulate")(simulate)


@importing.command("fhir")
def import_(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Files or folders; .gz and .xz too.")
    ],
    home: HomeOption = None,
    source: Annotated[
        str, typer.Option(help="Where they come from; the same id from elsewhere is another thing.")
    ] = DEFAULT_SOURCE,
    as_json: JsonOption = False,
) -> None:
    """FHIR R4: NDJSON, Bundles, folders of them. The same again changes nothing; what changed is a correction."""
    place = open_home(home)
    with (
        closing(place.log()) as log,
        closing(place.tables()) as tables,
        closing(place.patient_keys()) as keys,
        progress("importing") as advance,
    ):
        finish_journal(place.log_opener(), tables)
        report = import_fhir(
            paths,
            source=source,
            clinic_stream=stream_name("clinic", place.settings.clinic.id),
            log=log,
            standing=TablesStanding(log, tables),
            clock=wall_micros,
            on_progress=lambda at: advance(at.bytes_read, at.bytes_total),
            on_refusal=_tell_refusal,
            encoder=place.encoder(),
            keep=place.attachments(keys).keep,
        )
    if as_json:
        print_json(report.to_json())
    else:
        _tell(report)
    raise typer.Exit(1 if report.refused else 0)


def _tell_refusal(refusal: Refusal) -> None:
    say(f"refused: {refusal.file}:{refusal.line}: {refusal.reason}")


def _tell(report: Report) -> None:
    types = sorted(report.read)
    show_table(
        ["type", "read", "mapped", "kept whole"],
        ([t, report.read[t], report.mapped[t], report.kept[t]] for t in types),
    )
    show(
        f"{report.appended:,} new events; {report.unchanged:,} were there already; {report.refused:,} refused."
    )


@exporting.command("fhir")
def export(
    patient: Annotated[str, typer.Argument(help="A stream, medical record number, NIK or FHIR id.")],
    home: HomeOption = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="A new file; else stdout.")] = None,
) -> None:
    """One patient's resources as NDJSON: what was imported exactly as it came, what was recorded here built anew."""
    place = open_home(home)
    with closing(place.tables()) as tables, closing(place.patient_keys()) as keys:
        stream = one_patient(tables, patient)
        refuse_restricted(keys, stream)
        if (erased := erased_words(keys, stream)) is not None:
            say(f"note: {erased}")
        read = partial(place.attachments(keys).read, stream)
        lines = (one.text + b"\n" for one in export_fhir(tables, stream, read))
        if output is None:
            sys.stdout.buffer.writelines(lines)
            return
        _write(output, lines)


def _write(output: Path, lines: Iterable[bytes]) -> None:
    """A new file, whole or not at all."""
    try:
        with output.open("xb") as file:
            try:
                file.writelines(lines)
            except BaseException:
                output.unlink()
                raise
    except OSError as error:
        raise BadInput(f"{output} cannot be written: {error.strerror}", "name a new file") from None


def simulate(
    home: HomeOption = None,
    patients: Annotated[int, typer.Option(min=1, help="How many patients.")] = 100,
    events: Annotated[int, typer.Option(min=1, help="How many events.")] = 5_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same events.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """A deterministic Indonesian clinic's traffic, to try things out. The same again changes nothing."""
    place = open_home(home)
    with closing(place.log()) as log, closing(place.tables()) as tables, progress("simulating") as advance:
        catch_up_whole(place.log_opener(), log, tables)
        known = known_rewinds(log, tables)
        written = write_simulation(
            log,
            traffic(patients, events, seed, epoch=newest_epoch(log, known)),
            tables.heads,
            seed,
            known=known,
            progress=lambda done: advance(done, events),
            encoder=place.encoder(),
        )
        catch_up(log, tables)
    if as_json:
        print_json(written._asdict())
    else:
        show(
            f"{written.events:,} events and {written.access:,} views written; {written.skipped:,} were there already."
        )
