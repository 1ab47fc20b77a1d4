"""`make demo`: the main job, end to end, on the embedded default, in plain words.

It runs the same commands that a person would type, in a folder that it makes and removes. It fails (exit 1) if any
comparison does.
"""

from __future__ import annotations

import argparse
import json
import lzma
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from events.client import Client, Draft
from events.clock import wall_micros
from events.envelope import EventId
from events.heads import LogHeads
from events.payloads.care import EnteredInError
from events.rules import Head
from projections.record_tables import OBSERVATIONS
from services.cli.output import say, show, show_table
from services.home import Home
from services.moments import show_span
from services.projecting import catch_up

SAMPLE = Path(__file__).resolve().parent.parent / "deploy" / "samples" / "clinic-sample.ndjson.xz"
FIRST_PATIENTS = 8
VOIDED = 400


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--keep", metavar="FOLDER", type=Path, help="work in this new folder and keep it")
    folder = parser.parse_args().keep
    if folder is not None:
        folder.mkdir(parents=True)
        return Demo(folder).run()
    with tempfile.TemporaryDirectory(prefix="rekam-demo-") as made:
        return Demo(Path(made)).run()


class Demo:
    """One run; every step prints what it does before it does it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "clinic"
        self.steps = 0

    def run(self) -> int:
        began = time.monotonic()
        first, rest = self._split()
        say(f"Working in {self.folder}")
        self._step("A clinic is set up: a log, tables, an archive, keys")
        self._rekam("init", "--name", "Klinik Contoh")
        self._step(f"The first {FIRST_PATIENTS} patients arrive, and are shipped offsite with a snapshot")
        self._rekam("import", "fhir", str(first))
        self._rekam("replicate", "--once", "--snapshot")
        self._step("The rest arrive")
        self._rekam("import", "fhir", str(rest))
        truth = self._digest()
        moment = self._next_second()
        show(f"This is the truth at {moment}: {self._rows(truth):,} rows in {len(truth)} tables.")
        self._step(f"A human error: {VOIDED} records are marked as entered in error, and nobody notices")
        self._void_by_mistake()
        self._rekam("replicate", "--once")
        harmed = [name for name, table in self._digest().items() if table != truth[name]]
        show(f"The error changed {', '.join(harmed)}.")
        self._step("The disk with log and tables dies")
        for database in self.home.glob("*.db*"):
            show(f"$ rm {database.name}")
            database.unlink()
        self._step(f"Recovery, to the second before the error: {moment}")
        report = json.loads(self._rekam("recover", "--to", moment, "--yes", "--json"))
        recovered = self._digest()
        same = self._compare(truth, recovered)
        self._step("Work goes on: the same import again finds everything there and changes nothing")
        self._rekam("import", "fhir", str(rest))
        unchanged = self._digest() == truth
        harmless = bool(harmed)
        self._conclude(report, same and unchanged and harmless, time.monotonic() - began)
        return 0 if same and unchanged and harmless else 1

    def _split(self) -> tuple[Path, Path]:
        """The sample as two files: the first patients, and the rest."""
        first, rest = self.folder / "first-patients.ndjson", self.folder / "rest.ndjson"
        patients = 0
        with lzma.open(SAMPLE, "rb") as sample, first.open("wb") as one, rest.open("wb") as two:
            for line in sample:
                patients += b'"resourceType":"Patient"' in line
                (one if patients <= FIRST_PATIENTS else two).write(line)
        return first, rest

    def _step(self, text: str) -> None:
        self.steps += 1
        show(f"\n{self.steps}. {text}")

    def _rekam(self, *arguments: str) -> str:
        show(f"$ rekam {' '.join(arguments)}")
        command = [sys.executable, "-m", "services.cli.main", "--home", str(self.home), *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            show(done.stdout)
            raise SystemExit(f"the demo failed: 'rekam {' '.join(arguments)}' ended with {done.returncode}")
        if "--json" not in arguments:
            show("\n".join("  " + line for line in done.stdout.splitlines()))
        return done.stdout

    def _void_by_mistake(self) -> None:
        """A script gone wrong, with everybody's rights: it voids observations, as a service would, event by event."""
        home = Home.open(self.home)
        with closing(home.log()) as log, closing(home.tables()) as tables:
            with tables.reading():
                held = list(islice(tables.all_rows(OBSERVATIONS), VOIDED))
            client = Client(log, LogHeads(log), encoder=home.encoder())
            at = [OBSERVATIONS.columns.keys().index(name) for name in ("stream", "record_id", "event_id")]
            for stream, record_id, event_id in ([row[i] for i in at] for row in held):
                client.append(stream, partial(_void, record_id, event_id))
            catch_up(log, tables)
        show(f"{len(held)} observations are voided.")

    def _digest(self) -> dict[str, Any]:
        tables: dict[str, Any] = json.loads(self._rekam("digest", "--json"))["tables"]
        return tables

    @staticmethod
    def _rows(tables: dict[str, Any]) -> int:
        return sum(table["rows"] for table in tables.values())

    @staticmethod
    def _next_second() -> str:
        """A whole second that is over: everything so far is before it, everything to come is after it."""
        second = int(time.time()) + 1
        while time.time() <= second:
            time.sleep(second - time.time() + 0.002)
        return datetime.fromtimestamp(second, UTC).isoformat()

    def _compare(self, truth: dict[str, Any], recovered: dict[str, Any]) -> bool:
        names = sorted(truth.keys() | recovered.keys())
        rows = []
        for name in names:
            was, now = truth.get(name), recovered.get(name)
            rows.append(
                [name, was and was["rows"], now and now["rows"], "same" if was == now else "DIFFERENT"]
            )
        show()
        show_table(["table", "rows before the error", "rows recovered", "digest"], rows)
        return truth == recovered

    def _conclude(self, report: dict[str, Any], good: bool, seconds: float) -> None:
        if not good:
            show("\nThe recovered clinic is NOT the clinic before the error. This is a bug.")
            return
        show(
            f"\nEvery table is, row by row, what it was before the error.\n"
            f"  RTO actual: {show_span(report['rto_seconds'])} from the command to a working clinic.\n"
            f"  RPO actual: {report['rpo']}\n"
            f"The error is not erased: it stands in the log, set aside by the recovery, as evidence.\n"
            f"The whole demo took {show_span(seconds)}.\n\n"
            f"What to try next:\n"
            f"  make demo ARGS='--keep my-demo'    keep the folder, then use it:\n"
            f"  .venv/bin/rekam --home my-demo/clinic status\n"
            f"  .venv/bin/rekam --home my-demo/clinic points\n"
            f"  .venv/bin/rekam --home my-demo/clinic history PATIENT\n"
            f"  .venv/bin/rekam --help"
        )


def _void(record_id: str, event_id: EventId, head: Head) -> Draft:
    payload = EnteredInError(
        kind="observation", record_id=record_id, target=event_id, reason="clean-up script"
    )
    return Draft(payload.to_payload(), wall_micros(), {"id": "script", "role": "operator", "system": "demo"})


if __name__ == "__main__":
    sys.exit(main())
