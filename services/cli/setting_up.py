"""`rekam init`: a new clinic, or a new home for an archive that survived."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from events.errors import WrongUsage
from replicator.keys import write_key_file
from services.cli.options import HomeOption, JsonOption, home_folder
from services.cli.output import print_json, say, show
from services.home import Home
from services.making import Wanted, adopt_home, make_home
from services.owner import FILE_NAME, SHEET_NAME, on_paper, read_owner, sheet
from services.places import archive_place, key_backup_url
from services.settings import ArchiveSettings


def register(app: typer.Typer) -> None:
    app.command("init")(init)


def init(
    home: HomeOption = None,
    name: Annotated[str, typer.Option(help="The clinic's name.")] = "Clinic",
    zone: Annotated[str, typer.Option(help="The clinic's time zone.")] = "Asia/Jakarta",
    log: Annotated[str, typer.Option(help="sqlite:FILE or kafka://host:port/")] = "sqlite:log.db",
    tables: Annotated[
        str, typer.Option(help="sqlite:FILE or postgresql+psycopg://user@host/database")
    ] = "sqlite:tables.db",
    archive: Annotated[str, typer.Option(help="A folder, or s3://bucket/prefix")] = "archive",
    endpoint: Annotated[str | None, typer.Option(help="The S3 server, where it is not AWS.")] = None,
    from_archive: Annotated[
        str | None, typer.Option("--from", metavar="ARCHIVE", help="Adopt this archive on an empty machine.")
    ] = None,
    identity: Annotated[
        Path | None, typer.Option(help="With --from: the owner's file (owner.txt) that init once wrote.")
    ] = None,
    key_backup: Annotated[
        str | None,
        typer.Option(
            help="Where patients' keys are backed up: a folder or s3://bucket/prefix; else beside the archive."
        ),
    ] = None,
    escrow: Annotated[
        list[str] | None,
        typer.Option(metavar="AGE-RECIPIENT", help="Who else opens the archive, as age1…; may be repeated."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a clinic's home: settings, keys, log, tables and archive; or adopt an archive that survived (--from)."""
    folder = home_folder(home)
    place = ArchiveSettings(
        url=archive_place(from_archive or archive, folder, adopted=from_archive is not None)
    )
    place.endpoint = endpoint
    if key_backup is not None:
        key_backup = archive_place(key_backup, folder, adopted=True)
    wanted = Wanted(
        name=name,
        zone=zone,
        log=log,
        tables=tables,
        archive=place,
        key_backup=key_backup,
        escrow=tuple(escrow or ()),
    )
    if from_archive is not None:
        if identity is None:
            raise WrongUsage("--from needs --identity FILE", "the owner's file, see the printed sheet")
        if escrow:
            raise WrongUsage("--escrow goes with a new clinic", "the archive names its recipients already")
        made = adopt_home(folder, wanted, identity)
    elif identity is not None:
        raise WrongUsage("--identity goes with --from ARCHIVE", "to make a new clinic, leave it out")
    else:
        made = make_home(folder, wanted)
    _tell(made, adopted=from_archive is not None, as_json=as_json)


def _tell(made: Home, *, adopted: bool, as_json: bool) -> None:
    owner = read_owner(made.keys / FILE_NAME)
    settings = made.settings
    archive, backups = (on_paper(url, made.path) for url in (settings.archive.url, key_backup_url(settings)))
    text = sheet(owner, settings.clinic.name, archive, backups, made.keys)
    if not (made.keys / SHEET_NAME).exists():
        write_key_file(made.keys / SHEET_NAME, text)
    if as_json:
        print_json(
            {
                "home": str(made.path),
                "clinic": owner.clinic_id,
                "verification_key": owner.verification_key,
                "recipient": owner.recipient,
                "sheet": str(made.keys / SHEET_NAME),
            }
        )
        return
    show(text)
    show(f"This sheet is {made.keys / SHEET_NAME}. The home folder is {made.path}.")
    if adopted:
        if settings.keys.sealing and made.key_backup().is_empty():
            say(
                f"warning: no backup of patients' keys is at {backups}: without it the records that are sealed stay "
                "shut. If it is elsewhere, write the place into rekam.toml as keys.backup before you recover"
            )
        show("The archive is adopted. Bring log and tables back with: rekam recover --to latest")
