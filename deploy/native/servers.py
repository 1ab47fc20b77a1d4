#!/usr/bin/env python3
"""Real servers on one machine without containers: Apache Kafka, PostgreSQL, S3 (and toxiproxy), for tests and trials.

    deploy/native/servers.py install [kafka postgresql s3 age toxiproxy]
    eval "$(deploy/native/servers.py start [kafka postgresql s3 toxiproxy])"
    deploy/native/servers.py status
    deploy/native/servers.py stop

`start` prints the addresses as lines for the shell, and nothing else, on stdout. Several sets may run side by side,
each with its own `--state FILE`. Their data are temporary: `stop` throws them away.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypedDict

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # run as a program, Python knows this file's folder only

from deploy.native import installing, kafka_broker, postgresql, s3_gateway, toxiproxy  # noqa: E402
from deploy.native.processes import Server, ServerError, end_process, is_running  # noqa: E402

STATE = ROOT / ".cache" / "servers.json"
SERVERS = ("kafka", "postgresql", "s3")


class Entry(TypedDict):
    """One server of a set, as the state file remembers it."""

    name: str
    pid: int
    born: str
    folder: str
    stop_signal: int
    environment: dict[str, str]


def prepare(name: str) -> Server:
    """A server by name, ready to be started. Raises Lacking when it is not installed, ServerError otherwise."""
    cache = installing.cache_folder()
    prepared: dict[str, Callable[[], Server]] = {
        "kafka": lambda: kafka_broker.prepare(cache),
        "postgresql": postgresql.prepare,
        "s3": lambda: s3_gateway.prepare(cache),
        "toxiproxy": lambda: toxiproxy.prepare(cache),
    }
    if name not in prepared:
        raise ServerError(f"there is no server named {name}", f"one of {', '.join(prepared)}")
    return prepared[name]()


def start(names: Sequence[str], state: Path) -> int:
    """Start a set of servers side by side; all or none. A set that runs already is told again."""
    running = [entry for entry in _read(state) if is_running(entry["pid"], entry["born"])]
    if running and {*names} <= {entry["name"] for entry in running}:
        _say("servers: started already")
        _print_addresses(running)
        return 0
    if running:
        raise ServerError(f"{state} names other servers that run", "stop them first, or give another --state")
    with ThreadPoolExecutor(max_workers=len(names)) as pool:
        outcomes = list(pool.map(_start_one, names))
    started = [outcome for outcome in outcomes if isinstance(outcome, Server)]
    failures = [outcome for outcome in outcomes if isinstance(outcome, ServerError)]
    for failure in failures:
        _say(f"servers: {failure}")
    if failures:
        for server in started:
            server.discard()
        return 1
    _write(state, started)
    _print_addresses(_read(state))
    return 0


def stop(state: Path) -> int:
    """Stop the set, side by side, and remove its data. A set that is gone is fine."""
    entries = _read(state)
    if entries:
        with ThreadPoolExecutor(max_workers=len(entries)) as pool:
            list(pool.map(_stop_one, entries))
    state.unlink(missing_ok=True)
    _say(f"servers: stopped {', '.join(entry['name'] for entry in entries) or 'nothing'}")
    return 0


def status(state: Path) -> int:
    """Say what runs and what is installed; exit code 1 when a server of the set has ended."""
    entries = _read(state)
    running = [is_running(entry["pid"], entry["born"]) for entry in entries]
    for entry, runs in zip(entries, running, strict=True):
        _say(f"{entry['name']}: {'runs' if runs else 'ENDED'}, process {entry['pid']}, {entry['folder']}")
    for name in installing.EVERYTHING:
        try:
            _say(f"{name}: installed, {installing.installed(name)}")
        except ServerError as error:
            _say(f"{name}: {error}")
    _print_addresses([entry for entry, runs in zip(entries, running, strict=True) if runs])
    return 0 if all(running) else 1


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit code."""
    given = _parser().parse_args(arguments)
    try:
        if given.command == "install":
            return 0 if installing.install(given.names or installing.DEFAULT, _say) else 1
        if given.command == "start":
            return start(given.names or SERVERS, given.state)
        return stop(given.state) if given.command == "stop" else status(given.state)
    except ServerError as error:
        _say(f"servers: {error}")
        return 1


def _parser() -> argparse.ArgumentParser:
    description, _, rest = (__doc__ or "").partition("\n\n")
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("servers.py", description=description, epilog=rest, formatter_class=form)
    commands = parser.add_subparsers(dest="command", required=True)
    install = commands.add_parser("install", help="fetch, build or apt-get what is not there")
    install.add_argument("names", nargs="*", choices=[[], *installing.EVERYTHING], metavar="NAME")
    for name, told in (("start", "start a set"), ("stop", "stop the set"), ("status", "say what is there")):
        command = commands.add_parser(name, help=told)
        command.add_argument("--state", type=Path, default=STATE, help="where the set is remembered")
        if name == "start":
            command.add_argument("names", nargs="*", choices=[[], *SERVERS, "toxiproxy"], metavar="NAME")
    return parser


def _start_one(name: str) -> Server | ServerError:
    began = time.monotonic()
    try:
        server = prepare(name)
    except ServerError as error:
        return error
    try:
        server.start()
    except ServerError as error:
        return error
    _say(f"{name}: started in {time.monotonic() - began:.1f} s, process {server.pid}, port {server.port}")
    return server


def _stop_one(entry: Entry) -> None:
    end_process(entry["pid"], entry["born"], signal.Signals(entry["stop_signal"]))
    shutil.rmtree(entry["folder"], ignore_errors=True)


def _read(state: Path) -> list[Entry]:
    entries: list[Entry] = json.loads(state.read_text()) if state.exists() else []
    return entries


def _write(state: Path, servers: Sequence[Server]) -> None:
    entries = [
        {
            "name": server.name,
            "pid": server.pid,
            "born": server.born,
            "folder": str(server.folder),
            "stop_signal": int(server.stop_signal),
            "environment": dict(server.environment),
        }
        for server in servers
    ]
    state.parent.mkdir(parents=True, exist_ok=True)
    state.touch(mode=0o600)  # it holds the passwords of the set
    state.write_text(json.dumps(entries, indent=1) + "\n")


def _print_addresses(entries: Sequence[Entry]) -> None:
    for entry in entries:
        for name, value in entry["environment"].items():
            sys.stdout.write(f"export {name}={shlex.quote(value)}\n")


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
