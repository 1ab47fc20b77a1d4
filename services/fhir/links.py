"""What the entries of a Bundle say of each other, read before any of them is taken: references may point forward."""

from __future__ import annotations

from collections.abc import Iterator

from services.fhir.bundles import Entry, identity
from services.fhir.elements import each, member
from services.fhir.references import Reference, patient_of, read_reference


def links_and_owners(entries: Iterator[Entry | ValueError]) -> tuple[dict[str, str], dict[str, Reference]]:
    """(fullUrl -> `Type/id` of every entry, `Binary/id` -> the patient whose documents name it).

    A Binary that documents of several patients name is nobody's.
    """
    links: dict[str, str] = {}
    documents: list[tuple[object, list[str]]] = []
    for entry in entries:
        if not isinstance(entry, Entry) or not isinstance(entry.resource, dict):
            continue
        kind, known = entry.resource.get("resourceType"), identity(entry)
        if isinstance(kind, str) and entry.full_url and known is not None:
            links[entry.full_url] = f"{kind}/{known}"
        if kind == "DocumentReference" and (urls := _urls(entry.resource)):
            documents.append(({"subject": entry.resource.get("subject")}, urls))
    owners: dict[str, Reference | None] = {}
    for document, urls in documents:
        patient = patient_of(document, links) if isinstance(document, dict) else None
        for url in urls:
            named = read_reference({"reference": url}, links)
            if named is not None and named.type == "Binary" and patient is not None:
                name = f"Binary/{named.id}"
                owners[name] = patient if owners.get(name, patient) == patient else None
    return links, {name: owner for name, owner in owners.items() if owner is not None}


def _urls(resource: dict[str, object]) -> list[str]:
    found = (member(content, "attachment").get("url") for content in each(resource, "content"))
    return [url for url in found if isinstance(url, str)]
