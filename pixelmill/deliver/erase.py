"""Deliveries that leave nothing of rows that a store has forgotten: neither for readers, nor in a target's files."""

from __future__ import annotations

from pathlib import Path

from pixelmill.deliver.deliver import however
from pixelmill.deliver.delivery import Delivery
from pixelmill.deliver.in_time import deliver_in_time
from pixelmill.deliver.record import turn
from pixelmill.deliver.targets import open_target
from pixelmill.deliver.told import Delivered
from pixelmill.errors import PixelmillError, reason_of


def deliver_erased(store: Path, delivery: Delivery) -> Delivered:
    """Make a delivery, so that readers see nothing of what is gone; then, where bytes of that may stay in the target,
    make all anew beside it, and throw away what was. What goes wrong stands in its `problem`."""
    deliver = however(deliver_in_time)
    done = deliver(store, delivery)
    try:
        if done.is_equal and _keeps_deleted(delivery):
            done = deliver(store, delivery, full=True)
        if done.is_equal:
            with turn(store, delivery.name), open_target(delivery) as target:
                target.erase_replaced()
    except (PixelmillError, OSError) as error:
        return done.model_copy(update={"problem": reason_of(error)})
    return done


def _keeps_deleted(delivery: Delivery) -> bool:
    with open_target(delivery) as target:
        return target.keeps_deleted
