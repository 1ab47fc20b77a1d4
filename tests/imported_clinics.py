"""A clinic with the sample imported and shipped, as a home folder and the command: for what is sealed and attached."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.command_line import ndjson, rekam, sample_lines

LINES = 700


@dataclass
class ImportedClinic:
    home: Path

    @classmethod
    def made_in(cls, folder: Path) -> Self:
        """With a checkpoint and a snapshot."""
        clinic = cls(folder / "clinic")
        rekam(clinic.home, "init")
        rekam(clinic.home, "import", "fhir", ndjson(folder / "all.ndjson", sample_lines(0, LINES)))
        rekam(clinic.home, "replicate", "--once", "--snapshot")
        return clinic

    def copied_to(self, folder: Path) -> Self:
        """One like it, with what lies beside it."""
        shutil.copytree(self.home.parent, folder)
        return type(self)(folder / self.home.name)

    def do(self, *words: object, code: int | None = 0) -> dict:
        return json.loads(rekam(self.home, *words, "--json", code=code).out)

    def ship(self, *words: str) -> dict:
        return self.do("replicate", "--once", *words)

    def recover(self, to: str = "latest") -> dict:
        return self.do("recover", "--to", to, "--yes")

    def to_empty_machine(self, folder: Path) -> Self:
        """Nothing comes along but archive, backups of keys and the owner's file."""
        folder.mkdir()
        for name in ("archive", "key-backups"):
            if (self.home / name).exists():
                shutil.copytree(self.home / name, folder / name)
        shutil.copy(self.home / "keys" / "owner.txt", folder / "owner.txt")
        new = type(self)(folder / "clinic")
        rekam(new.home, "init", "--from", folder / "archive", "--identity", folder / "owner.txt")
        return new
