"""`rekam backup …`: taking backups, and the catalogue of them."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated, Any

import typer

from events.errors import LostData, RekamError, Unavailable, WrongUsage
from replicator.archive import ArchiveIndex
from replicator.backups import Backup, Kind, full_of, named, newest, read_backups, reading, to_json
from replicator.entries import BackupEntry
from replicator.verifications import Depth, Verification, verified
from services.backups import deleting, retaining
from services.backups.deleting import Deletion, plan_deletion
from services.backups.taking import back_up
from services.backups.verifying import record, verify_backup
from services.cli.options import ArchiveOption, HomeOption, JsonOption, confirm, open_home, operator
from services.cli.output import print_json, say, show, show_table
from services.home import Home
from services.moments import show_millis, show_span

MILLIS = 1000
COLUMNS = ("label", "kind", "complete_through", "events", "new_bytes", "parent", "verified", "note")

NoteOption = Annotated[str, typer.Option(help="Kept in the catalogue, in the clear: name no patient.")]
LabelArgument = Annotated[str, typer.Argument(metavar="LABEL", help="As 'rekam backup list' shows it.")]


def register(app: typer.Typer) -> None:
    backup = typer.Typer(help="Backups: taking them, and the catalogue of them.", no_args_is_help=True)
    backup.command("full")(full)
    backup.command("differential")(differential)
    backup.command("incremental")(incremental)
    backup.command("list")(list_)
    backup.command("show")(show_)
    backup.command("verify")(verify)
    backup.command("delete")(delete)
    backup.command("expire")(expire)
    app.add_typer(backup, name="backup")


def full(
    home: HomeOption = None, note: NoteOption = "", archive: ArchiveOption = None, as_json: JsonOption = False
) -> None:
    """Take a snapshot of the tables and ship all there is, while writers go on."""
    _take(open_home(home, archive), Kind.FULL, note, as_json)


def differential(
    home: HomeOption = None, note: NoteOption = "", archive: ArchiveOption = None, as_json: JsonOption = False
) -> None:
    """Merge what was shipped since the last full backup into few objects, so that a recovery opens few."""
    _take(open_home(home, archive), Kind.DIFFERENTIAL, note, as_json)


def incremental(
    home: HomeOption = None, note: NoteOption = "", archive: ArchiveOption = None, as_json: JsonOption = False
) -> None:
    """Ship now, as 'rekam replicate' does all the time, and keep that in the catalogue."""
    _take(open_home(home, archive), Kind.INCREMENTAL, note, as_json)


def _take(place: Home, kind: Kind, note: str, as_json: bool) -> None:
    with closing(place.log()) as log:
        backup = back_up(place, log, kind, note)
    if as_json:
        print_json(backup_json(place, backup))
        return
    show(
        f"Backup {backup.label}: {backup.events:,} events, complete to "
        f"{show_millis(backup.complete_through, place.zone)}, {backup.new_bytes:,} new bytes, "
        f"in {show_span(backup.duration_millis / MILLIS)}."
    )


def list_(home: HomeOption = None, archive: ArchiveOption = None, as_json: JsonOption = False) -> None:
    """The backups of an archive, and what continuous shipping holds between and behind them."""
    place = open_home(home, archive)
    index = place.archive()
    rows = [_row(place, index, entry) for entry in index.backups]
    shipping = _continuous(place, index)
    if as_json:
        print_json({"backups": rows, "continuous": shipping})
        return
    if rows:
        show_table(COLUMNS, ([_cell(row[c]) for c in COLUMNS] for row in map(_verified_words, rows)))
    else:
        show("No backup was taken yet: rekam backup full")
    if shipping:
        show(
            f"Continuous shipping: any moment from {shipping['from']} to {shipping['to']}, "
            f"{shipping['checkpoints']:,} checkpoints."
        )


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value or "")


def _row(place: Home, index: ArchiveIndex, entry: BackupEntry) -> dict[str, Any]:
    """Of one whose object is lost, what its entry tells: it hides none of the others."""
    verified_json = _verified_json(place, entry, index)
    try:
        (backup,) = read_backups(index, [entry])
    except LostData as error:
        known = {"label": entry.label, "kind": entry.backup, "parent": entry.parent, "note": error.message}
        known["complete_through"] = show_millis(entry.complete_through, place.zone)
        return {**dict.fromkeys(COLUMNS), **known, **verified_json}
    return {**backup_json(place, backup), **verified_json}


def _verified_json(place: Home, entry: BackupEntry, index: ArchiveIndex) -> dict[str, Any]:
    depth, time, failed = verified(entry, index.verifications)
    passed = None if time is None else {"depth": depth, "time": show_millis(time, place.zone)}
    return {"verified": passed, "failed": failed}


def _verified_words(row: dict[str, Any]) -> dict[str, Any]:
    passed = row["verified"]
    words = f"{passed['depth']} {passed['time'][:10]}" if passed else "never"
    return {**row, "verified": f"FAILED ({words})" if row["failed"] else words}


def _continuous(place: Home, index: ArchiveIndex) -> dict[str, Any] | None:
    span = index.restorable
    if span is None:
        return None
    times = {"from": show_millis(span.first, place.zone), "to": show_millis(span.last, place.zone)}
    return {**times, "checkpoints": len(index.marks)}


def show_(
    label: LabelArgument, home: HomeOption = None, archive: ArchiveOption = None, as_json: JsonOption = False
) -> None:
    """One backup, and what restoring it would read now."""
    place = open_home(home, archive)
    index = place.archive()
    entry = named(index.backups, label)
    (backup,) = read_backups(index, [entry])
    found = {
        **backup_json(place, backup),
        **_verified_json(place, entry, index),
        "reads": _reads(index, entry),
    }
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        show(f"{name:<18}{value}")


def _reads(index: ArchiveIndex, entry: BackupEntry) -> dict[str, int]:
    full = full_of(index.backups, entry)
    current = {e.key: e for e in index.entries}
    return reading(index, current, entry.position, full.snapshot if full else None)._asdict()


def backup_json(place: Home, backup: Backup) -> dict[str, Any]:
    """With times as people read them."""
    found = to_json(backup)
    for name in ("begun", "complete_through"):
        found[name] = show_millis(found[name], place.zone)
    found["duration_seconds"] = found.pop("duration_millis") / MILLIS
    return found


def verify(
    label: Annotated[
        str | None, typer.Argument(metavar="[LABEL]", help="Which backup; else the newest.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that counts, and every backup.")] = False,
    depth: Annotated[Depth, typer.Option(help="How deeply: each takes in those before it.")] = Depth.DIGESTS,
    home: HomeOption = None,
    archive: ArchiveOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verify backups up to a depth and keep the result; exit code 3: something is wrong, 4: not all could be seen."""
    if label is not None and everything:
        raise WrongUsage("a LABEL and --all are two things", "give one of them")
    place = open_home(home, archive)
    found = verify_backup(place, None if everything else label or _newest(place), depth, every=everything)
    checkpoint = _kept(place, found)
    if as_json:
        print_json({**found.to_json(), "time": show_millis(found.time, place.zone), "checkpoint": checkpoint})
    else:
        for line in _found_words(found):
            show(line)
    raise typer.Exit(found.outcome.exit_code)


def _newest(place: Home) -> str | None:
    """None where there is no backup, or where the archive cannot be opened: verifying it says why."""
    try:
        last = newest(place.archive().backups)
    except (LostData, Unavailable):
        return None
    return last.label if last else None


def _kept(place: Home, found: Verification) -> int | None:
    try:
        return record(place, found)
    except RekamError as error:
        say(f"warning: the result could not be kept in the archive: {error}")
        return None


def _found_words(found: Verification) -> list[str]:
    what = f"The backup {found.label}" if found.label else "The archive"
    counts = ", ".join(
        f"{n:,} {name.replace('_', ' ')}" for name, n in found.counts.items() if n and name != "wrong"
    )
    head = (
        f"{what} was verified ({found.depth.value}): {found.outcome.value}. Looked at: {counts or 'nothing'}."
    )
    return [head, *found.findings]


def delete(
    label: LabelArgument,
    home: HomeOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would happen, and change nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
    archive: ArchiveOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a backup off the catalogue. Its bytes are left to retention; every moment stays restorable."""
    place = open_home(home, archive)
    index = place.archive()
    deletion = plan_deletion(index.backups, index.snapshots, label)
    words, checkpoint = _deletion_words(place, deletion), None
    if not dry_run:
        if not yes:
            confirm(words, as_json)
        with closing(place.log()) as log:
            checkpoint = deleting.delete(place, log, deletion, operator())
    if as_json:
        print_json(_deletion_json(place, deletion, checkpoint))
        return
    for line in (
        words if checkpoint is None else [f"{label} is off the catalogue since checkpoint {checkpoint}."]
    ):
        show(line)


def expire(
    home: HomeOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would happen, and change nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
    archive: ArchiveOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take off the catalogue what has been kept as long as rekam.toml says. Every moment stays restorable."""
    place = open_home(home, archive)
    planned = retaining.plan_now(place, place.archive())
    words, checkpoint = list(retaining.in_words(planned)), None
    if planned.keys and not dry_run:
        if not yes:
            confirm(words, as_json)
        with closing(place.log()) as log:
            checkpoint = retaining.expire(place, log, planned, operator())
    if as_json:
        print_json(
            {
                "backups": [backup.label for backup in planned.backups],
                "snapshots": [snapshot.id for snapshot in planned.snapshots],
                "size_bytes": planned.size_bytes,
                "checkpoint": checkpoint,
            }
        )
        return
    for line in words if checkpoint is None else [f"Off the catalogue since checkpoint {checkpoint}."]:
        show(line)


def _deletion_words(place: Home, deletion: Deletion) -> list[str]:
    lines = [
        f"{deletion.backup.label} goes off the catalogue; retention may then remove {deletion.size_bytes:,} bytes."
    ]
    if deletion.slower_from is None:
        return [*lines, "No moment takes longer to restore."]
    since = show_millis(deletion.slower_from, place.zone)
    until = show_millis(deletion.slower_to, place.zone) if deletion.slower_to else "the newest"
    start = f"snapshot {deletion.instead}" if deletion.instead else "the log's beginning"
    return [*lines, f"Moments from {since} to {until} take longer to restore: they start from {start}."]


def _deletion_json(place: Home, deletion: Deletion, checkpoint: int | None) -> dict[str, Any]:
    def moment(millis: int | None) -> str | None:
        return None if millis is None else show_millis(millis, place.zone)

    return {
        "label": deletion.backup.label,
        "replaces": list(deletion.replaces),
        "size_bytes": deletion.size_bytes,
        "slower": None
        if deletion.slower_from is None
        else {
            "from": moment(deletion.slower_from),
            "to": moment(deletion.slower_to),
            "snapshot": deletion.instead,
        },
        "checkpoint": checkpoint,
    }
