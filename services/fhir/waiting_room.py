"""Resources that wait for their patient, on disk.

A patient may be named by an identifier (`Patient?identifier=…`) and come later than what refers to them. How many
wait is not ours to bound, so they wait in a temporary file.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping

from services.fhir.exact_json import parse
from services.fhir.items import Waiting
from services.fhir.reading import Found


class WaitingRoom:
    """First in, first out; closed, it leaves nothing behind."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115  (closed in close)
        self._links: list[Mapping[str, str]] = []

    def add(self, waiting: Waiting) -> None:
        found = waiting.found
        if not self._links or self._links[-1] is not found.links:
            self._links.append(found.links)
        row = {
            "file": found.file,
            "line": found.line,
            "text": found.text.decode(),
            "id": found.resource["id"],
            "links": len(self._links) - 1,
            "identifier": waiting.identifier,
            "digest": waiting.digest.hex(),
        }
        self._file.write(json.dumps(row) + "\n")

    def __iter__(self) -> Iterator[Waiting]:
        self._file.seek(0)
        for line in self._file:
            row = json.loads(line)
            resource = {**parse(row["text"]), "id": row["id"]}
            found = Found(row["file"], row["line"], row["text"].encode(), resource, self._links[row["links"]])
            yield Waiting(found, row["identifier"], bytes.fromhex(row["digest"]))

    def close(self) -> None:
        self._file.close()
