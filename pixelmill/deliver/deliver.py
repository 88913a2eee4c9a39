"""Deliver, look what would be delivered, or check what was: from the folder of a store to what there is to tell."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from traceback import format_exc
from typing import ParamSpec, TypeVar, cast
from urllib.parse import quote

from pixelmill.deliver import check as checking
from pixelmill.deliver.address import in_utf8, shown_target
from pixelmill.deliver.delivery import Delivery
from pixelmill.deliver.mirror import Progress, mirror, preview
from pixelmill.deliver.record import last, remember, turn
from pixelmill.deliver.targets import open_target
from pixelmill.deliver.told import Checked, Delivered
from pixelmill.deliver.wanted import Wanted
from pixelmill.errors import DeliveryError, DeliveryLeft, DeliveryRefused, PixelmillError, TargetUnavailable, reason_of
from pixelmill.progress import step_shown
from pixelmill.store.reader import Store
from pixelmill.watch.saying import saying

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")


def deliver(
    store: Path,
    delivery: Delivery,
    *,
    full: bool = False,
    is_over: Callable[[], bool] = lambda: False,
    patience: float = math.inf,
) -> Delivered:
    """Make the target of a delivery an exact mirror of the last snapshot of a store; `full` makes it anew, beside what
    is served. Ends early, behind, once it `is_over`, which is asked before each block. On a terminal a line shows how
    far it is.

    One process at a time does; another waits for `patience` seconds. Raises DeliveryRefused, TargetUnavailable or, if
    it was not its turn by then, DeliveryLeft, whose `delivered` says how far it came.
    """
    began, progress = time.monotonic(), Progress()

    def told(problem: str = "") -> Delivered:
        result = _told(store, delivery, progress, time.monotonic() - began, problem)
        remember(store, result)
        return result

    what, how_far = f"Delivering {delivery.name}", lambda: _far(progress)
    with _failing(delivery, told), saying(what, how_far), step_shown(what, how_far):
        Store(store)  # where there is none, nothing is made
        with turn(store, delivery.name, is_over, most=patience) as is_ours:
            if not is_ours:
                return untouched(store, delivery)
            wanted = Wanted(Store(store), delivery)
            with open_target(delivery) as target:
                mirror(wanted, target, progress, full=full, is_over=is_over)
    log.info("%s: %s", delivery.name, _far(progress))
    return told()


def untouched(store: Path, delivery: Delivery, problem: str = "") -> Delivered:
    """What there is to tell of a delivery that was left to the next one, or of which nobody knows how far it came: how
    it was before."""
    return _told(store, delivery, Progress(), 0.0, problem)


def however(step: Callable[P, T]) -> Callable[P, T]:
    """`step`, one of these here, which gives what there is to tell also where it fails."""

    @wraps(step)
    def told(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return step(*args, **kwargs)
        except DeliveryError as error:
            if error.delivered is None:
                raise
            return cast("T", error.delivered)

    return told


def preview_delivery(store: Path, delivery: Delivery, *, full: bool = False) -> Delivered:
    """What `deliver` would do; nothing is written, neither here nor there. Raises like `deliver`."""
    began, progress = time.monotonic(), Progress()
    with _failing(delivery, lambda problem: _told(store, delivery, progress, time.monotonic() - began, problem)):
        wanted = Wanted(Store(store), delivery)
        with open_target(delivery) as target:
            preview(wanted, target, progress, full=full)
    progress.behind = progress.sent + progress.deleted
    return _told(store, delivery, progress, time.monotonic() - began)


def check(store: Path, delivery: Delivery, *, full: bool = False) -> Checked:
    """What differs between the target and the last snapshot of a store; of a sample of rows, or with `full` of all,
    every value is compared. Raises like `deliver`."""
    checked = Checked(name=delivery.name, to=shown_target(delivery.to))
    with _failing(delivery, lambda problem: checked.model_copy(update={"problem": problem})):
        wanted = Wanted(Store(store), delivery)
        with open_target(delivery) as target:
            found = checking.compare(wanted, target, full=full)
    update = {"rows": len(wanted), "compared": found.compared, "differences": found.differences}
    return checked.model_copy(update=update)


@contextmanager
def _failing(delivery: Delivery, told: Callable[[str], object]) -> Iterator[None]:
    """Whatever goes wrong is a DeliveryError that has what there is to tell. What lets in is left out of its words."""
    try:
        yield
    except Exception as error:
        words = in_utf8(_without(delivery.password, reason_of(error)))
        raised: DeliveryError
        if isinstance(error, TargetUnavailable | DeliveryLeft):
            raised = type(error)(words)
        elif isinstance(error, PixelmillError):
            raised = DeliveryRefused(words)
        else:  # the drivers of targets raise whatever they like
            log.error("delivery=%s\n%s", delivery.name, _without(delivery.password, format_exc()))
            raised = DeliveryRefused(f"Expected to deliver {delivery.name!r}. {type(error).__name__}: {words}")
        raised.delivered = told(str(raised))
        log.info("%s failed: %s", delivery.name, raised)
        raise raised from None if delivery.password else error


def _without(password: str | None, words: str) -> str:
    """Neither as it is nor as programs write it down."""
    if not password:
        return words
    as_bytes = repr(password.encode(errors="surrogateescape"))[2:-1]
    forms = {password, repr(password)[1:-1], ascii(password)[1:-1], as_bytes, quote(password, safe="", errors="ignore")}
    for form in sorted(filter(None, forms), key=len, reverse=True):
        words = words.replace(form, "***")
    return words


def _told(store: Path, delivery: Delivery, progress: Progress, seconds: float, problem: str = "") -> Delivered:
    to, before = shown_target(delivery.to), last(store, delivery.name)
    if before and before.to != to:  # it is of another target
        before = None
    known = progress.seen or (None if progress.generation else before)
    return Delivered(
        name=delivery.name, to=to, required=delivery.required, sent=progress.sent, deleted=progress.deleted,
        behind=progress.behind, seconds=round(seconds, 3), problem=problem, is_anew=progress.is_anew,
        rows=known.rows if known else 0, revision=known.revision if known else 0,
        equal_at=(known.equal_at if known else "") or (before.equal_at if before else ""),
    )  # fmt: skip


def _far(progress: Progress) -> str:
    behind = f", at most {progress.behind:,} behind" if progress.behind else ""
    return f"{progress.sent:,} rows sent, {progress.deleted:,} deleted{behind}"
