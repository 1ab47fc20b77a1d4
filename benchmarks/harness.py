"""Figures, limits, timing and printing: what every benchmark shares.

A benchmark is a function of a `Bench` that returns figures. A figure carries the limit that it is meant to reach, if
it has one; reaching it or not is printed, and nothing here fails for a figure.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import psutil
from rich.console import Console
from rich.table import Table

SAMPLE_SECONDS = 0.1
MIB = 2**20
T = TypeVar("T")


class Limit(NamedTuple):
    """What a figure is meant to reach: at least or at most `value`."""

    at_least: bool
    value: float

    def reached(self, measured: float) -> bool:
        return measured >= self.value if self.at_least else measured <= self.value


def at_least(value: float) -> Limit:
    return Limit(True, value)


def at_most(value: float) -> Limit:
    return Limit(False, value)


class Figure(NamedTuple):
    """One line of the result. `unit` "x" marks a ratio within this run."""

    name: str
    value: float
    unit: str
    limit: Limit | None = None
    note: str = ""


class Missing(Exception):
    """A benchmark cannot run here: what it lacks. The others go on."""


class Broken(Exception):
    """What is measured failed: the benchmark has no figures, and the run says so and fails."""


@dataclass
class Bench:
    """What a benchmark is given."""

    events: int
    patients: int
    seed: int
    runs: int
    folder: Path
    """Scratch on the disk that is measured; removed at the end."""
    kept: dict[str, Any] = field(default_factory=dict)
    """Inputs that several benchmarks share (a log, an archive), made once a run."""

    def once(self, name: str, make: Callable[[], T]) -> T:
        """The shared input `name`, made by the first who asks."""
        if name not in self.kept:
            say(f"  preparing {name}")
            self.kept[name] = make()
        made: T = self.kept[name]
        return made

    def scratch(self, name: str) -> Path:
        """A new empty folder."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))


def say(text: str) -> None:
    """Progress, for people: stdout holds results alone."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def timed(work: Callable[[], object]) -> float:
    """Seconds that one call takes.

    Whatever was prepared before is put out of the garbage collector's sight: else everything measured would pay for
    walking over it, again and again, which no program does that holds only what it works on.
    """
    gc.collect()
    gc.freeze()
    begun = time.perf_counter()
    try:
        work()
        return time.perf_counter() - begun
    finally:
        gc.unfreeze()


def median_seconds(runs: int, work: Callable[[], object]) -> float:
    """The median of several runs."""
    return statistics.median(timed(work) for _ in range(runs))


def interleaved(runs: int, *works: Callable[[], object]) -> list[float]:
    """Median seconds of each, run in turns, so that a machine that slows down slows all of them."""
    seconds: list[list[float]] = [[] for _ in works]
    for _ in range(runs):
        for taken, work in zip(seconds, works, strict=True):
            taken.append(timed(work))
    return [statistics.median(taken) for taken in seconds]


def call_seconds(count: int, call: Callable[[int], object]) -> list[float]:
    """The seconds of each of `count` calls, given their number."""
    taken = []
    for number in range(count):
        begun = time.perf_counter()
        call(number)
        taken.append(time.perf_counter() - begun)
    return taken


def calls_in_turns(count: int, *calls: Callable[[int], object]) -> list[list[float]]:
    """The seconds of `count` calls of each, one after another in turns, so that whoever else uses the disk or the
    processor meanwhile slows all of them alike."""
    taken: list[list[float]] = [[] for _ in calls]

    def take_turns() -> None:
        for number in range(count):
            for seconds, call in zip(taken, calls, strict=True):
                begun = time.perf_counter()
                call(number)
                seconds.append(time.perf_counter() - begun)

    timed(take_turns)
    return taken


def p50_milliseconds(seconds: Sequence[float]) -> float:
    return statistics.median(seconds) * 1000


@contextmanager
def peak_memory() -> Iterator[Callable[[], float]]:
    """Gives a function that says the peak, in MiB, of this process and its children together since the start.

    Memory shared between processes counts once (PSS), where the system tells.
    """
    peak, done, me = [0.0], threading.Event(), psutil.Process()

    def sample() -> None:
        while not done.wait(SAMPLE_SECONDS):
            peak[0] = max(peak[0], _memory(me))

    thread = threading.Thread(target=sample, name="memory", daemon=True)
    thread.start()
    try:
        yield lambda: max(peak[0], _memory(me))
    finally:
        done.set()
        thread.join()


def _memory(root: psutil.Process) -> float:
    total = 0
    for process in [root, *root.children(recursive=True)]:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        except (psutil.AccessDenied, AttributeError):
            total += process.memory_info().rss
    return total / MIB


def show(results: dict[str, list[Figure]], facts: dict[str, str]) -> None:
    """The tables that people read, on stdout."""
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    head = Table(box=None, show_header=False, pad_edge=False)
    for name, value in facts.items():
        head.add_row(name, value)
    console.print(head)
    for benchmark, figures in results.items():
        table = Table(title=benchmark, title_justify="left", title_style="bold", pad_edge=False)
        table.add_column("figure")
        table.add_column("measured", justify="right")
        table.add_column("limit", justify="right")
        table.add_column("")
        table.add_column("note")
        for figure in figures:
            table.add_row(figure.name, _value(figure), _limit(figure), _reached(figure), figure.note)
        console.print(table)


def as_json(results: dict[str, list[Figure]], facts: dict[str, str], bench: Bench) -> str:
    """One JSON document: the same figures for programs."""
    return json.dumps(
        {
            "machine": facts,
            "events": bench.events,
            "patients": bench.patients,
            "seed": bench.seed,
            "runs": bench.runs,
            "figures": [
                {
                    "benchmark": benchmark,
                    "name": figure.name,
                    "value": figure.value,
                    "unit": figure.unit,
                    "limit": figure.limit
                    and {"at_least" if figure.limit.at_least else "at_most": figure.limit.value},
                    "reached": figure.limit and figure.limit.reached(figure.value),
                    "note": figure.note,
                }
                for benchmark, figures in results.items()
                for figure in figures
            ],
        },
        indent=2,
    )


def _value(figure: Figure) -> str:
    return f"{_number(figure.value)} {figure.unit}"


def _limit(figure: Figure) -> str:
    if figure.limit is None:
        return ""
    return f"{'≥' if figure.limit.at_least else '≤'} {_number(figure.limit.value)} {figure.unit}"


def _reached(figure: Figure) -> str:
    if figure.limit is None:
        return ""
    return "reached" if figure.limit.reached(figure.value) else "NOT reached"


def _number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def load_warning() -> str | None:
    """A line that says so when the machine is too busy for figures that mean anything."""
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    if load > cores / 2:
        return f"The machine is busy (load {load:.1f} on {cores} cores): compare ratios only."
    return None
