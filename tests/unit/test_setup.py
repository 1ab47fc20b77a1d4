"""Setting up: which Python is taken, what is said when none will do, and what the lock must hold."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What of a checkout setting up looks at first."""
    (tmp_path / "deploy").mkdir()
    shutil.copy(ROOT / "deploy" / "setup.sh", tmp_path / "deploy")
    shutil.copy(ROOT / "requirements.lock", tmp_path)
    return tmp_path


def pretended(folder: Path, version: str, *, new_enough: bool, whole: bool) -> str:
    """A program that answers setup's questions as such a Python would."""
    program = folder / f"python-{version}"
    program.write_text(
        f"""#!/bin/sh
        case "$*" in
            *version_info*) exit {0 if new_enough else 1} ;;
            *ensurepip*) exit {0 if whole else 1} ;;
            -V) echo Python {version} ;;
        esac
        """
    )
    program.chmod(0o755)
    return str(program)


def set_up(checkout: Path, python: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / "deploy" / "setup.sh"],
        env={**os.environ, "PYTHON": python},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_older_python_is_named_and_refused(checkout: Path) -> None:
    done = set_up(checkout, pretended(checkout, "3.9.1", new_enough=False, whole=True))
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed; found only" in done.stderr
    assert "(Python 3.9.1)" in done.stderr


def test_a_python_without_venv_says_what_to_install(checkout: Path) -> None:
    done = set_up(checkout, pretended(checkout, "3.12.0", new_enough=True, whole=False))
    assert done.returncode == 1
    assert "apt-get install python3-venv" in done.stderr


def test_no_python_at_all(checkout: Path) -> None:
    done = set_up(checkout, "/nowhere/python3")
    assert done.returncode == 1
    assert "none was found (PYTHON is /nowhere/python3)" in done.stderr


def test_nothing_is_done_again_while_the_lock_stays(checkout: Path) -> None:
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").symlink_to(
        pretended(checkout, "3.12.0", new_enough=True, whole=True)
    )
    lock = checkout / "requirements.lock"
    told = subprocess.run(
        ["cksum"], input=lock.read_text(), capture_output=True, text=True, check=True
    ).stdout
    (checkout / ".venv" / "locked").write_text(told)
    assert set_up(checkout, "/nowhere/python3").returncode == 0
    lock.write_text("changed\n")
    assert set_up(checkout, "/nowhere/python3").returncode == 1


def locked() -> dict[str, str]:
    """Package name to the text of its entry."""
    entries = re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text().strip())
    return {entry.partition("==")[0]: entry for entry in entries}


def test_the_lock_holds_all_that_the_project_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    named = [
        *project["project"]["dependencies"],
        *project["dependency-groups"]["dev"],
        *project["build-system"]["requires"],
    ]
    wanted = {re.split(r"[\[<>=;! ]", line)[0].lower() for line in named}
    missing = {name for name in wanted if name.replace(".", "-").replace("_", "-") not in locked()}
    assert not missing, "make lock"


def test_the_lock_fixes_digests_and_names_no_index() -> None:
    for name, entry in locked().items():
        assert "--hash=sha256:" in entry, name
    text = (ROOT / "requirements.lock").read_text()
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links", text)
