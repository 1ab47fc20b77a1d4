"""Small files that stand whole or as they were, and stay so when the power goes."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from events.errors import Unavailable


def sync(path: Path) -> None:
    """What was written to a file, or named in a folder, is on the disk. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def put_durably(path: Path, data: bytes) -> None:
    """`path` holds `data`, durably, or what it held. Raises OSError."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        fresh.write_bytes(data)
        sync(fresh)
        fresh.replace(path)
        sync(path.parent)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


@contextmanager
def disk_errors(path: Path, hint: str = "check who owns it, and its disk") -> Iterator[None]:
    """What the disk says becomes Unavailable, naming the path."""
    try:
        yield
    except OSError as error:
        raise Unavailable(f"{path} cannot be read or written: {error.strerror}", hint) from None
