"""A disk that is full under the log, the tables or the archive: one clear line, nothing lost, and on it goes.

Where this user can mount one, the disk is a small one in memory; a limit on the size of files is tried everywhere.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.command_line import Ran, content, digest, forked, lose, ndjson, rekam, sample_lines

DISK_BYTES = 24 * 1024 * 1024
PARTS = {
    "log": ("REKAM_LOG__URL", "log.db", "sqlite:"),
    "tables": ("REKAM_TABLES__URL", "tables.db", "sqlite:"),
    "archive": ("REKAM_ARCHIVE__URL", "archive", ""),
}
SIMULATE = ("simulate", "--patients", "10", "--events", "600")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("full")
    rekam(folder / "clinic", "init")
    rekam(folder / "clinic", "import", "fhir", ndjson(folder / "first.ndjson", sample_lines(0, 100)))
    rekam(folder / "clinic", "replicate", "--once")
    ndjson(folder / "more.ndjson", sample_lines(100, 700))
    return folder


@pytest.fixture
def clinic(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "all")) / "clinic"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "rekam-test", str(disk)]
    if os.geteuid() or subprocess.run(words, check=False, capture_output=True).returncode:
        pytest.skip("a small disk can only be mounted by root; files of limited size are tried instead")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def at_most(size_bytes: int) -> Callable[[], None]:
    """No file of the process grows beyond it."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, size_bytes))


def clear(ran: Ran) -> None:
    """An error that a person can act on."""
    assert ran.code == 1 and ran.out == ""
    error, hint = ran.err.strip().splitlines()[-2:]
    assert error.startswith("error: ") and hint.startswith("hint: ")
    assert any(word in hint for word in ("space", "room", "full")), hint


def whole(home: Path, want: dict | None = None) -> None:
    """Log, tables and archive agree, also once nothing is left but the archive."""
    rekam(home, "replicate", "--once")
    found = digest(home)
    lose(home, "tables.db")
    assert digest(home) == found
    lose(home, "log.db", "tables.db")
    rekam(home, "recover", "--to", "latest", "--yes")
    assert digest(home) == found
    assert want is None or found == want


@pytest.mark.parametrize("size_bytes", [0, 400_000, 1_500_000])
def test_an_import_into_files_that_cannot_grow(clinic: Path, size_bytes: int, tmp_path: Path) -> None:
    more = clinic.parent / "more.ndjson"
    calm = Path(shutil.copytree(clinic, tmp_path / "calm"))
    rekam(calm, "import", "fhir", more)
    clear(forked(clinic, "import", "fhir", more, limit=at_most(size_bytes)))
    rekam(clinic, "import", "fhir", more)
    assert content(clinic) == content(calm)
    whole(clinic)


@pytest.mark.parametrize("words", [("project", "--once"), ("digest", "--json")])
@pytest.mark.parametrize("size_bytes", [400_000])
def test_tables_that_cannot_grow(clinic: Path, words: tuple[str, ...], size_bytes: int) -> None:
    want = digest(clinic)
    lose(clinic, "tables.db")
    clear(forked(clinic, *words, limit=at_most(size_bytes)))
    rekam(clinic, *words)
    whole(clinic, want)


@pytest.mark.parametrize("size_bytes", [0, 15_000])
def test_shipping_where_objects_cannot_be_stored(clinic: Path, size_bytes: int) -> None:
    rekam(clinic, *SIMULATE)
    want = digest(clinic)
    before = rekam(clinic, "points", "--json").json()
    clear(forked(clinic, "replicate", "--once", "--snapshot", limit=at_most(size_bytes)))
    assert rekam(clinic, "points", "--json").json() == before, (
        "what was stored counts only with its checkpoint"
    )
    whole(clinic, want)


@pytest.mark.parametrize("size_bytes", [100_000, 500_000])
def test_a_recovery_without_room_is_taken_up_later(clinic: Path, size_bytes: int) -> None:
    rekam(clinic, "replicate", "--once")
    want = digest(clinic)
    lose(clinic, "log.db", "tables.db")
    clear_enough = forked(clinic, "recover", "--to", "latest", "--yes", limit=at_most(size_bytes))
    assert "hint: " in clear_enough.err
    rekam(clinic, "recover", "--to", "latest", "--yes")
    whole(clinic, want)


@pytest.mark.parametrize("part", PARTS)
def test_a_full_disk_under_each_part(clinic: Path, small_disk: Path, part: str) -> None:
    variable, name, scheme = PARTS[part]
    here = {variable: f"{scheme}{small_disk / name}"}
    if part == "archive":
        shutil.copytree(clinic / name, small_disk / name)
    else:
        shutil.copy(clinic / name, small_disk / name)
    filler = small_disk / "filler"
    free = shutil.disk_usage(small_disk).free
    for spare in (0, 100_000):
        filler.write_bytes(bytes(free - spare - DISK_BYTES // 100))
        filler.write_bytes(bytes(max(0, filler.stat().st_size + shutil.disk_usage(small_disk).free - spare)))
        words = ("replicate", "--once", "--snapshot") if part == "archive" else SIMULATE
        if part == "archive":
            rekam(clinic, *SIMULATE, **here)
        clear(rekam(clinic, *words, code=1, **here))
        rekam(clinic, "status", code=None, **here)
    filler.unlink()
    rekam(clinic, *words, **here)
    rekam(clinic, *SIMULATE, **here)
    rekam(clinic, "replicate", "--once", **here)
    want = rekam(clinic, "digest", "--json", **here).json()
    lose(small_disk if part == "log" else clinic, "log.db")
    lose(small_disk if part == "tables" else clinic, "tables.db")
    rekam(clinic, "recover", "--to", "latest", "--yes", **here)
    assert rekam(clinic, "digest", "--json", **here).json() == want
    assert rekam(clinic, "status", "--json", **here).json()["status"] == "green"
