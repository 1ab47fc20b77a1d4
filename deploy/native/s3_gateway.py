"""An S3 server for tests: versitygw over a temporary folder, with versioning and Object Lock.

It keeps versions beside the data and metadata in a folder of its own, so that the file system needs no extended
attributes. Its limits stand in docs/running-servers.md; above all, it does not fsync.
"""

from __future__ import annotations

import secrets
import urllib.error
import urllib.request
from pathlib import Path

from deploy.native.processes import Lacking, Server, free_port, new_folder

VERSION = "1.8.0"
MODULE = f"github.com/versity/versitygw/cmd/versitygw@v{VERSION}"
HEALTH = "/healthz"
ANSWER_SECONDS = 2.0


def binary(cache: Path) -> Path:
    """Where the built program stands in the cache, there or not."""
    return cache / "bin" / f"versitygw-{VERSION}"


def program(cache: Path) -> Path:
    """The built program. Raises Lacking."""
    found = binary(cache)
    if not found.exists():
        raise Lacking(
            f"versitygw {VERSION} is not installed", "make servers, or deploy/native/servers.py install s3"
        )
    return found


def prepare(cache: Path) -> Server:
    """A gateway over a new folder, not started yet. Raises Lacking or ServerError."""
    gateway = program(cache)
    folder, port = new_folder("s3"), free_port()
    access, secret = secrets.token_hex(10), secrets.token_hex(20)
    for name in ("data", "versions", "metadata", "users"):
        folder.joinpath(name).mkdir()
    options = [
        "--port",
        f"127.0.0.1:{port}",
        "--access",
        access,
        "--secret",
        secret,
        "--health",
        HEALTH,
        "--iam-dir",
        f"{folder}/users",
        "--quiet",
    ]
    backend = [
        "posix",
        "--versioning-dir",
        f"{folder}/versions",
        "--sidecar",
        f"{folder}/metadata",
        f"{folder}/data",
    ]
    return Server(
        name="s3",
        command=[str(gateway), *options, *backend],
        folder=folder,
        port=port,
        environment={
            "REKAM_TEST_S3": f"http://127.0.0.1:{port}",
            "REKAM_TEST_S3_ACCESS": access,
            "REKAM_TEST_S3_SECRET": secret,
        },
        ready=lambda: answers(port),
    )


def answers(port: int) -> bool:
    """Whether the gateway says that it is well."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{HEALTH}", timeout=ANSWER_SECONDS) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False
