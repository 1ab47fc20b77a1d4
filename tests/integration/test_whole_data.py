"""The whole of the full data set: imported, counted, lost, and recovered to the middle of the import and to its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.clinics import Clinic
from tests.command_line import moment

README = {
    "AllergyIntolerance": 110,
    "Claim": 17_557,
    "Condition": 5_486,
    "DiagnosticReport": 17_741,
    "Encounter": 8_821,
    "ExplanationOfBenefit": 17_557,
    "Immunization": 2_199,
    "MedicationRequest": 8_736,
    "Observation": 82_778,
    "Patient": 145,
    "Procedure": 24_959,
}
"""type -> resources, as the data set's own page says."""
RESOURCES = 200_760
MAPPED = {
    **README,
    "Location": 321,
    "MedicationAdministration": 3_540,
    "Organization": 320,
    "Practitioner": 320,
}
BEFORE_THE_MOMENT = ("Patient", "Encounter", "Condition", "Organization", "Claim", "Procedure")
TABLES = {
    ("patients",): ("Patient",),
    ("encounters",): ("Encounter",),
    ("diagnoses",): ("Condition",),
    ("observations", "laboratory_results"): ("Observation",),
    ("laboratory_reports",): ("DiagnosticReport",),
    ("procedures",): ("Procedure",),
    ("prescriptions",): ("MedicationRequest",),
    ("immunisations",): ("Immunization",),
    ("allergies",): ("AllergyIntolerance",),
    ("claims", "adjudications"): ("Claim", "ExplanationOfBenefit"),
}
"""tables -> types of the resources that are their rows"""
MEMORY_LIMIT_MIB = 1024


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_data_set_comes_back_to_the_middle_of_its_import(
    shared_data: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    files = sorted((shared_data / "synthea" / "fhir-r4-ndjson").glob("*.ndjson.xz"))
    first = [file for file in files if file.name.partition(".")[0] in BEFORE_THE_MOMENT]
    rest = [file for file in files if file not in first]
    clinic = Clinic(tmp_path / "home").init()

    def timed(what: str, *words: str) -> Any:
        """A command in a process of its own; its time and memory are told."""
        began = time.monotonic()
        answer, peak_mib = measured(clinic, *words)
        told = f"{time.monotonic() - began:.1f} s, at most {peak_mib} MiB a process"
        record_property(what, told)
        print(f"{what}: {told}")  # noqa: T201  (shown with -s, and where the test fails)
        assert peak_mib < MEMORY_LIMIT_MIB
        return answer

    half = timed("first files imported", "import", "fhir", "--json", *map(str, first))
    middle, at_middle = timed("digest", "digest", "--json")["tables"], moment()
    timed("snapshot and shipping", "replicate", "--once", "--snapshot", "--json")
    other = timed("other files imported", "import", "fhir", "--json", *map(str, rest))
    read, mapped = half["read"] | other["read"], half["mapped"] | other["mapped"]
    assert read | README == read
    assert sum(read.values()) == RESOURCES
    assert half["refused"] == other["refused"] == 0
    assert mapped | MAPPED == mapped, "every resource of a mapped type is mapped"
    end, at_end = timed("digest", "digest", "--json")["tables"], moment()
    counted = {tables: sum(end[name]["rows"] for name in tables) for tables in TABLES}
    assert counted == {tables: sum(README[kind] for kind in kinds) for tables, kinds in TABLES.items()}
    assert end["resources"]["rows"] == end["events"]["rows"] == RESOURCES
    timed("the rest shipped", "replicate", "--once", "--json")

    clinic.lose_log()
    clinic.lose_tables()
    report = timed("recovery to the middle", "recover", "--to", at_middle, "--yes", "--json")
    print(report["steps"])  # noqa: T201
    assert clinic.digest() == middle
    report = timed("recovery to the end", "recover", "--to", at_end, "--yes", "--json")
    print(report["steps"])  # noqa: T201
    assert clinic.digest() == end
    assert report["verified"]["applied"] == RESOURCES


def measured(clinic: Clinic, *words: str) -> tuple[Any, int]:
    """(what a command printed, the most MiB that it or a process of its own held); it must work."""
    out, err = clinic.home.with_name("out"), clinic.home.with_name("err")
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.cli.main", *words],
            stdout=stdout,
            stderr=stderr,
            env={**os.environ, **clinic.environment, "REKAM_HOME": str(clinic.home)},
        )
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, err.read_text()[-2000:]
    return json.loads(out.read_text()), used.ru_maxrss // 1024
