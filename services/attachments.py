"""Attaching files to a patient's record, listing them, and reading them back.

The file is kept first and durably, then the event that names it is appended: an acknowledged document has its file. A
document's id, and the key of its command, derive from whose it is, what the file holds and what was said of it: the
same again, after a kill too, is the same document.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from events.attachments import Attachments, Kept, refuse_large
from events.client import Appended, Client, Draft
from events.codec import decode_event
from events.envelope import derive_id
from events.errors import BadInput, Corrupt, Refused
from events.payloads.care import DocumentAttached
from events.payloads.common import Coding
from projections.parts import VOID
from projections.store import Tables
from services.fhir.documents import file_of
from services.fhir.exact_json import parse
from services.fhir.exporting import original_text

LOINC = "http://loinc.org"
MEDIA_TYPES_BY_SUFFIX = {
    ".dcm": "application/dicom",
    ".htm": "text/html",
    ".html": "text/html",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".md": "text/markdown",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".rtf": "application/rtf",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".txt": "text/plain",
    ".xml": "application/xml",
}
"""What the name of a file says that it is."""


@dataclass(frozen=True)
class Wanted:
    """A file to attach, and what is said of it."""

    content: bytes
    media_type: str
    title: str | None = None
    kind: str | None = None
    """A LOINC code (`59284-0`, a consent), `system|code`, or words of the clinic's own."""
    encounter_id: str | None = None
    author: str | None = None
    """Who wrote it, a practitioner's record_id; who attached it, the event says."""


def attach(
    tables: Tables,
    client: Client,
    files: Attachments,
    stream: str,
    wanted: Wanted,
    actor: Mapping[str, str],
    now: int,
) -> Appended:
    """Keeps the file and appends its document; `now`: microseconds UTC. The same again gives the earlier outcome.

    Raises Refused where the encounter is not in the record, Erased, TooLarge, and as `Client.append`.
    """
    if wanted.encounter_id is not None and wanted.encounter_id not in _ids(tables, stream, "encounters"):
        raise Refused("the record has no such encounter", "'rekam show PATIENT' lists them")
    described = _described(stream, wanted)
    payload = described.model_copy(update=files.keep(stream, wanted.content)._asdict())
    draft = Draft(payload.to_payload(), now, actor)
    return client.append(stream, lambda head: draft, key=f"attach {payload.record_id}", reapply=True)


def _described(stream: str, wanted: Wanted) -> DocumentAttached:
    """All of it but where the file is kept. Raises BadInput before anything is."""
    content_sha256 = hashlib.sha256(wanted.content).digest()
    said = json.dumps([wanted.media_type, wanted.title, wanted.kind, wanted.encounter_id, wanted.author])
    code, text = kind_of(wanted.kind)
    try:
        return DocumentAttached(
            record_id=derive_id("document", stream, content_sha256, said).hex(),
            encounter_id=wanted.encounter_id,
            status="current",
            code=code,
            text=text,
            title=wanted.title,
            media_type=wanted.media_type,
            size_bytes=len(wanted.content),
            content_sha256=content_sha256,
            practitioner=wanted.author,
        )
    except ValidationError as error:
        field = str(error.errors(include_url=False, include_input=False)[0]["loc"][0])
        raise BadInput(f"the {field} cannot be recorded", "it is too long, or no text") from None


def kind_of(text: str | None) -> tuple[Coding | None, str | None]:
    """(code, words) of what a person typed: a LOINC code, `system|code`, or words. Raises BadInput."""
    if text is None:
        return None, None
    system, bar, code = text.partition("|")
    if not bar:
        if not _is_loinc(text):
            return None, text
        system, code = LOINC, text
    try:
        return Coding(system=system, code=code), None
    except ValueError:
        raise BadInput("the kind is no code", "give a LOINC code, 'system|code', or words") from None


def _is_loinc(text: str) -> bool:
    number, dash, check = text.partition("-")
    return bool(dash) and number.isascii() and number.isdigit() and check.isdigit() and len(check) == 1


def media_type_of(path: Path, given: str | None, allowed: Collection[str]) -> str:
    """What a file is, as it was said or as its name ends. Raises BadInput where that is not taken."""
    if path.is_dir():
        raise BadInput(f"{path} is a folder", "name one file in it")
    found = given or MEDIA_TYPES_BY_SUFFIX.get(path.suffix.lower())
    if found is None:
        raise BadInput("its name does not say what the file is", "say it with --media-type application/pdf")
    if found.lower() not in allowed:
        raise BadInput(
            f"files of type {found} are not taken",
            f"attachments.media_types in rekam.toml names those that are: {', '.join(sorted(allowed))}",
        )
    return found.lower()


def read_file(path: Path, limit_bytes: int) -> bytes:
    """Raises BadInput (TooLarge) before a large file is read."""
    try:
        size = path.stat().st_size
        refuse_large(size, limit_bytes)
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}", "name a file that is there") from None
    if not content:
        raise BadInput(f"{path} is empty", "was it saved? scan it again, or name another file")
    return content


def _ids(tables: Tables, stream: str, name: str) -> set[str]:
    table = next(table for table in tables.definition.tables if table.name == name)
    at = [column.name for column in table.columns].index("record_id")
    return {row[at] for row in tables.rows(table, stream)}


# ---- reading


def documents_in(record: Mapping[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The rows of a record's documents, in the order in which they came."""
    return sorted(record["documents"], key=lambda row: row["version"])


def one_document(rows: list[dict[str, Any]], text: str) -> dict[str, Any]:
    """The document that `text` names: its id, or the beginning of one. Raises Refused."""
    found = [row for row in rows if row["record_id"] == text]
    found = found or [row for row in rows if text and row["record_id"].startswith(text)]
    if len(found) != 1:
        what = "no such document is" if not found else f"{len(found)} such documents are"
        raise Refused(f"{what} in this record", "'rekam attachments PATIENT' lists them")
    if found[0]["status"] == VOID:
        raise Refused("this document was entered in error", "'rekam history PATIENT' tells when")
    return found[0]


def content_of(tables: Tables, files: Attachments, stream: str, row: Mapping[str, Any]) -> bytes:
    """A document's file: from its blob, or from its event where it is small enough to stand there.

    Raises BlobMissing, NoKey, Corrupt, Unavailable.
    """
    if row["blob_sha256"] is not None:
        return files.read(stream, Kept(row["blob_sha256"], row["content_sha256"], row["size_bytes"]))
    event = next(e for e in tables.journal(stream) if e.event_id == row["event_id"])
    return _in_original(tables.reveal(decode_event(event.value)).payload[1], row["content_sha256"])


def _in_original(fields: Mapping[str, Any], content_sha256: bytes) -> bytes:
    found = file_of(parse(original_text(fields["origin"]).decode())) if fields.get("origin") else None
    if found is None or hashlib.sha256(found[1].content).digest() != content_sha256:
        raise Corrupt("the event does not hold the file that it names", "'rekam audit verify' looks further")
    return found[1].content
