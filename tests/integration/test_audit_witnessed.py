"""An auditor who asks the witness: a clinic that rewrote its past with its own key is shown."""

from __future__ import annotations

import shutil
from pathlib import Path

from replicator.witnessing.keeping import WitnessFolder
from tests.command_line import rekam
from tests.integration.test_cli_audit import key_of
from tests.integration.test_witnessed import (
    clinic,
    folder,
    forget,
    template,
    witness,
    write,
)
from tests.witnesses import Serving

__all__ = ["clinic", "folder", "template", "witness"]  # fixtures


def verified(home: Path, served: Serving, away: Path, code: int, key: str | None = None) -> dict:
    """On a machine without a home: the archive, the key on the sheet, and the witness."""
    away.mkdir(exist_ok=True)
    place = ["--archive", home / "archive", "--key", key_of(home), "--witness", served.url]
    known = key or str(WitnessFolder.open(served.path).cosigner.key)
    words = ["audit", "verify", *place, "--witness-key", known, "--json"]
    return rekam(away, *words, code=code).json()


def test_the_witness_attests_the_newest_checkpoint(clinic: Path, witness: Serving, tmp_path: Path) -> None:
    rekam(clinic, "witness", "ask")
    told = verified(clinic, witness, tmp_path / "away", 0)
    assert told["outcome"] == "ok" and told["attested_by"] == [witness.url]
    forget(clinic)
    assert rekam(clinic, "audit", "verify", "--json", code=4).json()["outcome"] == "inconclusive"
    assert rekam(clinic, "audit", "verify", "--witness", witness.url, "--json").json()["outcome"] == "ok"


def test_what_the_witness_has_not_seen_is_inconclusive(
    clinic: Path, witness: Serving, tmp_path: Path
) -> None:
    assert verified(clinic, witness, tmp_path / "away", 4)["attested_by"] == [], "it was never asked"
    rekam(clinic, "witness", "ask")
    other = "other.example/1"
    WitnessFolder.create(tmp_path / "other", other)
    stranger = str(WitnessFolder.open(tmp_path / "other").cosigner.key)
    assert verified(clinic, witness, tmp_path / "away", 4, stranger)["attested_by"] == []


def test_a_fork_with_the_clinics_own_key_is_invalid(clinic: Path, witness: Serving, tmp_path: Path) -> None:
    """Every proof of the forged archive holds; the witness has seen the true one."""
    forked = Path(shutil.copytree(clinic, tmp_path / "forked"))
    forget(forked)
    write(clinic, 2)
    rekam(clinic, "replicate", "--once")
    for seed in range(3, 6):
        write(forked, seed)
        rekam(forked, "replicate", "--once")
    without = ["--archive", forked / "archive", "--key", key_of(forked), "--json"]
    away = tmp_path / "away"
    away.mkdir()
    assert rekam(away, "audit", "verify", *without, code=4).json()["findings"] == []
    told = verified(forked, witness, away, 3)
    assert [finding["what"] for finding in told["findings"]] == ["forked"]


def test_rolled_back_with_all_that_this_home_has_seen_itself(
    clinic: Path, witness: Serving, tmp_path: Path
) -> None:
    before = shutil.copytree(clinic / "archive", tmp_path / "before")
    seen = shutil.copy(clinic / "keys" / "seen" / "newest.note", tmp_path / "seen")
    write(clinic, 2)
    rekam(clinic, "replicate", "--once")
    shutil.rmtree(clinic / "archive")
    before.rename(clinic / "archive")
    shutil.copy(seen, clinic / "keys" / "seen" / "newest.note")
    told = rekam(clinic, "audit", "verify", "--json", code=3).json()
    assert [finding["what"] for finding in told["findings"]] == ["rolled back"], "the witness's word is kept"
    assert verified(clinic, witness, tmp_path / "away", 3)["findings"][0]["what"] == "rolled back"


def test_a_witness_that_does_not_answer(clinic: Path, tmp_path: Path) -> None:
    ran = rekam(clinic, "audit", "verify", "--witness", "http://127.0.0.1:9", "--json")
    assert "the witness attests nothing" in ran.err and ran.json()["outcome"] == "ok"
