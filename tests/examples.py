"""How many examples Hypothesis tries: few by default, all where REKAM_ALL_EXAMPLES=1 says so (continuous integration).

Each run tries other examples, so that few of them every time find in a day what many find at once; what one run found
is kept in .hypothesis and tried first by the next.

A deadline for one example would measure what else the machine does: pytest's own timeout ends what hangs.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

ALL_EXAMPLES = "REKAM_ALL_EXAMPLES"
FEWEST = 5
SHARE = 4
USUAL = 100

TRIES_ALL = os.environ.get(ALL_EXAMPLES, "") not in ("", "0")


def examples(most: int) -> int:
    """`most` where all are asked for, else a share of them."""
    return most if TRIES_ALL else min(most, max(FEWEST, most // SHARE))


def load_profile() -> None:
    """For the laws that do not say themselves how many examples they need."""
    name = "all" if TRIES_ALL else "few"
    settings.register_profile(
        name,
        max_examples=examples(USUAL),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile(name)


def told() -> str:
    """For the header of a run."""
    return "all" if TRIES_ALL else f"a quarter ({ALL_EXAMPLES}=1 tries all)"
