"""What `rekam audit check` shows of a patient's evidence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from events.catalogue import SEALED
from events.errors import BadInput, Corrupt
from replicator.auditing.checking import NOT_PROVEN, PROVEN, AttachedFile, Evidence, Proven, check_evidence
from replicator.note import Verifier
from replicator.outcome import Outcome
from services.cli.output import print_json, show, show_table
from services.moments import show_micros, show_millis

COLUMNS = ("version", "verdict", "type", "occurred_at", "logged_at", "actor", "position")


def show_evidence(
    data: bytes, verifier: Verifier, where: str, zone: ZoneInfo, as_json: bool, folder: Path | None = None
) -> Outcome:
    """Checks it and shows what it proves, or why it proves nothing; its attached files go into `folder`."""
    try:
        found = check_evidence(data, verifier, where)
    except Corrupt as error:
        if as_json:
            print_json({"outcome": Outcome.INVALID.value, "reasons": [error.message], "told": {}})
        else:
            show(f"INVALID: {error.message}")
        return Outcome.INVALID
    if folder is not None:
        _extract(found, folder)
    if as_json:
        told = _told(found, zone)
        print_json({"outcome": found.outcome.value, "reasons": list(found.reasons), "told": told})
    else:
        _show(found, zone)
    return found.outcome


def _extract(found: Evidence, folder: Path) -> None:
    """Every file that opens, under its digest: `<SHA-256 of the file>`. Raises BadInput."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in found.files:
            if file.content is not None:
                (folder / file.kept.content_sha256.hex()).write_bytes(file.content)
    except OSError as error:
        raise BadInput(f"{folder} cannot be written: {error.strerror}", "name another folder") from None


def _told(found: Evidence, zone: ZoneInfo) -> dict[str, Any]:
    return {
        "stream": found.stream,
        "at": None if found.at is None else show_millis(found.at, zone),
        "position": found.position.to_json(),
        "origin": found.head.origin,
        "checkpoint": found.manifest.n,
        "complete_through": show_millis(found.manifest.complete_through, zone),
        "root": found.head.root.hex(),
        "stated_by": found.stated_by,
        "rewinds": [{"offset": offset, "epoch": rewind.epoch.hex()} for offset, rewind in found.rewinds],
        "events": [{**_row(one, zone), "payload": _payload(one)} for one in found.events],
        "files": [_file(one) for one in found.files],
        "proven": list(PROVEN),
        "not_proven": list(NOT_PROVEN),
    }


def _show(found: Evidence, zone: ZoneInfo) -> None:
    rows = [_row(one, zone) for one in found.events]
    show_table(COLUMNS, ([row[column] for column in COLUMNS] for row in rows))
    for row, one in zip(rows, found.events, strict=True):
        show(f"\n{row['position']}: {json.dumps(_payload(one), ensure_ascii=False)}")
    for file in found.files:
        how = "opened" if file.content is not None else "sealed" if file.is_there else "not in the file"
        digest = file.kept.content_sha256.hex()
        show(f"\n{file.partition}@{file.offset}: {file.kept.size_bytes:,} bytes, {how}: SHA-256 {digest}")
    when = show_millis(found.manifest.complete_through, zone)
    show(f"\nProven by checkpoint {found.manifest.n} of {found.head.origin},")
    show(f"complete through {when}, root {found.head.root.hex()}:")
    for line in PROVEN:
        show(f"  {line}.")
    by = f"; the first is what {found.stated_by} states by its signature" if found.stated_by else ""
    show(f"Not proven{by}:")
    for line in NOT_PROVEN:
        show(f"  {line}.")
    for reason in found.reasons:
        show(f"Inconclusive: {reason}.")
    at = "" if found.at is None else f", as of {show_millis(found.at, zone)}"
    show(f"{found.outcome.value.upper()}: {len(rows):,} events of {found.stream}{at}.")


def _file(one: AttachedFile) -> dict[str, Any]:
    return {
        "position": f"{one.partition}@{one.offset}",
        "content_sha256": one.kept.content_sha256.hex(),
        "size_bytes": one.kept.size_bytes,
        "blob_sha256": one.kept.blob_sha256.hex(),
        "is_there": one.is_there,
        "opened": one.content is not None,
    }


def _row(one: Proven, zone: ZoneInfo) -> dict[str, Any]:
    event = one.event
    return {
        "version": event.version if event else None,
        "verdict": one.verdict.value if one.verdict else "unreadable",
        "type": event.type if event else None,
        "event_id": event.event_id.hex() if event else None,
        "occurred_at": show_micros(event.occurred_at, zone) if event else None,
        "logged_at": show_millis(one.record.time, zone),
        "actor": f"{event.actor['role']}:{event.actor['id']}" if event else None,
        "position": f"{one.partition}@{one.record.offset}",
    }


def _payload(one: Proven) -> Any:
    """None where it cannot be read: of another release, or sealed and its key is not in the file."""
    event = one.event
    return readable(event.payload[1]) if event and event.payload[0] != SEALED else None


def readable(value: Any) -> Any:
    """Bytes as hex, all the way down."""
    match value:
        case bytes():
            return value.hex()
        case dict():
            return {name: readable(member) for name, member in value.items()}
        case list() | tuple():
            return [readable(item) for item in value]
    return value
