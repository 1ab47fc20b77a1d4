"""`rekam witness …`: vouching for another clinic's archive, and asking those who vouch for ours."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from events.clock import wall_millis
from events.errors import BadConfiguration, RekamError
from replicator.note import Verifier
from replicator.witnessing.keeping import WitnessFolder
from services.cli.options import ArchiveOption, HomeOption, JsonOption, open_home
from services.cli.output import print_json, say, show
from services.cli.stopping import until_stopped
from services.witnessing.asking import Asker, ask_each

FolderOption = Annotated[
    Path, typer.Option("--folder", help="The witness's folder: its key and what it saw.")
]


def register(app: typer.Typer) -> None:
    witness = typer.Typer(
        help="Co-signed checkpoints: nobody can rewrite their past, not even the clinic.",
        no_args_is_help=True,
    )
    witness.command("init")(init)
    witness.command("trust")(trust)
    witness.command("serve")(serve_)
    witness.command("ask")(ask)
    app.add_typer(witness, name="witness")


def init(
    folder: FolderOption,
    name: Annotated[str, typer.Option(help="The witness's name, like notary.example/1; no spaces.")],
    as_json: JsonOption = False,
) -> None:
    """Become a witness: make a key, and show its public part, which the clinics put into their rekam.toml."""
    made = WitnessFolder.create(folder, name)
    if as_json:
        print_json({"folder": str(folder), "name": name, "key": str(made.cosigner.key)})
        return
    show(f"Public key: {made.cosigner.key}")
    show(f"The private key is in {folder}. Who loses what this folder holds needs a new key.")


def trust(
    origin: Annotated[
        str, typer.Argument(help="The first line of the archive's notes: rekam/CLINIC/ARCHIVE.")
    ],
    key: Annotated[str, typer.Argument(help="The clinic's verification key, from its printed sheet.")],
    folder: FolderOption,
    only: Annotated[
        bool, typer.Option("--only", help="Trust no other key for it any more: the clinic rotated its own.")
    ] = False,
) -> None:
    """Vouch for this archive from now on, where this key signed its checkpoints."""
    WitnessFolder.open(folder).trust(origin, Verifier.parse(key), only=only)
    show(f"Checkpoints of {origin} are cosigned from now on.")


def serve_(
    folder: FolderOption,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to listen; 0: a free port.")],
    host: Annotated[str, typer.Option(help="0.0.0.0 listens to other machines too.")] = "127.0.0.1",
) -> None:
    """Answer the clinics that ask, until SIGTERM or Ctrl-C."""
    from services.witnessing.serving import listen, serve  # FastAPI is slow to import

    opened = WitnessFolder.open(folder)
    with until_stopped() as stop, listen(host, port) as at:
        address, bound = at.getsockname()[:2]
        shown = f"[{address}]" if ":" in address else address
        show(f"{opened.cosigner.key.name} listens at http://{shown}:{bound}")
        serve(opened, at, stop, wall_millis, _tell)


def ask(home: HomeOption = None, archive: ArchiveOption = None, as_json: JsonOption = False) -> None:
    """Ask the witnesses of rekam.toml to cosign the newest checkpoint, now; exit code 1 where one does not."""
    place = open_home(home, archive)
    if not place.settings.witnesses:
        raise BadConfiguration("rekam.toml names no witness", "see docs/witness.md")
    rows = [_row(*found) for found in ask_each(place.archives() if archive is None else [place], again=True)]
    if as_json:
        print_json({"witnesses": rows})
    else:
        for row in rows:
            done = (
                f"cosigned {row['leaves'] or 0:,} leaves"
                if row["error"] is None
                else f"error: {row['error']}"
            )
            show(f"{row['archive']}: witness {row['witness']!r}: {done}")
    raise typer.Exit(1 if any(row["error"] for row in rows) else 0)


def _row(asker: Asker, found: int | RekamError) -> dict[str, Any]:
    error = str(found) if isinstance(found, RekamError) else None
    leaves = found if isinstance(found, int) else None
    return {
        "archive": asker.place.archive_name,
        "witness": asker.witness.name,
        "leaves": leaves,
        "error": error,
    }


def _tell(text: str) -> None:
    say(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text}")
