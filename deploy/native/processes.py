"""Processes of servers: started on a free port, waited for, stopped by process id, never by name.

Rules, and why:

- Several people and several test runs share one machine, so nothing here looks a process up by its name. A process
  is known by its id *and* its start time: a recycled id is somebody else's process.
- Ports come from below the kernel's range for outgoing connections, at random: two runs that start at once, or a
  client that happens to connect, then rarely take the port between our look and the server's bind.
- Data folders are temporary and thrown away with the server, so stopping need not be gentle, only complete.
- Only the standard library: this runs before anything is installed.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

READY_SECONDS = 90.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.05
FIRST_PORT, LAST_PORT = 20_000, 32_000
PORT_TRIES = 200
LOG_TAIL_LINES = 20


class ServerError(Exception):
    """A server is not there, did not start or did not stop. `hint` says what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message} ({hint})" if hint else message)
        self.message = message
        self.hint = hint


class Lacking(ServerError):
    """What the server needs is not installed on this machine."""


@dataclass(frozen=True)
class Owner:
    """The account that a server runs as; servers that refuse root run as another one."""

    uid: int
    gid: int


@dataclass
class Server:
    """One server process, its temporary folder, and how to reach it.

    `environment` is what a client needs (the REKAM_TEST_* names). `ready` is asked until it says yes.
    A server that was killed or stopped starts again on the same port and data, until `discard`.
    """

    name: str
    command: Sequence[str]
    folder: Path
    port: int
    environment: Mapping[str, str]
    ready: Callable[[], bool]
    stop_signal: signal.Signals = signal.SIGTERM
    owner: Owner | None = None
    pid: int | None = None
    born: str | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def output(self) -> Path:
        """Where the server's own messages go."""
        return self.folder / "output.log"

    def start(self, *, bound: bool = False, deadline_seconds: float = READY_SECONDS) -> Server:
        """Start and wait until ready. `bound`: dies with the process that starts it (where `setpriv` is there).

        Raises ServerError, with the end of the server's output, when it ends early or is late.
        """
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [*_binding(bound), *self.command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,  # a Ctrl-C at the terminal is for the tests, not for their servers
                **_as_owner(self.owner),
            )
        self.pid, self.born = self.process.pid, birth(self.process.pid)
        if not wait_until(self._ready_or_ended, deadline_seconds):
            self.stop()
            raise ServerError(
                f"{self.name} was not ready within {deadline_seconds:.0f} s", self._last_words()
            )
        if self.process.poll() is not None:
            raise ServerError(
                f"{self.name} ended while starting, code {self.process.returncode}", self._last_words()
            )
        return self

    def stop(self) -> None:
        """End the process for good; twice is fine. The folder stays."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """End the process at once, as a power cut would; for tests of faults."""
        self._end(signal.SIGKILL)

    def discard(self) -> None:
        """Stop and remove the folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def alive(self) -> bool:
        """Whether the process that we started still runs."""
        return is_running(self.pid, self.born)

    def _end(self, with_signal: signal.Signals) -> None:
        end_process(self.pid, self.born, with_signal)
        if self.process is not None:
            self.process.wait()
        self.process = self.pid = self.born = None

    def _ready_or_ended(self) -> bool:
        return self.process is not None and (self.process.poll() is not None or self.ready())

    def _last_words(self) -> str:
        lines = self.output.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return f"{self.output} ends with:\n" + "\n".join(lines) if lines else f"{self.output} is empty"


def new_folder(name: str) -> Path:
    """A new temporary folder that other accounts may pass through (a server may run as another one)."""
    folder = Path(tempfile.mkdtemp(prefix=f"rekam-{name}-"))
    folder.chmod(0o711)
    return folder


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    for _ in range(PORT_TRIES):
        port = random.randint(FIRST_PORT, LAST_PORT)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServerError(f"no free port between {FIRST_PORT} and {LAST_PORT}", "stop what listens there")


def wait_until(condition: Callable[[], bool], deadline_seconds: float) -> bool:
    """Ask until the condition holds (True) or the deadline passes (False)."""
    deadline = time.monotonic() + deadline_seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def accepts(port: int) -> bool:
    """Whether something listens on this port of 127.0.0.1."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def birth(pid: int) -> str | None:
    """The start time of a process as the system tells it, None when there is none (or only its remains)."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.parent.parent.joinpath("self").exists():  # no Linux: `ps` knows it too, to the second
        told = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
        return told.stdout.strip() or None
    try:
        fields = stat.read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]  # field 22 of proc(5): ticks between boot and its start


def is_running(pid: int | None, born: str | None) -> bool:
    """Whether this very process, not a later one of the same id, still runs."""
    return pid is not None and born is not None and birth(pid) == born


def end_process(pid: int | None, born: str | None, with_signal: signal.Signals) -> None:
    """Signal a process and wait for its end; SIGKILL after `STOP_SECONDS`. One that is gone is fine."""
    if pid is None:
        return
    for attempt in (with_signal, signal.SIGKILL):
        if not is_running(pid, born):
            return
        try:
            os.kill(pid, attempt)
        except ProcessLookupError:
            return
        if wait_until(lambda: not is_running(pid, born), STOP_SECONDS):
            return
    raise ServerError(f"process {pid} does not end", "look at it with ps")


def run(
    command: Sequence[str],
    *,
    owner: Owner | None = None,
    cwd: Path | None = None,
    extra: Mapping[str, str] | None = None,
) -> str:
    """Run a short command; its output. Raises ServerError with the end of the output when it fails."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=cwd,
        env={**os.environ, **(extra or {})},
        check=False,
        **_as_owner(owner),
    )
    text = done.stdout.decode(errors="replace")
    if done.returncode != 0:
        tail = "\n".join(text.splitlines()[-LOG_TAIL_LINES:])
        raise ServerError(f"{Path(command[0]).name} failed with code {done.returncode}", tail)
    return text


class _AsOwner(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


def _as_owner(owner: Owner | None) -> _AsOwner:
    if owner is None or os.geteuid() != 0:
        return {}
    return {"user": owner.uid, "group": owner.gid, "extra_groups": []}


def _binding(bound: bool) -> list[str]:
    """The words before a command that make the kernel end it together with the process that started it."""
    setpriv = shutil.which("setpriv") if bound else None
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
