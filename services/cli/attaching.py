"""`rekam attach`, `attachments`, `attachment`: files in a patient's record."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from events.clock import wall_micros
from events.envelope import ID_BYTES
from events.errors import BadInput, Refused
from events.sealing import PATIENT
from services.attachments import (
    Wanted,
    attach,
    content_of,
    documents_in,
    media_type_of,
    one_document,
    read_file,
)
from services.cli.looking import PatientArgument, reading, record_asked
from services.cli.options import AtOption, HomeOption, JsonOption, open_home, operator
from services.cli.output import print_json, show, show_table
from services.home import Home
from services.moments import show_micros
from services.patients import one_patient
from services.projecting import catch_up, catch_up_whole
from services.writing import client_on

SHORT = 12
"""Digits of a document's id that are shown: the beginning of one names it as well."""


def register(app: typer.Typer) -> None:
    app.command("attach")(attach_)
    app.command("attachments")(attachments)
    app.command("attachment")(attachment)


def attach_(
    patient: PatientArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A scan, a letter, a signed consent.")],
    home: HomeOption = None,
    title: Annotated[str | None, typer.Option(help="Its heading (else the file's name).")] = None,
    kind: Annotated[
        str | None, typer.Option(metavar="CODE", help="A LOINC code, 'system|code', or words: consent.")
    ] = None,
    encounter: Annotated[
        str | None, typer.Option(metavar="ID", help="The record_id of the encounter it belongs to.")
    ] = None,
    author: Annotated[
        str | None, typer.Option(metavar="ID", help="The record_id of the practitioner who wrote it.")
    ] = None,
    media_type: Annotated[
        str | None, typer.Option(metavar="TYPE", help="What it is, where its name does not say: image/jpeg.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Attach a file to a patient's record, sealed as the record is. The same again changes nothing."""
    place = open_home(home)
    limits = place.settings.attachments
    found_type = media_type_of(file, media_type, limits.media_types)
    content, heading = read_file(file, limits.limit_bytes), file.name if title is None else title
    wanted = Wanted(content, found_type, heading, kind, encounter, author)
    actor = {"id": operator(), "role": "operator", "system": "cli"}
    with (
        closing(place.log()) as log,
        closing(place.tables()) as tables,
        closing(place.patient_keys()) as keys,
    ):
        catch_up_whole(place.log_opener(), log, tables)
        stream = one_patient(tables, patient)
        if not stream.startswith(PATIENT):
            raise Refused("files are attached to patients only", "name a patient")
        client = client_on(place, log, tables)
        done = attach(tables, client, place.attachments(keys), stream, wanted, actor, wall_micros())
        catch_up(log, tables)
    fields = done.event.payload[1]
    if as_json:
        told = {"patient": stream, "document": fields["record_id"], "size_bytes": fields["size_bytes"]}
        digests = {name: fields[name].hex() for name in ("content_sha256", "blob_sha256")}
        print_json({**told, **digests, "again": done.again})
    elif done.again:
        show(f"{stream}: document {fields['record_id'][:SHORT]} was there already.")
    else:
        show(f"{stream}: document {fields['record_id'][:SHORT]}, {fields['size_bytes']:,} bytes.")


def attachments(
    patient: PatientArgument, home: HomeOption = None, at: AtOption = None, as_json: JsonOption = False
) -> None:
    """The documents in a patient's record, now or as they stood at a time."""
    place = open_home(home)
    with reading(place) as (log, tables):
        stream, record = record_asked(place, log, tables, patient, at)
    blobs = place.blobs()
    rows = [
        {**_row(place, row), "here": row["blob_sha256"] is None or blobs.holds(row["blob_sha256"])}
        for row in documents_in(record)
    ]
    if as_json:
        print_json({"patient": stream, "at": at, "documents": rows})
        return
    show_table(
        ["document", "date", "kind", "title", "type", "bytes", "status"],
        (
            [
                r["document"][:SHORT] if len(r["document"]) == 2 * ID_BYTES else r["document"],
                r["occurred_at"],
                r["kind"],
                r["title"],
                r["media_type"],
                f"{r['size_bytes']:,}",
                r["status"] if r["here"] else f"{r['status']}, not on this machine",
            ]
            for r in rows
        ),
    )


def _row(place: Home, row: dict[str, Any]) -> dict[str, Any]:
    blob = row["blob_sha256"]
    return {
        "document": row["record_id"],
        "status": row["status"],
        "occurred_at": show_micros(row["occurred_at"], place.zone),
        "kind": row["code"] or row["text"],
        "kind_system": row["code_system"],
        "title": row["title"],
        "media_type": row["media_type"],
        "size_bytes": row["size_bytes"],
        "encounter": row["encounter_id"],
        "author": row["practitioner"],
        "content_sha256": row["content_sha256"].hex(),
        "blob_sha256": None if blob is None else blob.hex(),
    }


def attachment(
    patient: PatientArgument,
    document: Annotated[
        str, typer.Argument(metavar="ID", help="As 'rekam attachments' lists it; its beginning is enough.")
    ],
    home: HomeOption = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="A new file; else stdout.")
    ] = None,
    at: AtOption = None,
) -> None:
    """One document's file, byte for byte as it was attached."""
    place = open_home(home)
    with reading(place) as (log, tables), closing(place.patient_keys()) as keys:
        stream, record = record_asked(place, log, tables, patient, at)
        row = one_document(documents_in(record), document)
        content = content_of(tables, place.attachments(keys), stream, row)
    if output is None:
        sys.stdout.buffer.write(content)
        return
    try:
        with os.fdopen(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
    except OSError as error:
        raise BadInput(f"{output} cannot be written: {error.strerror}", "name a new file") from None
    show(f"{output}: {len(content):,} bytes of {row['media_type']}.")
