"""An object store in a folder: another disk, a network mount, or the embedded default.

An object appears whole or not at all: it is written to a hidden file, fsynced, and linked to its name, which fails
where the name is taken (a rename would overwrite); then the folder is fsynced, since until then the name itself may
be lost with the power. A create that was killed leaves a hidden file, locked only while its writer lives, so whoever
can lock it may sweep it away; no clock is needed to tell.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

from events.durable import sync
from events.errors import BadConfiguration, Refused, StoreUnavailable
from replicator.stores import Stored, already_there, check_key, check_object, missing

_HIDDEN = ".creating"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_RENAME_NO_REPLACE = 1
_AT_FDCWD = -100


class DirectoryStore:
    """Keeps the contract of ObjectStore.

    A folder that is not there is StoreUnavailable unless `create` is set: an unplugged disk must not look like an
    empty archive.
    """

    def __init__(self, folder: Path | str, *, create: bool = False) -> None:
        self.folder = Path(folder)
        self._swept = False
        try:
            if create:
                self.folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise BadConfiguration(f"{self.folder} is not a folder", "name another one") from error
        except OSError as error:
            raise _unavailable(self.folder, error) from error

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        path = self._path(key)
        try:
            with path.open("rb") as file:
                file.seek(start)
                return file.read() if length is None else file.read(length)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            self._check_folder()
            raise missing(key) from None
        except OSError as error:
            raise _unavailable(path, error) from error

    def list(self, prefix: str, after: str = "") -> Iterator[Stored]:
        self._check_folder()
        yield from self._walk("", prefix, after)

    def create(self, key: str, data: bytes) -> None:
        check_object(key, data)
        self._check_folder()
        path = self._path(key)
        try:
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "a folder")
            if path.exists():
                raise already_there(key)
            if not self._swept:
                self._sweep()
            self._create(path, key, data)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise Refused(f"{key}: a part of this key is an object or a folder already") from error
        except OSError as error:
            raise _unavailable(path, error) from error

    def remove(self, key: str) -> None:
        path = self._path(key)
        try:
            path.unlink(missing_ok=True)
            if path.parent.is_dir():
                sync(path.parent)
        except OSError as error:
            raise _unavailable(path, error) from error

    def now(self) -> int:
        """By the clock of whoever keeps the files, which for a network mount is another machine's."""
        try:
            hidden, opened = self._hidden_file()
            with opened as file:
                hidden.unlink(missing_ok=True)
                return int(os.fstat(file.fileno()).st_mtime * 1000)
        except OSError as error:
            raise _unavailable(self.folder, error) from error

    def extend(self, key: str) -> bool:
        if not self._path(key).exists():
            raise missing(key)
        return False

    def _path(self, key: str) -> Path:
        return self.folder / check_key(key)

    def _check_folder(self) -> None:
        if not self.folder.is_dir():
            raise StoreUnavailable(
                f"the archive's folder {self.folder} is not there", "is its disk plugged in and mounted?"
            )

    def _create(self, path: Path, key: str, data: bytes) -> None:
        _make_folders(path.parent, self.folder)
        hidden, opened = self._hidden_file()
        with opened as file:
            try:
                view = memoryview(data)
                while view:
                    view = view[file.write(view) :]
                os.fsync(file.fileno())
                _place(hidden, path)
            except FileExistsError:
                raise already_there(key) from None
            finally:
                hidden.unlink(missing_ok=True)
        sync(path.parent)

    def _hidden_file(self) -> tuple[Path, FileIO]:
        """A new locked file under a name that nobody lists."""
        folder = self.folder / _HIDDEN
        folder.mkdir(exist_ok=True)
        while True:
            path = folder / secrets.token_hex(16)
            file = path.open("xb", buffering=0)
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file.fileno()).st_nlink:
                return path, file
            file.close()  # a sweep of another process came before the lock, and took it for a dead one's

    def _sweep(self) -> None:
        """Removes what killed creates left: hidden files that nobody has locked."""
        hidden_folder = self.folder / _HIDDEN
        for path in hidden_folder.iterdir() if hidden_folder.is_dir() else ():
            try:
                with path.open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink(missing_ok=True)
            except (BlockingIOError, FileNotFoundError):
                continue
        self._swept = True

    def _walk(self, folder: str, prefix: str, after: str) -> Iterator[Stored]:
        try:
            with os.scandir(self.folder / folder) as found:
                # A folder sorts as `name/`, so that keys come in the order of their bytes across folders.
                names = sorted((e.name + "/", e) if e.is_dir() else (e.name, e) for e in found)
            for name, entry in names:
                key = folder + name
                if name.startswith("."):
                    continue
                if name.endswith("/"):
                    inside = key.startswith(prefix) or prefix.startswith(key)
                    if inside and not (after > key and not after.startswith(key)):
                        yield from self._walk(key, prefix, after)
                elif key.startswith(prefix) and key > after:
                    yield _stored(key, entry)
        except FileNotFoundError:
            return  # the folder went away meanwhile
        except OSError as error:
            raise _unavailable(self.folder / folder, error) from error


def _stored(key: str, entry: os.DirEntry[str]) -> Stored:
    facts = entry.stat()
    return Stored(key, facts.st_size, facts.st_mtime_ns // 1_000_000)


def _place(hidden: Path, path: Path) -> None:
    """Gives a finished file its name, never over another. Raises FileExistsError."""
    try:
        os.link(hidden, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _rename_no_replace(hidden, path)


def _rename_no_replace(source: Path, target: Path) -> None:
    """For file systems without hard links (FAT, exFAT on a removable disk). Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        raise OSError(errno.ENOSYS, "this system can neither link nor rename without overwriting")
    names = os.fsencode(source), os.fsencode(target)
    if libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_NO_REPLACE):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(target))


def _make_folders(folder: Path, root: Path) -> None:
    """Makes the missing folders down to `folder`, each durable in its parent."""
    if folder.is_dir():
        return
    if folder != root:
        _make_folders(folder.parent, root)
    folder.mkdir(exist_ok=True)
    sync(folder.parent)


def _unavailable(path: Path, error: OSError) -> StoreUnavailable:
    if error.errno in _FULL:
        hint = "the disk is full: make room, then try again; nothing was half-written"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        hint = "check who owns the folder, and that it is not read-only"
    else:
        hint = "check the disk"
    return StoreUnavailable(f"{path}: {error.strerror or error}", hint)
