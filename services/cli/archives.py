"""`rekam archive …`: the places that the log is shipped to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from events.errors import RekamError
from replicator.archive import open_archive
from replicator.copying import Difference, compare_archives, copy_archive
from replicator.pruning import GRACE_DAYS, Pruned, needed, plan_pruning, prune
from replicator.repairing import Repaired, VersionsAsOf, plan_repair, repair
from replicator.stores import ObjectStore
from services.cli.options import ArchiveOption, HomeOption, JsonOption, confirm, home_folder, open_home
from services.cli.output import print_json, say, show, show_table
from services.home import Home
from services.making import add_archive
from services.moments import parse_moment, show_millis
from services.places import archive_place, object_store, versioned_store
from services.settings import FIRST_ARCHIVE, ArchiveSettings

SHOWN = 20
"""Keys that a comparison names of each kind."""
PLACE = "An archive's name in rekam.toml, a folder, or s3://bucket/prefix."


def register(app: typer.Typer) -> None:
    archive = typer.Typer(help="The places that the log is shipped to.", no_args_is_help=True)
    archive.command("list")(list_)
    archive.command("add")(add)
    archive.command("copy")(copy)
    archive.command("compare")(compare)
    archive.command("prune")(prune_)
    archive.command("repair")(repair_)
    app.add_typer(archive, name="archive")


def list_(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Each archive: where it is, how far it goes, what is wrong with it."""
    rows = [_row(place) for place in open_home(home).archives()]
    if as_json:
        print_json({"archives": rows})
    else:
        show_table(list(rows[0]), ([str(value or "") for value in row.values()] for row in rows))
    raise typer.Exit(1 if any(row["error"] for row in rows) else 0)


def _row(place: Home) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": place.archive_name,
        "place": place.archive_settings.url,
        "checkpoint": None,
        "complete_through": None,
        "error": None,
    }
    try:
        index = place.archive()
    except RekamError as error:
        row["error"] = error.message
        return row
    row["checkpoint"] = index.head.n
    if index.head.time is not None:
        row["complete_through"] = show_millis(index.head.time, place.zone)
    return row


def add(
    name: Annotated[str, typer.Argument(help="What to call it: lower-case letters, digits and -.")],
    place: Annotated[str, typer.Argument(help="A folder, or s3://bucket/prefix")],
    home: HomeOption = None,
    endpoint: Annotated[str | None, typer.Option(help="The S3 server, where it is not AWS.")] = None,
) -> None:
    """Ship to a further place from now on: another disk, another provider, a locked bucket."""
    folder = home_folder(home)
    settings = ArchiveSettings(url=archive_place(place, folder, adopted=True), endpoint=endpoint)
    added = add_archive(Home.open(folder), name, settings)
    show(f"The archive {name!r} at {added.archive_settings.url} is shipped to from now on.")
    show("What the log holds already goes there with the next: rekam replicate --once")


def copy(
    source: Annotated[str, typer.Argument(help=PLACE)],
    target: Annotated[str, typer.Argument(help=f"{PLACE} Empty, or an earlier copy.")],
    home: HomeOption = None,
    endpoint: Annotated[str | None, typer.Option(help="The S3 server of places given as s3://.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Copy an archive, byte for byte; again: bring the copy up to date."""
    done = copy_archive(_store(home, source, endpoint), _store(home, target, endpoint, create=True), _tell)
    found = {"copied": done.objects, "size_bytes": done.size_bytes, "there_already": done.there_already}
    if as_json:
        print_json(found)
        return
    show(f"Copied {done.objects:,} objects, {done.size_bytes:,} bytes; {done.there_already:,} were there.")


def _tell(done: int, total: int) -> None:
    if done % 1_000 == 0:
        say(f"{done:,} of {total:,} objects")


def compare(
    first: Annotated[str, typer.Argument(help=PLACE)],
    second: Annotated[str, typer.Argument(help=PLACE)],
    home: HomeOption = None,
    endpoint: Annotated[str | None, typer.Option(help="The S3 server of places given as s3://.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare two copies of an archive; exit code 1 where they differ."""
    found = compare_archives(_store(home, first, endpoint), _store(home, second, endpoint))
    if as_json:
        print_json(
            {
                "alike": found.alike,
                "objects": found.objects,
                "only_first": found.only_first,
                "only_second": found.only_second,
                "different": found.different,
            }
        )
    else:
        _show_difference(first, second, found)
    raise typer.Exit(0 if found.alike else 1)


def _show_difference(first: str, second: str, found: Difference) -> None:
    show(f"{found.objects:,} objects are in both, and alike.")
    for title, keys in (
        (f"only in {first}", found.only_first),
        (f"only in {second}", found.only_second),
        ("with other bytes", found.different),
    ):
        if keys:
            show(f"{len(keys):,} {title}:")
            for key in keys[:SHOWN]:
                show(f"  {key}")
            if len(keys) > SHOWN:
                show(f"  and {len(keys) - SHOWN:,} more")


def prune_(
    home: HomeOption = None,
    archive: ArchiveOption = None,
    grace_days: Annotated[
        float,
        typer.Option(
            min=0,
            help="How long what is not needed any more stays. Less than a day: only while nothing is shipped.",
        ),
    ] = GRACE_DAYS,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would go, and remove nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove what the archive does not need: merged segments, joined checkpoints, orphans. No moment is lost by it."""
    place = open_home(home, archive)
    store, index = place.store(), place.archive()
    plan = plan_pruning(store.list(""), needed(index), store.now(), grace_days=grace_days)
    size = sum(doomed.size_bytes for doomed in plan.remove)
    words = (
        f"{plan.examined:,} objects: {len(plan.remove):,} can go ({size:,} bytes), "
        f"{plan.waiting:,} wait for the end of their grace."
    )
    if not dry_run and plan.remove and not yes:
        confirm([words], as_json)
    elif not as_json:
        show(words)
    done = Pruned() if dry_run else prune(store, plan.remove, lambda n: _tell(n, len(plan.remove)))
    if as_json:
        print_json(
            {"examined": plan.examined, "removable": len(plan.remove), "waiting": plan.waiting, **vars(done)}
        )
    elif not dry_run:
        show(
            f"Removed {done.removed:,} objects, {done.size_bytes:,} bytes; {done.locked:,} are locked for now."
        )


def repair_(
    home: HomeOption = None,
    archive: ArchiveOption = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of", metavar="TIME", help="As the bucket stood then; else as it was first written."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what is hidden, and change nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Undo deletions and overwritings in a bucket that keeps versions; exit code 1 where something stays lost."""
    place = open_home(home, archive)
    store = versioned_store(place.archive_settings)
    time = None if as_of is None else parse_moment(as_of, place.zone)
    index = open_archive(VersionsAsOf(store, time), place.identity(), place.seen(), [place.verifier()])
    hidden = plan_repair(store.versions(""), needed(index), time)
    digests = {entry.key: entry.stored for entry in index.entries}
    done = Repaired() if dry_run else repair(store, hidden, digests)
    found = {"checkpoint": index.head.n, "hidden": [h.key for h in hidden], **vars(done)}
    if as_json:
        print_json(found)
    else:
        show(f"{len(hidden):,} objects are hidden by a deletion or by other bytes over them.")
        for one in hidden[:SHOWN]:
            show(f"  {one.key}")
        if not dry_run:
            show(
                f"Brought back {done.undeleted:,} that were deleted, {done.rewritten:,} that were written over."
            )
        for key in done.lost:
            say(f"error: {key}: its first version is not what the archive names; take it from another copy")
    raise typer.Exit(1 if done.lost else 0)


def _store(home: Path | None, given: str, endpoint: str | None, *, create: bool = False) -> ObjectStore:
    """A place by its name in rekam.toml, or by its address; for the latter no home is needed."""
    folder = home_folder(home)
    if (folder / "rekam.toml").exists():
        place = Home.open(folder)
        if given in (FIRST_ARCHIVE, *place.settings.archives):
            return place.with_archive(given).store()
    url = archive_place(given, folder, adopted=True)
    return object_store(ArchiveSettings(url=url, endpoint=endpoint), folder, create=create)
