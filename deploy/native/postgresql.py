"""One PostgreSQL cluster from the system's packages, in a temporary folder.

initdb and the server refuse to run as root, so root starts them as the account `postgres` (which the package makes)
or `nobody`. The password is random: a cluster that trusts every local account would hand its own account to anyone.
Durability settings stay as they are by default, so that what is measured here is what a clinic would get.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
from pathlib import Path

from deploy.native.processes import Lacking, Owner, Server, free_port, new_folder, run

PACKAGED = Path("/usr/lib/postgresql")
HINT = "Debian: deploy/native/servers.py install postgresql; elsewhere PostgreSQL 15 or newer with initdb on the PATH"
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
}


def programs() -> Path:
    """The folder that holds initdb and postgres, the newest release first. Raises Lacking."""
    packaged = [
        path for path in PACKAGED.glob("*/bin") if (path / "initdb").exists() and path.parent.name.isdigit()
    ]
    if packaged:
        return max(packaged, key=lambda path: int(path.parent.name))
    found = shutil.which("initdb")
    if found is None:
        raise Lacking("PostgreSQL is not installed", HINT)
    return Path(found).resolve().parent


def owner() -> Owner | None:
    """The account to run as: None for whoever we are, unless we are root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            account = pwd.getpwnam(name)
        except KeyError:
            continue
        return Owner(account.pw_uid, account.pw_gid)
    raise Lacking("there is no account that PostgreSQL could run as", "add an account named postgres")


def prepare() -> Server:
    """An initialised cluster in a new folder, not started yet. Raises Lacking or ServerError."""
    binaries, account = programs(), owner()
    folder, port, password = new_folder("postgresql"), free_port(), secrets.token_hex(16)
    data, pwfile = folder / "data", folder / "password"
    data.mkdir(mode=0o700)
    pwfile.write_text(password)
    if account is not None:
        for path in (data, pwfile):
            os.chown(path, account.uid, account.gid)
    initialise = [str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "--auth=scram-sha-256"]
    initialise += [f"--pwfile={pwfile}", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
    run(initialise, owner=account, cwd=folder)
    pwfile.unlink()
    settings = [
        word for name, value in {**SETTINGS, "port": str(port)}.items() for word in ("-c", f"{name}={value}")
    ]
    url = f"postgresql+psycopg://postgres:{password}@127.0.0.1:{port}/postgres"
    return Server(
        name="postgresql",
        command=[str(binaries / "postgres"), "-D", str(data), *settings],
        folder=folder,
        port=port,
        environment={"REKAM_TEST_POSTGRESQL": url},
        ready=lambda: answers(binaries, port),
        stop_signal=signal.SIGQUIT,  # the immediate shutdown: takes its child processes along, writes nothing
        owner=account,
    )


def answers(binaries: Path, port: int) -> bool:
    """Whether the server accepts connections (not merely starts up)."""
    command = [str(binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    return os.spawnv(os.P_WAIT, command[0], command) == 0
