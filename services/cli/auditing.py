"""`rekam audit …`: what an auditor checks, with an archive, the key on the sheet, and nothing else of ours.

Exit codes of their own: 0 ok, 3 invalid, 4 inconclusive.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from events.clock import wall_millis
from events.errors import BadInput, WrongUsage
from replicator.auditing.findings import Outcome
from replicator.auditing.report import write_report
from replicator.auditing.verifying import Audit, Depth, Scope
from replicator.auditing.verifying import verify as verify_archive
from services.auditing import Auditing, auditing
from services.cli.options import HomeOption, JsonOption, home_folder
from services.cli.output import print_json, progress, say, show
from services.moments import show_millis

SHOWN = 20
"""Findings and orphans that are shown; --json and the report hold more."""

PlaceOption = Annotated[
    str | None,
    typer.Option("--archive", metavar="PLACE", help="A name in rekam.toml, a folder, or s3://bucket/prefix."),
]
EndpointOption = Annotated[str | None, typer.Option(help="The S3 server, where it is not AWS.")]
KeyOption = Annotated[
    str | None,
    typer.Option(metavar="VERIFICATION-KEY", help="The key on the printed sheet (else rekam.toml's)."),
]
IdentityOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="The owner's file, or an age identity: opens records.")
]


def register(app: typer.Typer) -> None:
    audit = typer.Typer(
        help="Check an archive, and what it proves.",
        epilog="Exit codes: 0 ok, 3 invalid, 4 inconclusive; else as everywhere.",
        no_args_is_help=True,
    )
    audit.command("verify")(verify)
    app.add_typer(audit, name="audit")


def verify(
    home: HomeOption = None,
    archive: PlaceOption = None,
    endpoint: EndpointOption = None,
    key: KeyOption = None,
    identity: IdentityOption = None,
    since: Annotated[
        Path | None,
        typer.Option(metavar="CHECKPOINT-FILE", help="A note of this archive that was kept elsewhere."),
    ] = None,
    depth: Annotated[
        Depth, typer.Option(help="objects: stored bytes and the tree; records: every record too.")
    ] = Depth.OBJECTS,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a report, signed where the home has a key.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that read records (else one a processor).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Read an archive again, whole, and say whether anything in it was changed. Exit code 0, 3 or 4."""
    about = auditing(
        home_folder(home), archive=archive, endpoint=endpoint, key=key, identity=identity, since=since
    )
    _refuse_inside(about, report)
    records = depth is Depth.RECORDS
    scope = Scope(depth, about.verifiers, about.outside, workers=workers or os.cpu_count() or 1)
    started = wall_millis()
    with progress("bytes") as advance:
        found = verify_archive(about.opener(secret=records), scope, lambda _, size: advance(size))
    signed = _write_report(about, found, started, report) if report else None
    if as_json:
        print_json({**found.to_json(), "report_signed": signed})
    else:
        _show(about, found)
    raise typer.Exit(found.outcome.exit_code)


def _refuse_inside(about: Auditing, report: Path | None) -> None:
    if report is None or "://" in about.settings.url:
        return
    place = (about.folder / Path(about.settings.url).expanduser()).resolve()
    if report.resolve().is_relative_to(place):
        raise WrongUsage("a report is kept outside the archive", "name a file elsewhere")


def _write_report(about: Auditing, found: Audit, started: int, path: Path) -> bool:
    signer = about.signer()
    data = write_report(found, started, wall_millis(), signer)
    try:
        path.write_bytes(data)
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror}") from None
    if signer is None:
        say(f"warning: {path} is not signed: there is no signing key here")
    return signer is not None


def _show(about: Auditing, found: Audit) -> None:
    counts = found.counts
    time = show_millis(found.time, about.home.zone) if about.home and found.time is not None else found.time
    show(f"{found.outcome.value.upper()}: {found.origin or 'an archive'}")
    show(
        f"Checkpoint {found.checkpoint}, complete through {time}. Looked at {counts.objects:,} objects, "
        f"{counts.size_bytes:,} bytes, {counts.checkpoints:,} checkpoints"
        + (f", {counts.records:,} records, {counts.rows:,} rows." if found.depth is Depth.RECORDS else ".")
    )
    if found.attested.by:
        show(f"Attested up to checkpoint {found.attested.checkpoint} by {', '.join(found.attested.by)}.")
    if counts.orphans:
        show(f"{counts.orphans:,} objects are named by no checkpoint, which is harmless.")
    for finding in found.findings.kept[:SHOWN]:
        show(f"  {finding}")
    if len(found.findings) > SHOWN:
        show(f"  and {len(found.findings) - SHOWN:,} more: see --json")
    if found.outcome is not Outcome.OK:
        for reason in found.reasons:
            show(f"  {reason}")
