"""`rekam project`, `rekam replicate`, `rekam run`: what runs all day."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Annotated, Any

import typer

from events.errors import RekamError, WrongUsage
from services.archives import replicate_each_forever, replicate_each_once
from services.cli.options import ArchiveOption, HomeOption, JsonOption, open_home
from services.cli.output import print_json, say, show
from services.cli.stopping import until_stopped
from services.home import Home
from services.moments import show_millis
from services.projecting import catch_up_whole
from services.replicating import Outcome, missing_words
from services.running import keep, project_forever
from services.watching.alerts import alert_forever
from services.watching.looking import whole_status
from services.watching.metrics import serving
from services.witnessing.asking import ask_each

LOOPBACK = "127.0.0.1"
RUNNING = "Running until Ctrl-C or SIGTERM; 'rekam status' says how it goes."
MetricsPortOption = Annotated[
    int | None, typer.Option(min=0, max=65535, help="Serve /metrics for Prometheus here; 0: any free port.")
]
MetricsHostOption = Annotated[str, typer.Option(help="The address that metrics are served at.")]
OnceOption = Annotated[bool, typer.Option("--once", help="Do what there is to do, then end.")]


def register(app: typer.Typer) -> None:
    app.command("project")(project)
    app.command("replicate")(replicate)
    app.command("run")(run)
    app.command("watch")(watch)


def project(home: HomeOption = None, once: OnceOption = False) -> None:
    """Fold the log into the tables, continuously."""
    place = open_home(home)
    if once:
        with closing(place.log()) as log, closing(place.tables()) as tables:
            catch_up_whole(place.log_opener(), log, tables)
        return
    with until_stopped() as stop:
        say(RUNNING)
        project_forever(place, stop, say)


def replicate(
    home: HomeOption = None,
    once: OnceOption = False,
    snapshot: Annotated[
        bool, typer.Option("--snapshot", help="Take a snapshot of the tables first.")
    ] = False,
    archive: ArchiveOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ship the log to every archive, continuously; each checkpoint says up to when it is complete."""
    place = open_home(home, archive)
    places = place.archives() if archive is None else [place]
    if not once:
        with until_stopped() as stop:
            say(RUNNING)
            replicate_each_forever(places, stop, say)
        return
    outcomes = replicate_each_once(places, snapshot=snapshot)
    for asker, found in ask_each([p for p in places if isinstance(outcomes[p.archive_name], Outcome)]):
        if isinstance(found, RekamError):
            say(f"warning: {asker.place.archive_name}: witness {asker.witness.name!r}: {found}")
    failures = [error for error in outcomes.values() if isinstance(error, RekamError)]
    if len(failures) == len(places):
        raise failures[0]
    if as_json:
        print_json(_outcomes_json(outcomes))
    else:
        for name, outcome in outcomes.items():
            _show_outcome(place, f"{name}: " if len(places) > 1 else "", outcome)
    raise typer.Exit(1 if failures else 0)


def _outcomes_json(outcomes: Mapping[str, Outcome | RekamError]) -> dict[str, Any]:
    """The first archive's outcome, as where there is only one, and each by its name where there are several."""
    each = {
        name: found.to_json() if isinstance(found, Outcome) else {"error": found.message, "hint": found.hint}
        for name, found in outcomes.items()
    }
    first = next(iter(each.values()))
    return first if len(each) == 1 else {**first, "archives": each}


def _show_outcome(place: Home, name: str, outcome: Outcome | RekamError) -> None:
    if isinstance(outcome, RekamError):
        say(f"error: {name}{outcome}")
        return
    shipped = outcome.shipped
    show(
        f"{name}Shipped {shipped.records:,} records in {shipped.segments:,} segments; checkpoint {shipped.checkpoint}: "
        f"everything up to {show_millis(shipped.time, place.zone)} is in the archive."
    )
    if shipped.missing_blobs:
        say(f"warning: {name}{missing_words(shipped.missing_blobs)}")
    if outcome.snapshot:
        show(f"{name}Snapshot {outcome.snapshot} was taken.")


def run(
    home: HomeOption = None,
    metrics_port: MetricsPortOption = None,
    metrics_host: MetricsHostOption = LOOPBACK,
) -> None:
    """Project, ship and watch, continuously, in one process."""
    place = open_home(home)
    with until_stopped() as stop, _metrics(place, metrics_host, metrics_port):
        say(RUNNING)
        works: list[Callable[[], None]] = [
            lambda: project_forever(place, stop, say),
            lambda: replicate_each_forever(place.archives(), stop, say),
        ]
        if place.alerts is not None:
            works.append(lambda: _alert(place, stop))
        keep(works, stop)


def watch(
    home: HomeOption = None,
    metrics_port: MetricsPortOption = None,
    metrics_host: MetricsHostOption = LOOPBACK,
) -> None:
    """Watch only: metrics for Prometheus, and alerts as rekam.toml says; best where nothing else of it runs."""
    place = open_home(home)
    if place.alerts is None and metrics_port is None:
        raise WrongUsage(
            "there is nothing to do", "name a --metrics-port, or a command or webhook under [alerts]"
        )
    with until_stopped() as stop, _metrics(place, metrics_host, metrics_port):
        if place.alerts is not None:
            _alert(place, stop)
        stop.wait()


def _alert(place: Home, stop: threading.Event) -> None:
    assert place.alerts is not None
    alert_forever(lambda: whole_status(place)[0], place.settings.clinic.name, place.alerts, stop, say)


@contextmanager
def _metrics(place: Home, host: str, port: int | None) -> Iterator[None]:
    if port is None:
        yield
        return
    with serving(lambda: whole_status(place)[0], place.archive_name, host, port) as served:
        say(f"metrics: http://{host}:{served}/metrics")
        yield
