"""How far the archive is behind while events come steadily: from an append's return to the checkpoint that covers it.

A program appends, and `rekam replicate` ships beside it, in a process of its own, every second.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import cycle, islice
from typing import NamedTuple

from benchmarks.clinics import new_home
from benchmarks.harness import Bench, Broken, Figure, Missing, at_most, say
from benchmarks.inputs import entries_sample
from benchmarks.servers import new_topics
from events.position import EVENTS, Partition
from replicator.manifest import note_key
from services.home import Home

RATE = 5_000
"""Events a second."""
APPENDED = 50
"""Events of one append."""
INTERVAL_SECONDS = 1
LONGEST_SECONDS = 60
PATIENCE_SECONDS = 60.0
POLL_SECONDS = 0.05
EVENTS_PARTITION = Partition(EVENTS, 0)
COMMAND = [sys.executable, "-c", "import sys; from services.cli.main import main; sys.exit(main())"]


class Appended(NamedTuple):
    """One append: when it returned (seconds since 1970), and the next offset then."""

    at: float
    stop: int


def run(bench: Bench) -> list[Figure]:
    figures = _figures(bench, "SQLite", new_home(bench))
    try:
        with new_topics() as url:
            return [*figures, *_figures(bench, "Kafka", new_home(bench, log=url))]
    except Missing as error:
        say(f"  left out: Kafka ({error})")
        return figures


def _figures(bench: Bench, name: str, home: Home) -> list[Figure]:
    entries = cycle(entries_sample(bench))
    with closing(home.log()) as log, _replicating(home):
        _wait_for_checkpoint(home, 0)
        appended = []
        begun = time.time()
        for number in range(max(1, min(bench.events, RATE * LONGEST_SECONDS) // APPENDED)):
            pause = begun + number * APPENDED / RATE - time.time()
            if pause > 0:
                time.sleep(pause)
            stop = log.append(EVENTS, list(islice(entries, APPENDED)))[-1].offset + 1
            appended.append(Appended(time.time(), stop))
        seconds = time.time() - begun
        _wait_for_checkpoint(home, stop)
    lags = sorted(_lags(home, appended))
    rate = len(appended) * APPENDED / seconds
    note = f"{rate:,.0f} events/s for {seconds:.0f} s, an interval of {INTERVAL_SECONDS} s"
    return [
        Figure(f"{name}: behind, p50", statistics.median(lags), "s", note=note),
        Figure(f"{name}: behind, p99", lags[int(len(lags) * 0.99)], "s", at_most(2)),
    ]


@contextmanager
def _replicating(home: Home) -> Iterator[None]:
    environment = {**os.environ, "REKAM_REPLICATOR__INTERVAL_SECONDS": str(INTERVAL_SECONDS)}
    command = [*COMMAND, "replicate", "--home", str(home.path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as child:
        try:
            yield
            if child.poll() is not None:
                raise Broken(f"rekam replicate ended with {child.returncode}")
        finally:
            child.terminate()


def _wait_for_checkpoint(home: Home, stop: int) -> None:
    """Until one covers the events before `stop`."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        marks = home.archive().marks
        if len(marks) and marks.last.position[EVENTS_PARTITION] >= stop:
            return
        time.sleep(POLL_SECONDS)
    raise Broken("the archive does not come after")


def _lags(home: Home, appended: list[Appended]) -> Iterator[float]:
    """Seconds, one for each append."""
    marks = list(home.archive().marks)
    stops = [mark.position[EVENTS_PARTITION] for mark in marks]
    notes = home.path / home.settings.archive.url
    for at, stop in appended:
        n = bisect_left(stops, stop) + 1
        yield (notes / note_key(n)).stat().st_ctime - at
