"""Bring the targets of deliveries level with a store, or compare them with it: what each night does at its end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from prefect import flow

from flows._begin import begin
from flows._ends import delivered, ended
from flows._labels import label_store_run, store_run_name
from flows._stopping import cancelled_in_order
from pixelmill.deliver.deliver import however
from pixelmill.deliver.told import Checked, Delivered
from pixelmill.report.deliveries import in_words
from pixelmill.report.upkeep import no_store
from pixelmill.store.creation import is_missing
from pixelmill.version import VERSION
from pixelmill.watch.stopping import asked, heeded
from settings import load_settings
from settings.deliveries import chosen
from tasks._artifacts import show_words
from tasks.deliver import check_delivery, make_delivery


@flow(name="deliver", version=VERSION, flow_run_name=store_run_name)
@cancelled_in_order
def deliver(
    names: list[str] | None = None,
    store: str | None = None,
    full: bool = False,
    check: bool = False,
    config: str | None = None,
) -> list[Delivered | Checked]:
    """Make targets of the settings' [[deliveries]] equal to a store; what came of each. Fails, when all are made, if
    one failed, or if `check` finds that one differs.

    Args:
        names: Deliveries of the settings. Default: all of them.
        store: The store's folder. Default: from the settings.
        full: Make all anew beside what is served; with check, compare every value.
        check: Only compare what is there with the store.
        config: A settings file other than pixelmill.toml.
    """
    begin()
    settings = load_settings(Path(config) if config else None, {"run": {"store": store}})
    deliveries, folder = chosen(settings.deliveries, names or ()), settings.run.store
    label_store_run(folder)
    if is_missing(folder) and not check:
        return ended([], no_store(folder))
    with heeded():
        step: Callable[..., Delivered | Checked] = however(check_delivery if check else make_delivery)
        done = [step(folder, one, full=full) for one in deliveries if not asked()]
        message = in_words(done)
        show_words("deliver", folder, message)
    return delivered(done, message)
