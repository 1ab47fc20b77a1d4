"""`rekam keys rotate …`: other recipients, another signing key, in every archive of a home."""

from __future__ import annotations

from typing import Annotated, Any, NoReturn

import typer

from events.errors import WrongUsage
from services.cli.options import HomeOption, JsonOption, open_home, operator
from services.cli.output import complain, print_json, say, show
from services.home import Home
from services.moments import show_millis
from services.owner import FILE_NAME, SHEET_NAME
from services.rotating import Rotated, Step, Why, Wish, rotate_recipients, rotate_signing, sheet_of
from services.witnessing.standing import witnesses_of

ReasonOption = Annotated[
    str, typer.Option("--reason", help="Why; kept in the archive for ever, in the clear.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")]

PrepareOption = Annotated[
    bool,
    typer.Option(
        "--prepare",
        help="Only make the owner's file with the new key, to copy it out of the house; then again without.",
    ),
]


def register(keys: typer.Typer) -> None:
    rotate = typer.Typer(
        help="Change keys. What was stopped, or an archive did not answer: the same command again goes on.",
        no_args_is_help=True,
    )
    rotate.command("recipients")(recipients)
    rotate.command("signing")(signing)
    keys.add_typer(rotate, name="rotate")


def recipients(
    reason: ReasonOption,
    home: HomeOption = None,
    add: Annotated[
        list[str] | None,
        typer.Option(metavar="AGE-RECIPIENT", help="Who is to open what is shipped from now on, as age1…"),
    ] = None,
    remove: Annotated[
        list[str] | None, typer.Option(metavar="AGE-RECIPIENT", help="Who is to open none of it.")
    ] = None,
    new_identity: Annotated[
        bool,
        typer.Option("--new-identity", help="Make the owner a new identity in place of the one there is."),
    ] = False,
    prepare: PrepareOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Encrypt what is archived from now on to others. What was shipped before stays as it is, and needs its key."""
    place = open_home(home)
    wish = Wish(tuple(add or ()), tuple(remove or ()), new_identity)
    done = rotate_recipients(place, wish, _why(reason), dry_run=dry_run, prepare=prepare)
    if prepare and not dry_run:
        _end_prepared(place, done, as_json)
    if as_json:
        until = None if done.backups_until is None else show_millis(done.backups_until, place.zone)
        more = {"key_backup_made": done.keys_backed_up, "older_key_backups_until": until}
        print_json({**_to_json(place, done, dry_run), **more})
    else:
        _show_recipients(place, done, dry_run)
    _end(done)


def signing(
    reason: ReasonOption,
    home: HomeOption = None,
    prepare: PrepareOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Sign checkpoints with a new key. Prints the new sheet; the owner's file is made anew."""
    place = open_home(home)
    done = rotate_signing(place, _why(reason), dry_run=dry_run, prepare=prepare)
    if prepare and not dry_run:
        _end_prepared(place, done, as_json)
    if as_json:
        print_json(_to_json(place, done, dry_run))
    else:
        _show_signing(place, done, dry_run)
    _end(done)


def _end_prepared(place: Home, done: Rotated, as_json: bool) -> NoReturn:
    file = str(place.keys / FILE_NAME) if done.owner else None
    if as_json:
        print_json({"changed": False, "owner_file": file})
    elif file is None:
        show("There is nothing to prepare: the owner's file stays as it is.")
    else:
        show(
            f"{file} holds the new key too. Copy it to where the owner keeps it; then run this without --prepare."
        )
    _end(done)
    raise typer.Exit


def _why(reason: str) -> Why:
    if not reason.strip():
        raise WrongUsage("--reason is empty", "say why: it is what an auditor will read")
    return Why({"id": operator(), "role": "operator", "system": "cli"}, reason)


def _to_json(place: Home, done: Rotated, dry_run: bool) -> dict[str, Any]:
    return {
        "changed": done.changed and not dry_run,
        "archives": {
            step.archive: {
                "before": list(step.before),
                "after": _after(step, done, dry_run),
                "checkpoint": step.checkpoint,
                "error": None if step.error is None else step.error.message,
            }
            for step in done.steps
        },
        "owner_file": str(place.keys / FILE_NAME) if done.owner else None,
    }


def _after(step: Step, done: Rotated, dry_run: bool) -> list[str]:
    """A dry run makes no identity: there is nothing to show of it."""
    return [one if not dry_run or one != done.new_recipient else "(a new one)" for one in step.after]


def _show_recipients(place: Home, done: Rotated, dry_run: bool) -> None:
    for step in done.steps:
        if step.error is None:
            after = _after(step, done, dry_run)
            _show_step(step, [f"  + {one}" for one in after if one not in step.before])
            for one in step.before:
                show(f"  {'  ' if one in step.after else '- '}{one}")
    if dry_run:
        show("Nothing was changed.")
        return
    if done.owner:
        show(
            f"{place.keys / FILE_NAME} was made anew: it holds the new identity, and the earlier ones below it."
        )
        show("Copy it to where the owner keeps it, now. Older files do not open what is shipped from now on.")
    if done.keys_backed_up:
        show("The backup of patients' keys was made anew, whole.")
    if done.backups_until is not None:
        until = show_millis(done.backups_until, place.zone)
        show(f"Older backups of keys, which those removed can open, stand until {until} at the latest.")


def _show_step(step: Step, lines: list[str]) -> None:
    if not step.changes:
        show(f"{step.archive}: nothing changes.")
    elif step.checkpoint is None:
        show(f"{step.archive}:")
    else:
        show(f"{step.archive}: behind checkpoint {step.checkpoint}:")
    for line in lines:
        show(line)


def _show_signing(place: Home, done: Rotated, dry_run: bool) -> None:
    if dry_run:
        for step in done.steps:
            show(f"{step.archive}: signed with {', '.join(step.before) or '?'} until a new key is made.")
        show("Nothing was changed.")
        return
    for step in done.steps:
        if step.error is None and step.checkpoint is not None:
            show(f"{step.archive}: checkpoint {step.checkpoint} is the last that the earlier key signed.")
    if done.owner is None:
        return
    show(sheet_of(place, done.owner))
    show(
        f"This sheet is {place.keys / SHEET_NAME}. {place.keys / FILE_NAME} was made anew too: copy both, now."
    )
    show(
        "An earlier owner's file signs for the clinic no more; keep it until every copy of the archive is up to date."
    )
    for witness in witnesses_of(place):
        show(f"The keeper of the witness {witness.name!r} runs, until then it cosigns nothing new:")
        for step in done.steps:
            key = done.owner.verification_key
            show(f"    rekam witness trust {step.origin} '{key}' --only --folder DIR")


def _end(done: Rotated) -> None:
    for step in done.failed:
        assert step.error is not None
        say(f"{step.archive}: the earlier keys are in force there still:")
        complain(step.error)
    if done.failed:
        say("hint: the same command again goes on with the rest")
        raise typer.Exit(1)
