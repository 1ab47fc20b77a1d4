"""A clinic as its owner runs it: a home folder and the `rekam` command, on any mix of log, tables and archive."""

from __future__ import annotations

import json
import lzma
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any
from unittest import mock

import psycopg

from events.client import Client, Draft
from events.clock import wall_micros
from events.heads import LogHeads
from events.kafka_log.address import parse_address
from events.kafka_log.topics import Topics
from events.payloads.care import EnteredInError
from events.rules import Head
from projections.record_tables import OBSERVATIONS
from services.home import Home
from services.projecting import catch_up
from tests.command_line import SAMPLE, Ran, ndjson, rekam, sample_lines, start
from tests.servers import BUSY_SECONDS, S3Bucket

ACTOR = {"id": "script", "role": "operator", "system": "test"}


@dataclass
class Clinic:
    """`environment` is what the clinic's commands get beside their home: settings and credentials."""

    home: Path
    log: str = "sqlite:log.db"
    tables: str = "sqlite:tables.db"
    archive: str = "archive"
    bucket: S3Bucket | None = None
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.bucket is not None:
            self.archive = f"s3://{self.bucket.name}/{uuid.uuid4().hex[:8]}"
            self.environment |= {
                "REKAM_ARCHIVE__ACCESS_KEY": self.bucket.access,
                "REKAM_ARCHIVE__SECRET_KEY": self.bucket.secret,
            }

    # -- commands ----------------------------------------------------------------------------------------------

    def run(self, *words: str) -> Ran:
        """A command, in this process, with as many workers as the machine has processors."""
        return rekam(self.home, *words, code=None, **self._settings())

    def do(self, *words: str) -> Ran:
        """A command that must work."""
        return rekam(self.home, *words, **self._settings())

    @contextmanager
    def child(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """A command in a process of its own, which is gone in the end."""
        with start(self.home, *words, **self._settings()) as process:
            try:
                yield process
            finally:
                process.kill()

    def _settings(self) -> dict[str, str]:
        return {"REKAM_RECOVERY__WORKERS": "0", **self.environment}

    def init(self, *words: str) -> Clinic:
        endpoint = ["--endpoint", self.bucket.endpoint] if self.bucket is not None else []
        places = ["--log", self.log, "--tables", self.tables, "--archive", self.archive, *endpoint]
        self.do("init", "--json", *places, *words)
        return self

    def with_sample(self, last: int) -> Clinic:
        """Begun, with the first lines of the sample imported."""
        return self.init().with_lines(0, last)

    def with_lines(self, first: int, last: int) -> Clinic:
        """With these lines of the sample imported too."""
        path = self.home.parent / f"lines-{first}-{last}.ndjson"
        ndjson(path, sample_lines(first, last))
        self.take(path)
        return self

    def copied_to(self, home: Path) -> Clinic:
        """One like it, on the embedded default."""
        shutil.copytree(self.home, home)
        return Clinic(home)

    def take(self, path: Path) -> dict[str, Any]:
        return self.do("import", "fhir", str(path), "--json").json()

    def ship(self, *words: str) -> dict[str, Any]:
        return self.do("replicate", "--once", "--json", *words).json()

    def digest(self, *words: str) -> dict[str, Any]:
        return self.do("digest", "--json", *words).json()["tables"]

    def recover(self, to: str) -> dict[str, Any]:
        return self.do("recover", "--to", to, "--yes", "--json").json()

    def status(self) -> dict[str, Any]:
        return json.loads(self.run("status", "--json").out)

    def place(self) -> Home:
        """Its parts, for what no command does. Only inside `surroundings`."""
        return Home.open(self.home)

    @contextmanager
    def surroundings(self) -> Iterator[Home]:
        with mock.patch.dict(os.environ, self.environment):
            yield self.place()

    # -- what happens to clinics -----------------------------------------------------------------------------------

    def void_by_mistake(self, count: int) -> int:
        """A human error: observations are marked as entered in error, one event each. How many there were."""
        with self.surroundings() as home, closing(home.log()) as log, closing(home.tables()) as tables:
            catch_up(log, tables)
            names = list(OBSERVATIONS.columns.keys())
            at = [names.index(name) for name in ("stream", "record_id", "event_id")]
            with tables.reading():
                held = list(islice(tables.all_rows(OBSERVATIONS), count))
            client = Client(log, LogHeads(log))
            for row in held:
                stream, record_id, event_id = (row[i] for i in at)
                client.append(stream, partial(_void, record_id, event_id))
            catch_up(log, tables)
        return len(held)

    def lose_log(self) -> None:
        if self.log.startswith("kafka:"):
            delete_topics(self.log)
        else:
            self._unlink("log.db")

    def lose_tables(self) -> None:
        if self.tables.startswith("postgresql"):
            with psycopg.connect(self.tables.replace("+psycopg", ""), autocommit=True) as connection:
                connection.execute("DROP SCHEMA rekam CASCADE")
        else:
            self._unlink("tables.db")

    def _unlink(self, name: str) -> None:
        for file in self.home.glob(f"{name}*"):
            file.unlink()


def delete_topics(url: str, names: Sequence[str] = ()) -> None:
    """Deletes a log's topics (or those named) behind everybody's back."""
    topics = Topics(parse_address(url))
    try:
        topics.delete(names or list(topics.standing()))
    finally:
        topics.close()


@contextmanager
def kafka_url(servers: str, partitions: int = 1, **settings: object) -> Iterator[str]:
    """The URL of a log of a test's own; what is left of it is deleted in the end."""
    patient = {"deadline_seconds": BUSY_SECONDS, **settings}
    words = "".join(f"&{name}={value}" for name, value in patient.items())
    url = f"kafka://{servers}/clinic-{uuid.uuid4().hex[:12]}.?partitions={partitions}{words}"
    yield url
    delete_topics(url)


def sample(folder: Path, *sizes: int) -> list[Path]:
    """Files of so many resources, of every patient of the sample and of every type, none in two files."""
    files = [folder / f"part-{number}.ndjson" for number in range(len(sizes))]
    patients = _patients()
    for number, (file, size) in enumerate(zip(files, sizes, strict=True)):
        share, uneven = divmod(size, len(patients))
        assert not uneven, f"{len(patients)} patients share a file equally"
        before = sum(sizes[:number]) // len(patients)
        file.write_bytes(b"".join(line for lines in patients for line in lines[before : before + share]))
    return files


@cache
def _patients() -> list[list[bytes]]:
    """The resources of each patient of the sample, the patient first and then types in turns."""
    patients: list[dict[bytes, list[bytes]]] = []
    with lzma.open(SAMPLE, "rb") as lines:
        for line in lines:
            kind = line[: line.index(b",")]
            if b"Patient" in kind:
                patients.append({})
            patients[-1].setdefault(kind, []).append(line)
    turns = (zip_longest(*kinds.values()) for kinds in patients)
    return [[line for turn in of_one for line in turn if line is not None] for of_one in turns]


def _void(record_id: str, event_id: bytes, head: Head) -> Draft:
    payload = EnteredInError(
        kind="observation", record_id=record_id, target=event_id, reason="clean-up script"
    )
    return Draft(payload.to_payload(), wall_micros(), ACTOR)
