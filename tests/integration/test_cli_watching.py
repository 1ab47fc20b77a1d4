"""Metrics and alerts as an operator sets them up: a replicator that silently does nothing is noticed."""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.command_line import finish, rekam, start, wait_for


@pytest.fixture
def clinic(tmp_path: Path) -> Path:
    home = tmp_path / "clinic"
    rekam(home, "init")
    rekam(home, "simulate", "--patients", "2", "--events", "30", "--seed", "1")
    rekam(home, "archive", "add", "second", tmp_path / "disk")
    rekam(home, "replicate", "--once")
    return home


def settings(home: Path, text: str) -> None:
    with (home / "rekam.toml").open("a") as file:
        file.write(text)


def metrics(port: int) -> dict[tuple[str, str], float]:
    """(name, archive) -> value."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        text = answer.read().decode()
    return {
        (sample.name, sample.labels.get("archive", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_tell_of_each_archive_and_hold_nothing_of_a_patient(clinic: Path) -> None:
    rekam(clinic, "simulate", "--patients", "1", "--events", "20", "--seed", "2")
    rekam(clinic, "replicate", "--once", "--archive", "second")
    process = start(clinic, "watch", "--metrics-port", "0")
    assert process.stderr is not None
    port = int(process.stderr.readline().rsplit(":", 1)[1].split("/")[0])
    found = metrics(port)
    process.terminate()
    finish(process)
    assert found["rekam_archive_readable", "archive"] == found["rekam_archive_readable", "second"] == 1
    assert found["rekam_archive_unshipped_records", "archive"] >= 20
    assert found["rekam_archive_unshipped_records", "second"] == 0
    assert found["rekam_archive_unshipped_age_seconds", "archive"] > 0
    assert found["rekam_archive_checkpoint", "second"] == 2
    assert (
        found["rekam_archive_restorable_timestamp_seconds", "second"]
        > found["rekam_archive_restorable_timestamp_seconds", "archive"]
    )
    assert found["rekam_archive_bytes", "archive"] > 1000
    assert found["rekam_archive_gaps", "archive"] == 0
    assert found["rekam_log_records", ""] > 50


def test_a_replicator_that_does_nothing_turns_status_red_and_somebody_is_told(
    clinic: Path, tmp_path: Path
) -> None:
    told = tmp_path / "told.json"
    program = f"import sys; open({str(told)!r}, 'w').write(sys.stdin.read())"
    command = json.dumps([sys.executable, "-c", program])
    settings(clinic, "\n[objectives]\nrpo_seconds = 0.2\n")
    settings(clinic, f"\n[alerts]\ncommand = {command}\nevery_seconds = 0.1\n")
    rekam(clinic, "simulate", "--patients", "1", "--events", "20", "--seed", "2")

    def red() -> bool:
        return any(
            "is missed" in f["text"] for f in rekam(clinic, "status", "--json", code=None).json()["findings"]
        )

    wait_for(red, "the objective is missed")
    assert rekam(clinic, "status", code=1).out
    process = start(clinic, "watch")
    try:
        wait_for(lambda: told.exists() and told.read_text().endswith("}"), "the alert")
    finally:
        process.terminate()
        finish(process)
    alert = json.loads(told.read_text())
    assert alert["status"] == "red"
    assert any("is missed" in finding["text"] for finding in alert["findings"])


def test_what_cannot_be_watched_is_said(clinic: Path) -> None:
    assert "nothing to do" in rekam(clinic, "watch", code=2).err
    process = start(clinic, "watch", "--metrics-port", "0")
    assert process.stderr is not None
    port = process.stderr.readline().rsplit(":", 1)[1].split("/")[0]
    try:
        assert port in rekam(clinic, "watch", "--metrics-port", port, code=2).err
    finally:
        process.terminate()
        finish(process)
