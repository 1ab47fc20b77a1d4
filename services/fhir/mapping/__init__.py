"""FHIR resources as payloads: one pure function a resource type.

A mapping takes what it understands and leaves the rest to the original, which the event keeps. What has none of the
members that its event type cannot do without (an ExplanationOfBenefit without its claim) gives None and is kept
whole instead; nothing that reads as a resource is refused for its content.
"""

from services.fhir.mapping.shape import Map, Mapped
from services.fhir.mapping.table import MAPPINGS, map_resource

__all__ = ["MAPPINGS", "Map", "Mapped", "map_resource"]
