"""`rekam archive …`: the places that the log is shipped to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from events.errors import RekamError
from replicator.copying import Difference, compare_archives, copy_archive
from replicator.stores import ObjectStore
from services.cli.options import HomeOption, JsonOption, home_folder, open_home
from services.cli.output import print_json, say, show, show_table
from services.home import Home, add_archive
from services.moments import show_millis
from services.places import archive_place, object_store
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


def _store(home: Path | None, given: str, endpoint: str | None, *, create: bool = False) -> ObjectStore:
    """A place by its name in rekam.toml, or by its address; for the latter no home is needed."""
    folder = home_folder(home)
    if (folder / "rekam.toml").exists():
        place = Home.open(folder)
        if given in (FIRST_ARCHIVE, *place.settings.archives):
            return place.with_archive(given).store()
    url = archive_place(given, folder, adopted=True)
    return object_store(ArchiveSettings(url=url, endpoint=endpoint), folder, create=create)
