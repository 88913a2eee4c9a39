"""A delivery that comes to its end, whatever its target does: between two blocks, and left where nothing answers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

from pixelmill.deliver.address import shown_target
from pixelmill.deliver.deliver import deliver, untouched
from pixelmill.deliver.delivery import Delivery
from pixelmill.deliver.record import remember
from pixelmill.deliver.told import Delivered
from pixelmill.errors import DeliveryLeft
from pixelmill.watch.calls import answer, begin
from pixelmill.watch.clocks import past
from pixelmill.watch.hangs import DELIVERING, Unanswered

LATEST: Final = 60.0
"""Seconds after the deadline in which a target may end what it is at: it may be an index that takes hours."""


def deliver_in_time(
    store: Path, delivery: Delivery, *, full: bool = False, deadline: float | None = None, patience: float = math.inf
) -> Delivered:
    """`deliver`, until the `deadline` (Unix seconds), or until this process is asked to stop. Raises DeliveryLeft where
    a target says nothing for so long that it must hang, or does not end in time what it is at: what it makes later of
    what it was sent, the next delivery sees."""
    shown = f"{delivery.name} to {shown_target(delivery.to)}"

    def is_over() -> bool:
        begin(DELIVERING, shown)  # ends a call that was left
        return past(deadline)

    def delivered() -> Delivered:
        begin(DELIVERING, shown)
        return deliver(store, delivery, full=full, is_over=is_over, patience=patience)

    try:
        return answer(delivered, deadline=deadline, most=LATEST)
    except Unanswered as error:
        words = f"Expected an answer of {shown}. There was none for {error.hang.seconds:.0f} s. The next one goes on."
        left = DeliveryLeft(words)
        left.delivered = untouched(store, delivery, words)
        remember(store, left.delivered)
        raise left from error
