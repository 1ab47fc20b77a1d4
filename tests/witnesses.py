"""Witnesses for tests: the real server, in this process or in one of its own, on a free port of this machine."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import urllib3

from events.clock import Clock, wall_millis
from replicator.witnessing.keeping import WitnessFolder
from services.witnessing.serving import listen, serve
from tests.command_line import start


@dataclass
class Serving:
    """A witness that answers; `port` is kept over restarts."""

    path: Path
    url: str
    told: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


@contextmanager
def serving(path: Path, port: int = 0, clock: Clock = wall_millis) -> Iterator[Serving]:
    """The witness of a folder, in this process."""
    folder, stop = WitnessFolder.open(path), threading.Event()
    at = listen("127.0.0.1", port)
    served = Serving(path, f"http://127.0.0.1:{at.getsockname()[1]}")
    thread = threading.Thread(target=serve, args=(folder, at, stop, clock, served.told.append))
    thread.start()
    try:
        yield served
    finally:
        stop.set()
        thread.join()
        at.close()


def start_witness(path: Path, port: int = 0) -> tuple[subprocess.Popen[str], str]:
    """The witness as a process of its own, once it listens: (process, URL)."""
    process = start(path, "witness", "serve", "--folder", path, "--port", port)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert "listens at " in line, line
    return process, line.strip().rpartition(" ")[2]


def post(url: str, body: bytes) -> urllib3.BaseHTTPResponse:
    return urllib3.request("POST", f"{url}/add-checkpoint", body=body, retries=False, timeout=30)


def get(url: str, path: str) -> urllib3.BaseHTTPResponse:
    return urllib3.request("GET", f"{url}{path}", retries=False, timeout=30)
