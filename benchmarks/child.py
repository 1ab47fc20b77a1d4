"""Work done in a process of its own, so that its memory can be told from that of who measures.

`python -m benchmarks.child WORK ARGUMENTS…` prints one JSON object: the seconds of the work itself, what it says of
it, and the highest memory of the process and its children together, in MiB.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.clinics import new_archive, newest_snapshot
from benchmarks.harness import Broken, peak_memory
from projections import bulk
from projections.completing import complete_journal
from projections.store import open_tables
from replicator.shipper import Shipper
from replicator.snapshot import reopened_snapshot
from replicator.targets import Target
from services.home import Home
from services.places import open_log
from services.recovery import acting

Report = dict[str, Any]


def run_child(work: str, *arguments: str, **environment: str) -> Report:
    """What the child reports. Raises Broken where it fails, with the last line that it said."""
    command = [sys.executable, "-m", "benchmarks.child", work, *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise Broken(f"{work} failed: {last}")
    report: Report = json.loads(done.stdout)
    return report


def ship(log_url: str, folder: str) -> Report:
    """Ships a log into a new archive in an empty folder. Its seconds are the shipping's, without connecting."""
    with closing(open_log(log_url, Path("/"))) as log:
        shipper = Shipper(log, new_archive(Path(folder)))
        begun = time.perf_counter()
        shipped = shipper.ship_once()
        seconds = time.perf_counter() - begun
    return {
        "records": shipped.records,
        "segments": shipped.segments,
        "size_bytes": shipped.size_bytes,
        "seconds": seconds,
    }


def rebuild(home: str, tables_url: str, workers: str) -> Report:
    """Tables out of a clinic's archive, from the first record on: journal and indexes included."""
    place = Home.open(Path(home))
    with closing(place.archive()) as archive:
        position = archive.end()
    with closing(open_tables(tables_url)) as tables:
        rebuilt = bulk.rebuild(place.archive_opener(), position, tables, workers=int(workers))
    return {"records": rebuilt.records, "applied": rebuilt.applied}


def from_snapshot(home: str, tables_url: str, workers: str) -> Report:
    """Tables out of the archive's newest snapshot and the tail, as a recovery makes them, then the journal."""
    begun = time.perf_counter()
    place = Home.open(Path(home))
    with closing(place.archive()) as archive, closing(open_tables(tables_url)) as tables:
        snapshot, opener = newest_snapshot(archive), place.archive_opener()
        again = partial(reopened_snapshot, opener, snapshot.id)
        rebuilt = bulk.rebuild(
            opener, archive.end(), tables, workers=int(workers), snapshot=snapshot, open_snapshot=again
        )
        serving = time.perf_counter() - begun
        complete_journal(opener, tables, workers=int(workers))
    return {"tail": rebuilt.records, "serving_seconds": serving}


def recover(home: str) -> Report:
    """What `rekam recover --to latest` does in this home, with one worker."""
    place = Home.open(Path(home))
    actor = {"id": "benchmark", "role": "operator", "system": "benchmark"}
    request = acting.Request(Target(None), actor, "benchmark")
    report = acting.Report(started=place.clock())
    view, planned = acting.prepare(place, request, _silent, ship_first=True)
    acting.act(place, request, view, planned, report, _silent)
    return {"records": report.restored_records, "steps": report.steps, "tables": planned.tables}


def plan(home: str, time: str) -> Report:
    """What `rekam recover --to TIME --dry-run` does in a home without log and tables."""
    place = Home.open(Path(home))
    actor = {"id": "benchmark", "role": "operator", "system": "benchmark"}
    request = acting.Request(Target(int(time)), actor, "benchmark")
    view, planned = acting.prepare(place, request, _silent, ship_first=False)
    view.close()
    return {"position": planned.position.records()}


def _silent(text: str) -> None:
    """Nothing is said."""


def high_water_mib() -> float:
    """The system's own mark sees peaks that fall between two looks. Not ru_maxrss, which a process inherits from the
    one that started it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


WORKS: dict[str, Callable[..., Report]] = {
    "ship": ship,
    "rebuild": rebuild,
    "from_snapshot": from_snapshot,
    "recover": recover,
    "plan": plan,
}


def main(arguments: list[str]) -> int:
    work = WORKS[arguments[0]]
    with peak_memory() as peak:
        begun = time.perf_counter()
        said = work(*arguments[1:])
        seconds = time.perf_counter() - begun
        highest = max(peak(), high_water_mib())
    sys.stdout.write(json.dumps({"seconds": seconds, **said, "peak_mib": highest}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
