"""`rekam project`, `rekam replicate`, `rekam run`: what runs all day."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Annotated

import typer

from services.cli.options import HomeOption, JsonOption, open_home
from services.cli.output import print_json, say, show
from services.moments import show_millis
from services.projecting import catch_up_whole
from services.replicating import replicate_forever, replicate_once
from services.running import keep, project_forever

OnceOption = Annotated[bool, typer.Option("--once", help="Do what there is to do, then end.")]


def register(app: typer.Typer) -> None:
    app.command("project")(project)
    app.command("replicate")(replicate)
    app.command("run")(run)


def project(home: HomeOption = None, once: OnceOption = False) -> None:
    """Fold the log into the tables, continuously."""
    place = open_home(home)
    if once:
        with closing(place.log()) as log, closing(place.tables()) as tables:
            catch_up_whole(place.log_opener(), log, tables)
        return
    with _until_stopped() as stop:
        project_forever(place, stop, say)


def replicate(
    home: HomeOption = None,
    once: OnceOption = False,
    snapshot: Annotated[
        bool, typer.Option("--snapshot", help="Take a snapshot of the tables first.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Ship the log to the archive, continuously; each checkpoint says up to when it is complete."""
    place = open_home(home)
    if not once:
        with _until_stopped() as stop:
            replicate_forever(place, stop, say)
        return
    outcome = replicate_once(place, snapshot=snapshot)
    if as_json:
        print_json(outcome.to_json())
        return
    shipped = outcome.shipped
    show(
        f"Shipped {shipped.records:,} records in {shipped.segments:,} segments; checkpoint {shipped.checkpoint}: "
        f"everything up to {show_millis(shipped.time, place.zone)} is in the archive."
    )
    if outcome.snapshot:
        show(f"Snapshot {outcome.snapshot} was taken.")


def run(home: HomeOption = None) -> None:
    """Project and ship, both continuously, in one process."""
    place = open_home(home)
    with _until_stopped() as stop:
        works: list[Callable[[], None]] = [
            lambda: project_forever(place, stop, say),
            lambda: replicate_forever(place, stop, say),
        ]
        keep(works, stop)


@contextmanager
def _until_stopped() -> Iterator[threading.Event]:
    """An event that SIGTERM and Ctrl-C set, so that what is under way ends cleanly."""
    stop = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
