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
        row = [
            found.file,
            found.line,
            found.text.decode(),
            found.resource["id"],
            waiting.identifier,
            len(self._links),
        ]
        self._file.write(json.dumps(row) + "\n")

    def __iter__(self) -> Iterator[Waiting]:
        self._file.seek(0)
        for row in self._file:
            file, line, text, identity, identifier, links = json.loads(row)
            resource = {**parse(text), "id": identity}
            yield Waiting(Found(file, line, text.encode(), resource, self._links[links - 1]), identifier)

    def close(self) -> None:
        self._file.close()
