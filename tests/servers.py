"""Where tests get their servers from, in this order: the environment, this machine, a container, nowhere.

A server starts when a test first asks for it and ends with the session. Where there is none the test is skipped with
the reason, or fails when REKAM_REQUIRE_SERVERS=1 (continuous integration), so that nothing passes by not running.
What was found, started or lacked is kept for the summary at the end of the run. Where several processes share the
tests, one of them keeps the servers for all: see tests/lending.py.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import pytest

from deploy.native import installing
from deploy.native.processes import Lacking, Server
from deploy.native.servers import prepare
from tests import containers

ROOT = Path(__file__).resolve().parents[1]
VARIABLES = {
    "kafka": ("REKAM_TEST_KAFKA",),
    "postgresql": ("REKAM_TEST_POSTGRESQL",),
    "s3": ("REKAM_TEST_S3", "REKAM_TEST_S3_ACCESS", "REKAM_TEST_S3_SECRET"),
}
REQUIRE_SERVERS = "REKAM_REQUIRE_SERVERS"
REQUIRE_DATA = "REKAM_REQUIRE_DATA"
SHARED_DATA = "REKAM_SHARED_DATA"
BUSY_SECONDS = 120
"""What a server may take that answers, but on a machine that is busy with other tests. Only what hangs takes longer."""


class S3Server(NamedTuple):
    """An S3 endpoint and its administrator."""

    endpoint: str
    access: str
    secret: str


class S3Bucket(NamedTuple):
    """A bucket of a test's own. `locked`: with versioning and Object Lock."""

    endpoint: str
    access: str
    secret: str
    name: str
    locked: bool


class Discardable(Protocol):
    """Something started for this session: how to reach it, and its end."""

    environment: Mapping[str, str]

    def discard(self) -> None: ...


@dataclass
class Servers:
    """The servers of one test session, each obtained at most once."""

    told: dict[str, str] = field(default_factory=dict)
    started: dict[str, Discardable] = field(default_factory=dict)
    addresses: dict[str, Mapping[str, str]] = field(default_factory=dict)

    def address(self, name: str) -> Mapping[str, str]:
        """The variables that say where the server is; skips or fails the asking test where there is none."""
        if name not in self.told:
            self.obtain(name)
        if name not in self.addresses:
            lack(f"{name} server {self.told[name]}", REQUIRE_SERVERS)
        return self.addresses[name]

    def obtain(self, name: str) -> None:
        """Find or start the server; what came of it is told, and its address known if there is one."""
        if os.environ.get(VARIABLES[name][0]):
            self.addresses[name] = _from_environment(name)
            self.told[name] = "found, by the environment's address"
            return
        began = time.monotonic()
        try:
            self.started[name] = prepare(name).start(bound=True)
            kind = "natively"
        except Lacking as lacking:
            engine = containers.engine_lack()
            if engine is not None:
                self.told[name] = f"lacked: {lacking.message}; {engine}; {VARIABLES[name][0]} is not set"
                return
            self.started[name] = containers.START[name]()
            kind = "in a container"
        self.addresses[name] = self.started[name].environment
        self.told[name] = f"started {kind} in {time.monotonic() - began:.1f} s"

    def own(self, name: str) -> Server:
        """A new server for one test to kill and restart, native only; the caller discards it."""
        try:
            return prepare(name).start(bound=True)
        except Lacking as error:
            lack(f"no {name} server of our own: {error}", REQUIRE_SERVERS)

    def discard(self) -> None:
        """End what was started, side by side."""
        if self.started:
            with ThreadPoolExecutor(max_workers=len(self.started)) as pool:
                list(pool.map(lambda server: server.discard(), self.started.values()))


def lack(reason: str, required_by: str) -> None:
    """Skip the running test, or fail it where the environment demands what it needs."""
    if os.environ.get(required_by, "") not in ("", "0"):
        pytest.fail(f"{reason} ({required_by} is set)", pytrace=False)
    pytest.skip(reason)


def prospect(name: str) -> str:
    """What a test that asks for this server would get, without starting anything."""
    if os.environ.get(VARIABLES[name][0]):
        return "the environment's address"
    if installing.is_installed(name):
        return "installed"
    return "not installed"


def shared_data_folder() -> Path:
    """The full data set beside the checkout (or where REKAM_SHARED_DATA says); it may be absent."""
    return Path(os.environ.get(SHARED_DATA) or ROOT.parent / "shared" / "data")


def _from_environment(name: str) -> Mapping[str, str]:
    missing = [variable for variable in VARIABLES[name] if not os.environ.get(variable)]
    if missing:
        pytest.fail(f"{VARIABLES[name][0]} is set, but not {', '.join(missing)}", pytrace=False)
    return {variable: os.environ[variable] for variable in VARIABLES[name]}
