"""Blobs in a folder of the home: `<first two hex digits>/<64 hex digits>`, so that no folder grows too large."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from events.blobs import checked, missing
from events.durable import disk_errors, put_durably, sync

_FOLDER = re.compile(r"[0-9a-f]{2}\Z")
_NAME = re.compile(r"[0-9a-f]{64}\Z")


class DirectoryBlobs:
    """Keeps the contract of BlobStore. The folder is made with the first blob."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, data: bytes) -> bytes:
        digest = hashlib.sha256(data)
        path = self._path(digest.digest())
        with disk_errors(path, "make room on its disk, or check who owns it; nothing was recorded"):
            if path.exists() and hashlib.sha256(path.read_bytes()).digest() == digest.digest():
                sync(path)  # whoever put it may have been killed before it was on the disk
                sync(path.parent)
            else:
                _make_folder(path.parent)
                put_durably(path, data)
        return digest.digest()

    def get(self, digest: bytes) -> bytes:
        return checked(digest, self.head(digest, -1))

    def head(self, digest: bytes, size: int) -> bytes:
        path = self._path(digest)
        with disk_errors(path):
            try:
                with path.open("rb") as file:
                    return file.read(size)
            except (FileNotFoundError, NotADirectoryError):
                raise missing(digest) from None

    def holds(self, digest: bytes) -> bool:
        path = self._path(digest)
        with disk_errors(path):
            return path.is_file()

    def digests(self) -> Iterator[bytes]:
        with disk_errors(self.folder):
            folders = sorted(self.folder.iterdir()) if self.folder.is_dir() else []
            for folder in folders:
                if _FOLDER.match(folder.name) and folder.is_dir():
                    names = sorted(path.name for path in folder.iterdir())
                    yield from (bytes.fromhex(name) for name in names if _NAME.match(name))

    def remove(self, digest: bytes) -> None:
        path = self._path(digest)
        with disk_errors(path):
            path.unlink(missing_ok=True)
            if path.parent.is_dir():
                sync(path.parent)

    def _path(self, digest: bytes) -> Path:
        name = digest.hex()
        return self.folder / name[:2] / name


def _make_folder(folder: Path) -> None:
    """With those above it that are missing, each durable in its parent. Raises OSError."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync(folder.parent)
