"""The command line in tests: run in this process where that is enough, as a process of its own where it matters.

In this process an exception that the command line does not turn into a line for people reaches the test: no test has
to look for tracebacks. A process of its own is looked at for them.
"""

from __future__ import annotations

import io
import json
import lzma
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any
from unittest import mock

from events.clock import wall_millis
from services.cli.main import main

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "deploy" / "samples" / "clinic-sample.ndjson.xz"
PATIENCE_SECONDS = 60.0
NO_TRACEBACK = "Traceback (most recent call last)"


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Stdout as exactly one JSON document."""
        return json.loads(self.out)


def environment(home: Path | None, **more: str) -> dict[str, str]:
    """One worker, plain text, and none of the settings of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("REKAM_")}
    given = {"REKAM_RECOVERY__WORKERS": "1", "COLUMNS": "200", "TERM": "dumb", **more}
    return {**kept, **given, **({} if home is None else {"REKAM_HOME": str(home)})}


def rekam(home: Path | None, *arguments: object, code: int | None = 0, **more: str) -> Ran:
    """Runs one command here, and expects `code` (None: whatever comes)."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with (
        mock.patch.dict(os.environ, environment(home, **more), clear=True),
        mock.patch.object(sys, "argv", ["rekam", *map(str, arguments)]),
        mock.patch.object(sys, "stdin", io.StringIO()),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            found = ended.code
    written = (stream.buffer.getvalue().decode() for stream in (out, err))  # type: ignore[attr-defined]
    ran = Ran(found if isinstance(found, int) else 1, *written)
    if code is not None:
        assert ran.code == code, f"{arguments} ended with {ran.code}:\n{ran.out}{ran.err}"
    return ran


def start(home: Path, *arguments: object, **more: str) -> subprocess.Popen[str]:
    """Starts one command as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "services.cli.main", *map(str, arguments)],
        cwd=ROOT,
        env=environment(home, **more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], code: int | None = 0, seconds: float = PATIENCE_SECONDS) -> Ran:
    """Waits for the end and expects `code` (None: whatever comes) and no traceback."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    assert NO_TRACEBACK not in err, err
    if code is not None:
        assert process.returncode == code, f"ended with {process.returncode}:\n{out}{err}"
    return Ran(process.returncode, out, err)


def fork(home: Path, *arguments: object) -> ForkProcess:
    """Starts one command as a fork of this process, which has everything imported: it is at work at once."""
    process = get_context("fork").Process(target=lambda: os._exit(rekam(home, *arguments, code=None).code))
    process.start()
    return process


def forked(home: Path, *arguments: object, limit: Callable[[], None]) -> Ran:
    """What one command answered in a fork under `limit`."""
    ours, theirs = get_context("fork").Pipe(duplex=False)

    def work() -> None:
        limit()
        theirs.send(rekam(home, *arguments, code=None))

    process = get_context("fork").Process(target=work)
    process.start()
    theirs.close()
    try:
        ran: Ran = ours.recv()
    finally:
        process.join()
        ours.close()
    return ran


def murder(process: ForkProcess, seconds: float) -> bool:
    """Kills a fork (SIGKILL) `seconds` from now; False where it had ended before. It must not have failed."""
    process.join(seconds)
    process.kill()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL), f"ended with {process.exitcode}"
    return process.exitcode != 0


def kill_after(process: subprocess.Popen[str], seconds: float) -> bool:
    """Kills the process (SIGKILL) `seconds` from now; False where it had ended before."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Returns once `condition` holds; fails after PATIENCE_SECONDS."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)


def wait_until_stoppable(process: subprocess.Popen[str]) -> None:
    """Returns once a command that runs until it is stopped is so far that SIGTERM ends it cleanly (Linux can tell)."""
    status = Path(f"/proc/{process.pid}/status")
    wait_for(lambda: process.poll() is not None or _catches(status, signal.SIGTERM), "its signal handler")


def _catches(status: Path, number: signal.Signals) -> bool:
    if not status.exists():
        return True
    words = status.read_text().partition("SigCgt:")[2].split()  # none of a process that has just ended
    return bool(words) and bool(int(words[0], 16) >> (number - 1) & 1)


def digest(home: Path, *arguments: object) -> dict[str, Any]:
    tables: dict[str, Any] = rekam(home, "digest", "--json", *arguments).json()["tables"]
    return tables


def content(home: Path) -> dict[str, Any]:
    """What two clinics that were given the same have in common: all but when it was recorded."""
    timed = ("patients", "events")
    return {name: table["rows"] if name in timed else table for name, table in digest(home).items()}


def moment() -> str:
    """A time that is over: what was written is at or before it, what will be written is after it."""
    now = wall_millis()
    wait_for(lambda: wall_millis() > now + 1, "the clock")
    return instant(now + 1)


def instant(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")


def sample_lines(first: int, last: int) -> list[bytes]:
    """Lines of the sample clinic, counted from 0; `last` is not among them."""
    found = []
    with lzma.open(SAMPLE, "rb") as lines:
        for number, line in enumerate(lines):
            if number >= last:
                break
            if number >= first:
                found.append(line)
    return found


def ndjson(path: Path, lines: Iterable[bytes]) -> Path:
    path.write_bytes(b"".join(lines))
    return path


def lose(home: Path, *names: str) -> None:
    """Takes databases away as a dead disk does: with everything beside them."""
    for name in names:
        for path in home.glob(f"{name}*"):
            path.unlink()
