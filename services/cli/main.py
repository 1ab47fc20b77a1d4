"""`rekam`: the command line. Each command is a thin shell over a function elsewhere; here is who calls what.

Exit codes: 0 done; 1 the thing asked failed; 2 wrong usage or settings; 130 interrupted; `audit` has 3 and 4 too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from events.errors import RekamError
from services.cli.output import complain, say

ClickException: type[Exception] = typer.BadParameter.__mro__[2]
"""What typer raises for wrong usage, from whichever copy of click it brings."""
INTERRUPTED = 130
PARTS = {
    "setting_up": ("init",),
    "exchange": ("import", "export", "simulate"),
    "attaching": ("attach", "attachments", "attachment"),
    "running": ("project", "replicate", "run", "watch"),
    "recovering": ("recover", "points"),
    "drilling": ("drill",),
    "rewinding": ("rewinds",),
    "undoing": ("undo",),
    "salvaging": ("salvage",),
    "archives": ("archive",),
    "backing_up": ("backup",),
    "witnessing": ("witness",),
    "auditing": ("audit",),
    "keys": ("keys",),
    "erasing": ("erase", "restrict", "due"),
    "finding": ("find",),
    "looking": ("show", "history", "digest", "status"),
}
"""module -> its commands, in the order of the help. Only what a command line names is imported: start-up time."""


def application(words: Sequence[str]) -> typer.Typer:
    """The commands that `words` may mean; all of them where none is named."""
    app = typer.Typer(
        name="rekam",
        help="Clinic records as events: recorded once, shipped offsite, recovered to any moment.",
        epilog="Exit codes: 0 done, 1 failed, 2 wrong usage or settings, 130 interrupted.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    app.callback()(common)
    named = [part for part, commands in PARTS.items() if set(commands) & set(words)]
    for part in named or PARTS:
        import_module(f"services.cli.{part}").register(app)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rekam {version('rekam')}")
        raise typer.Exit


def common(
    home: Annotated[
        Path | None, typer.Option(help="The home folder (else REKAM_HOME, else the current folder).")
    ] = None,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if home is not None:
        os.environ["REKAM_HOME"] = str(home)  # one place to look, for this process and the workers it starts


def main() -> None:
    """The entry point: whatever a user can cause ends as one line and a hint, never as a traceback."""
    try:
        code = application(sys.argv[1:])(standalone_mode=False)
        if code == INTERRUPTED:  # typer makes Ctrl-C a code, without a word
            code = _interrupted()
    except (typer.Abort, KeyboardInterrupt):
        code = _interrupted()
    except ClickException as error:
        error.show()  # type: ignore[attr-defined]  # typer does not name the class
        code = error.exit_code  # type: ignore[attr-defined]
    except RekamError as error:
        complain(error)
        code = error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read us has seen enough
        code = 0
    try:
        sys.stdout.flush()  # here, since at the interpreter's end a closed pipe would be exit code 120
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code or 0)


def _interrupted() -> int:
    say("interrupted: what was acknowledged is kept; the same command goes on from there")
    return INTERRUPTED


if __name__ == "__main__":
    main()
