"""Options that several commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

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
    str | None, typer.Option("--at", metavar="TIME", help="As it stood at this time (ISO 8601).")
]


def home_folder(given: Path | None) -> Path:
    """Where the home folder is: the option, REKAM_HOME, or the current folder."""
    return (given or Path(os.environ.get("REKAM_HOME") or ".")).absolute()


def open_home(given: Path | None, archive: str | None = None) -> Home:
    place = Home.open(home_folder(given))
    return place if archive is None else place.with_archive(archive)
