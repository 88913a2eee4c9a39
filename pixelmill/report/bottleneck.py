"""What held a run up, and what would help."""

from __future__ import annotations

from collections.abc import Sequence

from pixelmill.run.results import ShardReport
from pixelmill.store.manifest import Matrix


def advice(did: ShardReport, matrices: Sequence[Matrix]) -> str:
    """Two sentences on the bottleneck of what was done for `matrices`; none when nothing was embedded."""
    timing = did.timing
    if timing.bottleneck is None:
        return ""
    busy = f"{timing.embed / (timing.embed + timing.wait):.0%} of the time"
    if timing.bottleneck == "model":
        helps = (
            "A GPU or a smaller model" if set(did.devices.values()) == {"cpu"} else "A larger batch_size or another GPU"
        )
        return f"The models were the bottleneck, at work {busy}. {helps} would help."
    if timing.bottleneck == "read":
        helps = f"A faster disk or network would help; so may more threads (now {did.threads})"
        return f"Reading was the bottleneck: the models were at work {busy}. {helps}."
    helps = f"More threads (now {did.threads}), cores or workers would help"
    if any(matrix.provenance.decode == "reference" for matrix in matrices):
        helps += '; so would decode = "fast", which fills a new matrix'
    return f"Decoding was the bottleneck: the models were at work {busy}. {helps}."
