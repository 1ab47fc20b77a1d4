"""FHIR R4 in and out: reading files, mapping resources to events and back, importing, exporting."""
