"""`rekam recover`, `rekam points`: going back, and to which moments one can."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from typing import Annotated, Any

import typer

from replicator.archive import ArchiveIndex
from replicator.backups import full_of
from replicator.entries import BackupEntry
from replicator.planning import RecoveryPlan
from services.archives import farthest, longer
from services.cli.options import (
    AfterOption,
    ArchiveOption,
    BeforeOption,
    HomeOption,
    JsonOption,
    confirm,
    open_home,
    operator,
)
from services.cli.output import print_json, say, show, show_table
from services.home import Home
from services.moments import show_millis, show_span
from services.recovery.acting import Report, Request, act, prepare
from services.recovery.going_back import GoesBack, goes_back
from services.recovery.keys import heed_ledger
from services.recovery.pointing import LATEST, point_to


def register(app: typer.Typer) -> None:
    app.command("recover")(recover)
    app.command("points")(points)


def recover(
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="TARGET",
            help="A time (ISO 8601, or '2 hours ago'), 'latest', 'checkpoint N', a backup's label, a position.",
        ),
    ] = None,
    before: BeforeOption = None,
    after: AfterOption = None,
    home: HomeOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
    reason: Annotated[str, typer.Option(help="Why; kept on the log.")] = "",
    archive: ArchiveOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring log and tables to a moment: what is lost is rebuilt from the archive, what came later is set aside."""
    place = open_home(home, archive)
    if archive is None:
        place = farthest(place.archives(), say)
    request = Request(
        target=point_to(place, to, before, after),
        actor={"id": operator(), "role": "operator", "system": "cli"},
        reason=reason,
        workers=place.workers,
        zone=place.zone,
    )
    report = Report(started=place.clock())
    view, plan = prepare(place, request, say, ship_first=not dry_run)
    with closing(view):
        back = goes_back(place, view, plan)
        if archive is not None and plan.restore_log is not None:
            for name in longer(place, place.archives()):
                say(
                    f"warning: the archive {name!r} holds more than {archive!r}: what only it holds is given up by "
                    "this, and it is not shipped to any more; without --archive the one that holds most is read"
                )
        if dry_run:
            _show_plan(place, plan, back, as_json)
            return
        if not yes:
            confirm(plan_words(place, plan, back), as_json)
        for other in place.archives():
            if other.archive_name != place.archive_name:
                heed_ledger(place, other, say)
        act(place, request, view, plan, report, say)
    found = {**report_json(place, plan, report), "goes_back": back.to_json() if back else None}
    if as_json:
        print_json(found)
    else:
        _show_report(place, plan, report, found)
    _tell_missing_keys(place)


def _tell_missing_keys(place: Home) -> None:
    """Last, where it is read: all came back, and of some patients nobody can read it."""
    with closing(place.patient_keys()) as keys:
        missing = len(set(keys.missing().values()))
    if missing:
        say(
            f"warning: the keys of {missing:,} patients are missing, and their sealed events show nothing: "
            "name the place of their backup (keys.backup in rekam.toml), then 'rekam recover --to latest' again"
        )


def _show_plan(place: Home, plan: RecoveryPlan, back: GoesBack | None, as_json: bool) -> None:
    if as_json:
        print_json({**plan_json(place, plan), "goes_back": back.to_json() if back else None})
        return
    for line in plan_words(place, plan, back):
        show(line)


def plan_words(place: Home, plan: RecoveryPlan, back: GoesBack | None) -> list[str]:
    return [
        f"Target            {target_words(place, plan)}",
        f"Recovery point    {', '.join(f'{p}={n}' for p, n in plan.position.items())}",
        f"Log               {_log_words(plan)}",
        f"Rewind            {_rewind_words(plan)}",
        *_lines("Goes back", back.in_words() if back else []),
        *_lines("Enough", list(filter(None, [back.enough(_undo_option(place, plan)) if back else None]))),
        f"Tables            {_tables_words(plan)}",
        f"To read           {_segments_words(plan)}, {plan.size_bytes:,} bytes, {plan.records:,} records",
        f"Expected          {show_span(plan.expected_seconds)}",
    ]


def _lines(name: str, lines: list[str]) -> list[str]:
    """A part of the plan in several lines, named in front of the first."""
    return [f"{name if n == 0 else '':<18}{line}" for n, line in enumerate(lines)]


def _undo_option(place: Home, plan: RecoveryPlan) -> str:
    """The plan's target as `rekam undo` takes it."""
    target = plan.target
    if target.event is not None:
        return f"--{'after' if target.inclusive else 'before'} {target.event.hex()}"
    if target.time is not None:
        return f"--to {show_millis(target.time, place.zone)}"
    return f"--to {','.join(f'{p}={n}' for p, n in plan.position.items())}"


def target_words(place: Home, plan: RecoveryPlan) -> str:
    """What was asked for, whether what is named is kept, and which moment that is."""
    target = plan.target
    when = None if plan.time is None else show_millis(plan.time, place.zone)
    if target.latest:
        return "the newest state"
    if target.event is not None:
        kept = (
            "just after event {} (it is kept)"
            if target.inclusive
            else "just before event {} (it is not kept)"
        )
        return f"{kept.format(target.event.hex())}, at {when}"
    if target.position is not None:
        return f"{target.name or 'a position'} (inclusive), at {when}"
    return f"{when} (inclusive)"


def _log_words(plan: RecoveryPlan) -> str:
    if plan.restore_log is None:
        return "stands"
    return f"lost: {plan.restore_log.records():,} records are restored, as a new generation"


def _rewind_words(plan: RecoveryPlan) -> str:
    if not plan.rewind:
        return "none: the history in effect is already the one wanted"
    return f"one is appended; {plan.set_aside_records:,} records of events come after the recovery point"


def _segments_words(plan: RecoveryPlan) -> str:
    behind = f" ({sum(plan.tail_segments.values()):,} behind the snapshot)" if plan.snapshot else ""
    return f"{plan.segments:,} segments{behind}"


def _tables_words(plan: RecoveryPlan) -> str:
    words = {"stand": "stand already", "follow": "follow the log", "rebuild": "are rebuilt and swapped in"}
    if not plan.snapshot:
        return words[plan.tables]
    start = " and ".join(plan.backups) or f"snapshot {plan.snapshot}"
    return f"{words[plan.tables]}, from {start} and the tail"


def plan_json(place: Home, plan: RecoveryPlan) -> dict[str, Any]:
    target = plan.target
    return {
        "target": LATEST if plan.time is None else show_millis(plan.time, place.zone),
        "named": target.name or None,
        "event": target.event.hex() if target.event else None,
        "inclusive": target.inclusive,
        "position": plan.position.to_json(),
        "restore_log": plan.restore_log is not None,
        "rewind": plan.rewind,
        "set_aside_records": plan.set_aside_records,
        "tables": plan.tables,
        "snapshot": plan.snapshot,
        "backups": list(plan.backups),
        "segments": plan.segments,
        "size_bytes": plan.size_bytes,
        "records": plan.records,
        "expected_seconds": plan.expected_seconds,
    }


def report_json(place: Home, plan: RecoveryPlan, report: Report) -> dict[str, Any]:
    return {
        **plan_json(place, plan),
        "set_aside_records": report.set_aside_records,
        "epoch": report.epoch.hex() if report.epoch else None,
        "restored_records": report.restored_records,
        "checkpoint": report.checkpoint,
        "verified": report.verified,
        "attachments": asdict(report.attachments),
        "steps": report.steps,
        "rto_seconds": report.rto_seconds,
        "rpo_seconds": report.rpo_seconds,
        "rpo": rpo_words(place, report),
    }


def rpo_words(place: Home, report: Report) -> str:
    """How much time of work is not in effect any more, and what became of it, in plain words."""
    if report.rpo_seconds is None:
        return "none: nothing was lost and nothing was set aside"
    parts = [show_span(report.rpo_seconds)]
    if report.back_to is not None:
        parts.append(f"the record is as of {show_millis(report.back_to, place.zone)}")
        parts.append(f"{report.set_aside_records:,} later records are set aside, and kept")
    if report.lost_after is not None:
        until = show_millis(report.lost_after, place.zone)
        parts.append(f"what the lost log held after {until}, the newest checkpoint, is gone")
    return "; ".join(parts)


def _show_report(place: Home, plan: RecoveryPlan, report: Report, found: dict[str, Any]) -> None:
    show(f"Recovered in {show_span(report.rto_seconds)} (RTO actual).")
    show(f"RPO actual: {found['rpo']}.")
    show(f"Log: {_log_words(plan)}. Tables: {_tables_words(plan)}. Checkpoint {report.checkpoint} covers it.")
    verified = report.verified
    show(
        f"Verified: {verified['journal']:,} events in the journal, {verified['applied']:,} in effect, "
        f"{verified['streams']:,} streams."
    )
    files = report.attachments
    if files.files or files.lost:
        lost = f"; {files.lost:,} did not" if files.lost else ""
        show(f"Attached files: {files.files:,} came back ({files.size_bytes:,} bytes){lost}.")


def points(home: HomeOption = None, archive: ArchiveOption = None, as_json: JsonOption = False) -> None:
    """The moments that can be restored, with every disk but the archive's lost."""
    place = open_home(home, archive)
    found = _points_json(place, place.archive())
    if as_json:
        print_json(found)
        return
    if not found["ranges"]:
        show(
            "Nothing can be restored yet: the archive holds no checkpoint. Ship first: rekam replicate --once"
        )
    for span in found["ranges"]:
        show(f"Any moment from {span['from']} to {span['to']} (both inclusive).")
    show(
        f"{found['checkpoints']:,} checkpoints, {found['segments']:,} segments, {found['size_bytes']:,} bytes."
    )
    if found["snapshots"]:
        show_table(
            ["snapshot", "rows", "bytes"],
            ([s["id"], f"{s['rows']:,}", f"{s['size_bytes']:,}"] for s in found["snapshots"]),
        )
    if found["backups"]:
        show_table(
            ["backup", "complete through", "restores from"],
            ([b["label"], b["complete_through"], b["restores_from"]] for b in found["backups"]),
        )


def _points_json(place: Home, index: ArchiveIndex) -> dict[str, Any]:
    holdings = index.holdings()
    ranges = [] if holdings.range is None else [holdings.range]
    size_bytes = sum(s.size_bytes for s in holdings.segments)
    return {
        "ranges": [
            {"from": show_millis(r.first, place.zone), "to": show_millis(r.last, place.zone)} for r in ranges
        ],
        "checkpoints": len(holdings.marks),
        "snapshots": [
            {"id": s.id, "rows": s.rows, "size_bytes": s.size_bytes, "position": s.position.to_json()}
            for s in holdings.snapshots
        ],
        "backups": [_backup_json(place, index, backup) for backup in index.backups],
        "segments": len(holdings.segments),
        "size_bytes": size_bytes + sum(s.size_bytes for s in holdings.snapshots),
    }


def _backup_json(place: Home, index: ArchiveIndex, backup: BackupEntry) -> dict[str, Any]:
    """`restores_from`: the full backup whose snapshot is loaded; None: the log is replayed from its beginning."""
    full = full_of(index.backups, backup)
    return {
        "label": backup.label,
        "complete_through": show_millis(backup.complete_through, place.zone),
        "position": backup.position.to_json(),
        "restores_from": full.label if full else None,
    }
