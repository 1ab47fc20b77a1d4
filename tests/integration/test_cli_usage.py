"""What a script may rely on in any command: help, exit codes, what stands on stdout, and errors that are one line."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from events.clock import wall_millis
from services.cli.main import application
from tests.command_line import ROOT, finish, instant, ndjson, rekam, sample_lines, start

READING = ["status", "points", "digest", "show", "history"]
COMMANDS = {
    *(
        "init",
        "import fhir",
        "export fhir",
        "attach",
        "attachments",
        "attachment",
        "simulate",
        "project",
        "replicate",
        "run",
        "watch",
    ),
    *(
        "backup full",
        "backup differential",
        "backup incremental",
        "backup list",
        "backup show",
        "backup delete",
        "backup verify",
        "backup expire",
    ),
    *(
        "recover",
        "points",
        "show",
        "history",
        "digest",
        "status",
        "erase",
        "restrict",
        "due",
        "find",
        "drill",
        "salvage",
        "rewinds list",
        "rewinds diff",
        "rewinds reapply",
        "undo",
        "keys check",
    ),
    *("keys rotate recipients", "keys rotate signing"),
    *("witness init", "witness trust", "witness serve", "witness ask"),
    *("archive list", "archive add", "archive copy", "archive compare", "archive prune", "archive repair"),
    *("audit verify", "audit consistency", "audit evidence", "audit check"),
}
DAY_MILLIS = 86_400_000


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clinic with one patient, shipped."""
    folder = tmp_path_factory.mktemp("usage")
    rekam(folder / "clinic", "init")
    rekam(folder / "clinic", "import", "fhir", ndjson(folder / "one.ndjson", sample_lines(0, 60)))
    rekam(folder / "clinic", "replicate", "--once")
    return folder / "clinic"


@pytest.fixture
def clinic(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "clinic"))


def commands() -> Iterator[tuple[str, typer.core.TyperCommand]]:
    def walk(command, name: str):
        inside = getattr(command, "commands", None)
        if inside is None:
            yield name, command
            return
        for word, sub in inside.items():
            yield from walk(sub, f"{name} {word}".strip())

    yield from walk(typer.main.get_command(application([])), "")


def test_help_names_every_command_and_every_option_has_a_text() -> None:
    assert {name for name, _ in commands()} == COMMANDS
    top = rekam(None, "--help").out
    for name, command in commands():
        assert name.split()[0] in top
        assert command.help, f"{name} has no help"
        shown = rekam(None, *name.split(), "--help").out
        for parameter in command.params:
            if parameter.name == "help":
                continue
            assert getattr(parameter, "help", None), f"{name}: {parameter.name} has no help"
            for word in parameter.opts if parameter.param_type_name == "option" else []:
                assert word in shown, f"{name} --help does not show {word}"
    assert "Exit codes" in top


def test_the_page_about_the_command_line_knows_every_command() -> None:
    pages = (ROOT / "docs" / "commands.md").read_text()
    for name, _ in commands():
        assert f"rekam {name}" in pages or f"`{name}" in pages, f"no page mentions 'rekam {name}'"


@pytest.mark.parametrize(
    "words",
    [
        ["frobnicate"],
        ["recover"],
        ["show"],
        ["import", "fhir"],
        ["import", "hl7"],
        ["digest", "--frob"],
        ["simulate", "--patients", "0"],
        ["simulate", "--events", "many"],
        ["digest", "--at", "yesterday"],
        ["digest", "--at", ""],
        ["digest", "--at", "2026-13-45"],
        ["digest", "--at", "9999999999"],
        ["recover", "--to", "the day before", "--yes"],
        ["recover", "--to", "Latest", "--yes"],
        ["init", "--from", "archive"],
        ["init", "--identity", "owner.txt"],
    ],
)
def test_wrong_usage_is_exit_2_and_nothing_on_stdout(clinic: Path, words: list[str]) -> None:
    ran = rekam(clinic, *words, code=2)
    assert ran.out == ""
    assert ran.err.strip()


@pytest.mark.parametrize("command", READING)
def test_where_no_clinic_is(tmp_path: Path, command: str) -> None:
    words = [command, *(["x"] if command in ("show", "history") else [])]
    for nowhere in (tmp_path / "nowhere", tmp_path):
        ran = rekam(nowhere, *words, code=2)
        assert "no rekam.toml" in ran.err and "rekam init" in ran.err
        assert not list(tmp_path.iterdir())


def test_the_home_is_an_option_before_or_behind_the_command_or_a_variable(
    clinic: Path, tmp_path: Path
) -> None:
    want = rekam(clinic, "digest", "--json").out
    assert rekam(None, "--home", clinic, "digest", "--json").out == want
    assert rekam(None, "digest", "--json", "--home", clinic).out == want
    assert rekam(tmp_path / "other", "digest", "--json", "--home", clinic).out == want


@pytest.mark.parametrize(
    "words",
    [
        ["status"],
        ["points"],
        ["digest"],
        ["replicate", "--once"],
        ["replicate", "--once", "--snapshot"],
        ["simulate", "--patients", "3", "--events", "40"],
        ["recover", "--to", "latest", "--dry-run"],
        ["recover", "--to", "latest", "--yes"],
    ],
)
def test_with_json_stdout_is_one_document_and_the_rest_is_on_stderr(clinic: Path, words: list[str]) -> None:
    assert isinstance(rekam(clinic, *words, "--json").json(), dict)


def test_a_recovery_that_nobody_confirms_changes_nothing(clinic: Path) -> None:
    before = rekam(clinic, "digest", "--json").out
    ran = rekam(clinic, "recover", "--to", "latest", "--json", code=1)
    assert ran.out == "" and "--yes" in ran.err and "Recovery point" in ran.err
    assert rekam(clinic, "digest", "--json").out == before


@pytest.mark.parametrize("command", [["show"], ["history"], ["export", "fhir"]])
def test_an_unknown_patient_is_not_repeated(clinic: Path, command: list[str]) -> None:
    for typed in ("3171014501900001", "patient-" + "0" * 32, "%", "' OR 1=1 --", ""):
        ran = rekam(clinic, *command, "--", typed, code=1)
        assert ran.out == ""
        assert "no such patient" in ran.err
        assert not typed or typed not in ran.err


def test_times_after_now_are_refused(clinic: Path) -> None:
    later = instant(wall_millis() + DAY_MILLIS)
    for words in (["digest", "--at", later], ["recover", "--to", later, "--yes"]):
        ran = rekam(clinic, *words, code=1)
        assert "after now" in ran.err and ran.out == ""


def test_times_that_cannot_be_restored_are_refused_with_the_ranges(clinic: Path) -> None:
    held = rekam(clinic, "points", "--json").json()["ranges"][0]
    before = rekam(clinic, "recover", "--to", "2001-02-03T04:05:06+07:00", "--yes", code=1)
    assert "before the archive begins" in before.err and "restorable" in before.err
    (clinic / "log.db").unlink()
    beyond = rekam(clinic, "recover", "--to", instant(wall_millis()), "--yes", code=1)
    assert "after the newest checkpoint" in beyond.err and "restorable" in beyond.err
    for ran in (before, beyond):
        words = ran.err.split("restorable: ")[1].split()
        assert words[0] == held["from"], "the range is in the message, in the clinic's zone"
    assert not (clinic / "log.db").exists(), "refused before anything was done"


def test_a_reader_that_has_seen_enough_is_no_error(clinic: Path) -> None:
    process = start(clinic, "digest", "--json")
    process.stdout.close()
    process.stdout = None
    ran = finish(process, None)
    assert ran.code in (0, 1) and not ran.err


def test_as_a_process_of_its_own(clinic: Path) -> None:
    assert finish(start(clinic, "digest", "--json")).json() == rekam(clinic, "digest", "--json").json()
    ran = finish(start(clinic / "none", "digest"), 2)
    assert ran.err.startswith("error: ") and "\nhint: " in ran.err
