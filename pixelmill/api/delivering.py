"""`pixelmill.deliver`: a mirror of a store's vectors where they are searched, made level with it or compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypedDict, Unpack, overload

from pixelmill.api.names import AnyPath
from pixelmill.api.settings import one_delivery, settings_of
from pixelmill.deliver import deliver as library
from pixelmill.deliver.in_time import deliver_in_time
from pixelmill.deliver.told import Checked, Delivered
from pixelmill.errors import SettingsError
from pixelmill.run.retries import DELIVERY
from pixelmill.store.reader import Store
from pixelmill.watch.stopping import heeded


class Options(TypedDict, total=False):
    """The arguments of `deliver`, as the type checker takes them; `deliver` says what they are."""

    to: str | None
    models: str | Sequence[str] | None
    columns: Sequence[str]
    normalize: bool
    where: str | None
    full: bool
    dry_run: bool
    config: AnyPath | None


@overload
def deliver(store: AnyPath, name: str, *, check: Literal[False] = ..., **options: Unpack[Options]) -> Delivered: ...


@overload
def deliver(store: AnyPath, name: str, *, check: Literal[True], **options: Unpack[Options]) -> Checked: ...


@overload
def deliver(store: AnyPath, name: str, *, check: bool, **options: Unpack[Options]) -> Delivered | Checked: ...


def deliver(
    store: AnyPath, name: str, *, to: str | None = None, models: str | Sequence[str] | None = None,
    columns: Sequence[str] = (), normalize: bool = False, where: str | None = None, full: bool = False,
    check: bool = False, dry_run: bool = False, config: AnyPath | None = None,
) -> Delivered | Checked:  # fmt: skip
    """Make the table or collection `name` of another place an exact mirror of the last snapshot of a store: new and
    changed rows are sent, gone ones deleted. It is `pixelmill deliver` in this process; docs/deliveries.md.

    to: Where it goes: "postgresql://app@db/photos", "lancedb:/data/lance", "parquet:s3://bucket/vectors", ... Without
        it, `name` is one of the [[deliveries]] of the settings file that `config` names, which says all else as well.
    models: One or several of the store, side by side in a vector, or the name of an ensemble.
    columns: Those of the store that go with row, path, source and sha256.
    normalize: Divide each model's vector by its length. where: A condition in SQL that rows fulfil.
    full: Make all anew beside what is there, which it replaces when it is whole; with `check`, compare every value.
    check: Only compare, and give a Checked, whose `differences` say in sentences what differs.
    dry_run: Only tell what would be sent and deleted, and write nothing.

    A password or key is the variable PIXELMILL_PASSWORD_<NAME>, or the target's own configuration. Raises SettingsError
    for what does not fit, StoreError where there is no store, and a DeliveryError (DeliveryRefused, TargetUnavailable,
    DeliveryLeft) for what cannot be delivered, whose `delivered` says how far it came. Ctrl-C ends it between two
    blocks, a second one at once; the next one goes on there.
    """
    if check and dry_run:
        raise SettingsError("Expected check or dry_run: both only look. Got both.")
    given = _given(to, models, {"columns": tuple(columns), "normalize": normalize, "where": where})
    settings = settings_of(config, run={"store": store})
    delivery, folder = one_delivery(settings, name, given), settings.run.store
    Store(folder)
    if check:
        return library.check(folder, delivery, full=full)
    if dry_run:
        return library.preview_delivery(folder, delivery, full=full)
    with heeded():
        return DELIVERY.around(deliver_in_time, "delivering")(folder, delivery, full=full)


def _given(to: str | None, models: str | Sequence[str] | None, others: dict[str, Any]) -> dict[str, Any] | None:
    """What makes a delivery of its own; None where the settings say it."""
    if to is not None:
        return {"to": to, "models": (models,) if isinstance(models, str) else tuple(models or ()), **others}
    if models or any(others.values()):
        raise SettingsError("Expected `to`, which says where it goes, with models and columns. Got none.")
    return None
