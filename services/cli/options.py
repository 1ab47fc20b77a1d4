"""Options that several commands share."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from events.errors import Refused
from services.cli.output import say, show
from services.home import Home

HomeOption: TypeAlias = Annotated[
    Path | None, typer.Option("--home", help="The home folder (else REKAM_HOME, else the current folder).")
]
JsonOption: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print exactly one JSON document on stdout.")
]
ArchiveOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--archive", metavar="NAME", help="Which archive, where rekam.toml names several."),
]
AtOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--at", metavar="TIME", help="As it stood at this time (ISO 8601, or '2 hours ago')."),
]

BeforeOption: TypeAlias = Annotated[
    str | None, typer.Option("--before", metavar="EVENT", help="Just before this event (its id).")
]
AfterOption: TypeAlias = Annotated[
    str | None, typer.Option("--after", metavar="EVENT", help="Just after this event (its id).")
]


def home_folder(given: Path | None) -> Path:
    """Where the home folder is: the option, REKAM_HOME, or the current folder."""
    return (given or Path(os.environ.get("REKAM_HOME") or ".")).absolute()


def open_home(given: Path | None, archive: str | None = None) -> Home:
    place = Home.open(home_folder(given))
    return place if archive is None else place.with_archive(archive)


def operator() -> str:
    """Who asks. In a container nobody may have given the user a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def confirm(words: Sequence[str], as_json: bool = False, *, first: str = "look at --dry-run, then ") -> None:
    """Shows what will be done and asks. Raises Refused where nobody is there to answer. `first`: what to do before."""
    for line in words:
        (say if as_json else show)(line)  # with --json nothing but the document stands on stdout
    if not sys.stdin.isatty():
        raise Refused("nobody is there to confirm", f"{first}say --yes")
    typer.confirm("Go on?", abort=True, err=True)
