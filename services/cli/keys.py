"""`rekam keys …`: the keys that everything depends on. Exit codes of their own: 0 ok, 3 invalid, 4 inconclusive."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from events.errors import BadConfiguration, BadInput
from replicator.note import Signer
from replicator.rotations import Changed
from replicator.trust import Handover
from services.cli import rotating
from services.cli.options import ArchiveOption, HomeOption, JsonOption, open_home
from services.cli.output import print_json, progress, show
from services.home import Home
from services.key_loss import Counting, Rehearsal, rehearse
from services.moments import show_millis
from services.owner import FILE_NAME, read_owner


def register(app: typer.Typer) -> None:
    keys = typer.Typer(help="The keys that everything depends on.", no_args_is_help=True)
    keys.callback()(lambda: None)
    keys.command("check")(check)
    rotating.register(keys)
    app.add_typer(keys, name="keys")


def check(
    home: HomeOption = None,
    identity: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A copy of the owner's file, or an escrow's age identity; else the home's."
        ),
    ] = None,
    archive: ArchiveOption = None,
    as_json: JsonOption = False,
) -> None:
    """Open every object of the archives, and the backup of patients' keys, with one identity alone: 0, 3 or 4.

    Best with the copy from the safe: a copy that opens nothing is found before it is needed.
    """
    place = open_home(home, archive)
    file = identity or place.keys / FILE_NAME
    opens = _identity(file)
    with progress("bytes") as advance:
        found = rehearse(place.archives() if archive is None else [place], opens, advance)
    signs = _signs(place, file, found)
    if as_json:
        print_json(_to_json(place, found, signs))
    else:
        _show(place, found, signs)
    raise typer.Exit(found.outcome.exit_code)


def _identity(file: Path) -> Counting:
    try:
        return Counting(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            f"{file} cannot be read: {getattr(error, 'strerror', 'it is no text')}",
            "name the owner's file with --identity",
        ) from None
    except BadConfiguration as error:
        raise BadConfiguration(f"{file}: {error.message}", error.hint) from None


def _signs(place: Home, file: Path, found: Rehearsal) -> bool:
    """Whether the file signs for the clinic too: an escrow's does not, and an owner's must."""
    try:
        owner = read_owner(file)
    except BadInput:
        return False
    signs = Signer.parse(owner.signing_key).verifier
    if place.verifier() not in [Signer.parse(text).verifier for text in owner.signing_keys]:
        earlier = ": it is of before the key was rotated" if signs in place.known_keys() else ""
        found.wrong.append(f"{file.name} signs with another key than the one on the sheet{earlier}")
    return True


def _to_json(place: Home, found: Rehearsal, signs: bool) -> dict[str, object]:
    wrong, unsure = found.findings
    return {
        "outcome": found.outcome.value,
        "archives": {
            name: {"objects": one.counts["objects"], "bytes": one.counts["bytes"]}
            for name, one in found.archives.items()
        },
        "key_backups": found.key_backups,
        "patient_keys": found.keys,
        "sealed_under": len(found.sealed),
        "signs": signs,
        "identities": [{"recipient": key, **_uses(uses)} for key, uses in found.opened.items()],
        "rotations": {
            name: [_rotation(place, one) for one in changes] for name, changes in found.rotations.items()
        },
        "wrong": wrong,
        "open": unsure,
    }


def _uses(uses: Mapping[str, int]) -> dict[str, int]:
    return {"objects": uses["objects"], "key_backups": uses["key_backups"]}


def _rotation(place: Home, one: Changed | Handover) -> dict[str, Any]:
    told = {"time": show_millis(one.time, place.zone), "actor": dict(one.actor), "reason": one.reason}
    if isinstance(one, Changed):
        return {"kind": "recipients", **told, "recipients": list(one.recipients)}
    return {"kind": "signer", **told, "previous": str(one.previous), "verifier": str(one.verifier)}


def _show_rotations(place: Home, found: Rehearsal) -> None:
    """Nothing of it where no key ever changed: then there is one identity, and it opens all there is."""
    for name, changes in found.rotations.items():
        for one in changes:
            what = "recipients" if isinstance(one, Changed) else "signing key"
            show(f"{name}: {what} rotated on {show_millis(one.time, place.zone)}: {one.reason}")
    if len(found.opened) > 1:
        for number, (key, uses) in enumerate(found.opened.items()):
            needed = f"{uses['objects']:,} objects, {uses['key_backups']:,} backups of keys"
            nothing = "nothing any more" if number else "nothing yet"
            show(f"{key}: needed for {needed if uses.total() else nothing}.")


def _show(place: Home, found: Rehearsal, signs: bool) -> None:
    for name, one in found.archives.items():
        show(f"{name}: {one.counts['objects']:,} objects, {one.counts['bytes']:,} bytes were read.")
    show(
        f"{found.keys:,} keys of patients in {found.key_backups:,} backups; {len(found.sealed):,} seal events."
    )
    _show_rotations(place, found)
    show("The file signs for the clinic." if signs else "The file opens only: it holds no signing key.")
    wrong, unsure = found.findings
    for text in wrong:
        show(f"wrong: {text}")
    for text in unsure:
        show(f"open: {text}")
    words = {"ok": "With this file alone everything can be opened", "invalid": "Not everything can be opened"}
    show(f"{found.outcome.value.upper()}: {words.get(found.outcome.value, 'Not everything could be shown')}.")
