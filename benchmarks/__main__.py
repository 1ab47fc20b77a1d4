"""`python -m benchmarks [NAMES…]`: runs benchmarks chosen by name and prints each figure with its limit.

Figures go to stdout (a table, or with --json one document), progress to stderr. The exit code says whether the
benchmarks ran, never whether a figure reached its limit: a figure depends on the machine.
"""

from __future__ import annotations

import argparse
import importlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.harness import Bench, Broken, Figure, Missing, as_json, load_warning, say, show
from benchmarks.machine import facts
from events.errors import RekamError

QUICK_EVENTS = 200_000
EVENTS_PER_PATIENT = 50

BENCHMARKS: dict[str, str] = {
    "simulate": "generating and encoding the traffic that all others use",
    "append": "embedded append against a bare SQLite commit, and concurrent writers",
    "peer": "the same work against the eventsourcing library on SQLite",
    "segments": "segment building with its tree",
    "shipping": "shipping a log into an archive: SQLite and Kafka, and the memory it takes",
    "lag": "how far the archive is behind while events come steadily",
    "replay": "replay from the archive into SQLite and PostgreSQL tables",
    "snapshot": "from a snapshot at 95 % of the log plus the tail",
    "verify": "an auditor reads an archive again: stored bytes, and every record",
    "sealing": "what sealing patients' payloads costs: bytes, writing, replay",
    "opening": "opening the archive of ten years, and planning a recovery into the middle of them",
    "undo": "planning the undo of one patient with 1,000 events",
    "backup": "what a full backup costs: appends meanwhile, and bytes against one zstd stream and pgBackRest",
    "memory": "a recovery's memory and time at two sizes",
}


def load(name: str) -> Callable[[Bench], list[Figure]]:
    """The benchmark `name`: the function `run` of the module of that name."""
    run: Callable[[Bench], list[Figure]] = importlib.import_module(f"benchmarks.{name}").run
    return run


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    names = "\n".join(f"  {name:<10} {text}" for name, text in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures Rekam and prints each figure with its limit.",
        epilog=f"benchmarks:\n{names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which benchmarks (default: all)")
    parser.add_argument(
        "--events", type=int, default=QUICK_EVENTS, help="events in the log (default %(default)s)"
    )
    parser.add_argument(
        "--patients", type=int, help=f"patients (default: one for {EVENTS_PER_PATIENT} events)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the simulated clinic (default %(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="runs, of which the median (default %(default)s)")
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    chosen = parser.parse_args(argv)
    if unknown := [name for name in chosen.names if name not in BENCHMARKS]:
        parser.error(f"no such benchmark: {', '.join(unknown)} (known: {', '.join(BENCHMARKS)})")
    if chosen.events < 1 or chosen.runs < 1:
        parser.error("--events and --runs are at least 1")
    return chosen


def run_all(names: Sequence[str], bench: Bench) -> tuple[dict[str, list[Figure]], int]:
    """The figures of each, and how many benchmarks broke. What a machine lacks is said, and the rest goes on."""
    results: dict[str, list[Figure]] = {}
    broken = 0
    for name in names:
        say(f"{name}: {BENCHMARKS[name]}")
        try:
            results[name] = load(name)(bench)
        except Missing as error:
            say(f"  left out: {error}")
        except (RekamError, Broken) as error:
            say(f"  broken: {error}")
            broken += 1
    return results, broken


def main(argv: Sequence[str] | None = None) -> int:
    chosen = arguments(sys.argv[1:] if argv is None else argv)
    if chosen.folder is not None:
        chosen.folder.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="rekam-bench-", dir=chosen.folder))
    patients = chosen.patients or max(1, chosen.events // EVENTS_PER_PATIENT)
    bench = Bench(chosen.events, patients, chosen.seed, chosen.runs, folder)
    machine = facts(folder)
    if warning := load_warning():
        say(warning)
    try:
        results, broken = run_all(chosen.names or list(BENCHMARKS), bench)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if chosen.json:
        sys.stdout.write(as_json(results, machine, bench) + "\n")
    else:
        show(results, machine)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
