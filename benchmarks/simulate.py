"""The simulated clinic: how fast it makes events, and how large they are."""

from __future__ import annotations

from benchmarks.harness import Bench, Figure, at_least, timed
from events.codec import decode_events, encode_event
from services.simulation.traffic import simulate

CHUNK = 10_000


def run(bench: Bench) -> list[Figure]:
    generated = timed(lambda: sum(1 for _ in simulate(bench.patients, bench.events, bench.seed)))
    sizes: list[int] = []

    def encode() -> None:
        sizes.clear()
        sizes.extend(len(encode_event(e)) for e in simulate(bench.patients, bench.events, bench.seed))

    encoded = timed(encode)
    sample = [encode_event(e) for e in simulate(bench.patients, CHUNK, bench.seed)]
    decoded = min(timed(lambda: decode_events(sample)) for _ in range(bench.runs))
    mean = sum(sizes) / len(sizes)
    return [
        Figure("generated", bench.events / generated, "events/s"),
        Figure("generated and encoded", bench.events / encoded, "events/s", at_least(60_000)),
        Figure("decoded", CHUNK / decoded, "events/s"),
        Figure("size of an event, encoded", mean, "bytes", note=f"largest {max(sizes):,}"),
    ]
