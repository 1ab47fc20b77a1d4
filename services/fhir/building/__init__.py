"""Payloads as FHIR resources: what was recorded here, for others to read.

The counterpart of `mapping`: for what FHIR and our payloads both can say, mapping a built resource gives the payload
again (a test holds it).
"""

from services.fhir.building.table import BUILDERS, KIND_TYPES, build

__all__ = ["BUILDERS", "KIND_TYPES", "build"]
