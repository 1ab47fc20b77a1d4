"""`rekam audit …`: what an auditor checks, with an archive, the key on the sheet, and nothing else of ours.

Exit codes of their own: 0 ok, 3 invalid, 4 inconclusive.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from events.clock import wall_millis
from events.errors import BadConfiguration, BadInput, LostData, Refused, Unavailable, WrongUsage
from replicator.auditing import consistency as proofs
from replicator.auditing.evidence import KIND as EVIDENCE
from replicator.auditing.report import KIND as REPORT
from replicator.auditing.report import Checked, check_report, kind_of, write_report
from replicator.auditing.verifying import Audit, Depth, Scope
from replicator.auditing.verifying import verify as verify_archive
from replicator.keys import write_key_file
from replicator.note import Verifier
from replicator.outcome import Outcome
from services.auditing import Auditing, auditing, verifiers
from services.cli.options import AtOption, HomeOption, JsonOption, home_folder
from services.cli.output import complain, print_json, progress, say, show
from services.cli.showing_evidence import show_evidence
from services.evidence import evidence_of, zone_of
from services.home import Home
from services.moments import show_millis
from services.settings import FILE_NAME

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
    audit.command("consistency")(consistency)
    audit.command("evidence")(evidence)
    audit.command("check")(check)
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
    witness: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Ask this witness for the newest checkpoint that it cosigned."),
    ] = None,
    witness_key: Annotated[
        str | None,
        typer.Option(metavar="WITNESS-KEY", help="The witness's key, without a home that names it."),
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
    if witness is not None:
        about = _asked(about, witness, witness_key)
    records = depth is Depth.RECORDS
    scope = Scope(
        depth, about.verifiers, about.outside, about.cosigned, workers=workers or os.cpu_count() or 1
    )
    started = wall_millis()
    with progress("bytes") as advance:
        found = verify_archive(about.opener(secret=records), scope, lambda _, size: advance(size))
    signed = _write_report(about, found, started, report) if report else None
    if as_json:
        print_json({**found.to_json(), "report_signed": signed})
    else:
        _show(about, found)
    raise typer.Exit(found.outcome.exit_code)


def _asked(about: Auditing, url: str, key: str | None) -> Auditing:
    """A witness that says nothing attests nothing: the audit itself goes on."""
    try:
        return about.with_word_of(url, key)
    except (Unavailable, LostData, Refused) as error:
        if isinstance(error, BadConfiguration):
            raise
        say(f"warning: the witness attests nothing: {error}")
        return about


def _refuse_inside(about: Auditing, report: Path | None) -> None:
    if report is None or "://" in about.settings.url:
        return
    place = (about.folder / Path(about.settings.url).expanduser()).resolve()
    if report.resolve().is_relative_to(place):
        raise WrongUsage("what an audit writes is kept outside the archive", "name a file elsewhere")


def _write_report(about: Auditing, found: Audit, started: int, path: Path) -> bool:
    signer = about.signer()
    data = write_report(found, started, wall_millis(), signer)
    _write(path, data)
    if signer is None:
        say(f"warning: {path} is not signed: there is no signing key here")
    return signer is not None


def _show(about: Auditing, found: Audit) -> None:
    counts = found.counts
    time = show_millis(found.time, about.home.zone) if about.home and found.time is not None else found.time
    show(f"{found.outcome.value.upper()}: {found.origin or 'an archive'}")
    stands = (
        f"Checkpoint {found.checkpoint}, complete through {time}" if found.checkpoint else "No checkpoint"
    )
    show(
        f"{stands}. Looked at {counts.objects:,} objects, "
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


def consistency(
    first: Annotated[
        str, typer.Argument(help="The earlier checkpoint: its number, or a file with its note.")
    ],
    second: Annotated[str, typer.Argument(help="The later one.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="The proof (else stdout).")
    ] = None,
    home: HomeOption = None,
    archive: PlaceOption = None,
    endpoint: EndpointOption = None,
    key: KeyOption = None,
) -> None:
    """Prove that an earlier checkpoint's history is a prefix of a later one's. Exit code 3 where it is not."""
    about = auditing(
        home_folder(home), archive=archive, endpoint=endpoint, key=key, identity=None, since=None
    )
    if not about.verifiers:
        raise WrongUsage("no verification key", "give the one on the printed sheet with --key")
    store, _ = about.opener(secret=False)()
    try:
        leaves = proofs.Leaves(store, about.verifiers)
        notes = [
            n if isinstance(n, bytes) else leaves.note(n) for n in map(proofs.note_or_number, (first, second))
        ]
        data = proofs.prove(leaves, notes[0], notes[1])
    except LostData as error:
        complain(error)
        raise typer.Exit(Outcome.INVALID.exit_code) from None
    if output is None:
        show(data.decode().rstrip("\n"))
        return
    _write(output, data)
    show(f"{output}: check it with 'rekam audit check {output} --key KEY'")


def evidence(
    patient: Annotated[
        str, typer.Argument(metavar="PATIENT", help="A stream, medical record number, NIK or FHIR id.")
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="FILE", help="A new file; it holds the record in the clear."),
    ],
    home: HomeOption = None,
    at: AtOption = None,
    archive: PlaceOption = None,
    endpoint: EndpointOption = None,
    key: KeyOption = None,
    identity: IdentityOption = None,
) -> None:
    """One patient's archived events with their proofs, in one file that discloses no other patient."""
    about = auditing(
        home_folder(home), archive=archive, endpoint=endpoint, key=key, identity=identity, since=None
    )
    _refuse_inside(about, output)
    if output.exists():
        raise Refused(f"{output} exists already", "name a new file")
    data = evidence_of(about, patient, at)
    write_key_file(output, data.decode())
    show(f"{output}: {len(data):,} bytes, with the patient's record in the clear.")
    show(f"Anybody checks it with: rekam audit check {output} --key '{about.verifiers[0]}'")


def check(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A report, a proof of consistency, a patient's evidence.")
    ],
    key: KeyOption = None,
    home: HomeOption = None,
    files: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where a patient's attached files go, named by their SHA-256."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Verify what an audit wrote, offline, with the key on the sheet alone. Exit code 0, 3 or 4."""
    folder = home_folder(home)
    place = Home.open(folder) if key is None and (folder / FILE_NAME).exists() else None
    known = verifiers(place, key)
    if not known:
        raise WrongUsage("no verification key", "give the one on the printed sheet with --key")
    try:
        data = file.read_bytes()
    except OSError as error:
        raise BadInput(f"{file} cannot be read: {error.strerror}") from None
    kind = kind_of(data)
    if kind == EVIDENCE:
        outcome = show_evidence(data, known[0], str(file), zone_of(place), as_json, files)
        raise typer.Exit(outcome.exit_code)
    judge = {REPORT: check_report, proofs.KIND: proofs.check_consistency}.get(kind, _nothing_of_ours)
    found = judge(data, known[0], str(file))
    if as_json:
        print_json({"outcome": found.outcome.value, "reasons": list(found.reasons), "told": found.told})
    else:
        show(f"{found.outcome.value.upper()}: {kind or file}")
        for name, value in found.told.items():
            if not isinstance(value, (dict, list)) and "\n" not in str(value):
                show(f"  {name}: {value}")
        for reason in found.reasons:
            show(f"  {reason}")
    raise typer.Exit(found.outcome.exit_code)


def _nothing_of_ours(data: bytes, verifier: Verifier, where: str) -> Checked:
    return Checked(Outcome.INVALID, ("it is nothing that 'rekam audit' wrote, or it was edited",), {})


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror}") from None
